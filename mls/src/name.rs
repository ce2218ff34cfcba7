//! Group ids.

use openmls::group::GroupId;
use sotto_protocol::ConversationId;

/// An MLS group: a conversation, and how often its group was formed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName {
    /// The conversation.
    pub conversation: ConversationId,
    /// From 1.
    pub incarnation: u32,
}

impl GroupName {
    pub(crate) fn group_id(&self) -> GroupId {
        GroupId::from_slice(&[&self.conversation.0[..], &self.incarnation.to_be_bytes()].concat())
    }

    pub(crate) fn of(id: &GroupId) -> Option<Self> {
        let (conversation, incarnation) = id.as_slice().split_at_checked(16)?;
        let conversation = ConversationId(conversation.try_into().ok()?);
        let incarnation = u32::from_be_bytes(incarnation.try_into().ok()?);
        (incarnation > 0).then_some(Self { conversation, incarnation })
    }
}
