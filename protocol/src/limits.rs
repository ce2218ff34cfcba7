//! Every bound on what comes over the wire, each with its reason. A value outside its bound is a typed error at
//! the decoder; nothing behind the decoder checks again.

/// Longest text of one message, in bytes of UTF-8. About 6,000 words; longer writing is a file.
pub const MAX_TEXT: usize = 32 * 1024;

/// Longest sealed content of a frame: [`MAX_TEXT`], the causal frontier of a full group, and the seal itself.
pub const MAX_SEALED: usize = MAX_TEXT + 8 * 1024;

/// Longest data-channel message. Chromium throws above 65,536 and webrtc's SCTP advertises 65,536.
pub const MAX_LINK_MESSAGE: usize = 65_535;

/// Longest relay WebSocket message, in either direction: one full frame with room, or many small ones.
pub const MAX_RELAY_MESSAGE: usize = 64 * 1024;

/// Longest signaling WebSocket message. An SDP with many candidates is about 10 KiB.
pub const MAX_SIGNAL_MESSAGE: usize = 64 * 1024;

/// Longest opaque payload of a device-to-device signal: [`MAX_SIGNAL_MESSAGE`] less its envelope.
pub const MAX_SIGNAL_PAYLOAD: usize = 48 * 1024;

/// Longest REST request body: an avatar in base64 and a profile around it.
pub const MAX_REST_BODY: usize = 64 * 1024;

/// Bytes queued to one socket before its reader counts as gone: a phone on 2G drains this in about 10 s.
pub const MAX_SOCKET_QUEUE: usize = 256 * 1024;

/// Deepest nesting of a CBOR item. The deepest frame of ours is 7 levels.
pub const MAX_CBOR_DEPTH: usize = 12;

/// Unacknowledged seqs a sender may have towards one destination in one conversation; also the span of a
/// receiver's bitmap.
pub const WINDOW: u64 = 1_024;

/// Entries that a subscription names to show which log it has read. A log that grew again differently may well hold one
/// entry at the same place as before; hardly sixteen in a row after another beginning.
pub const MAX_HELD: usize = 16;

/// Ranges in one ACK or NACK beyond the cumulative seq. 32 holes in a window of 1,024 is already a bad path; the
/// rest follows in the next one.
pub const MAX_ACK_RANGES: usize = 32;

/// Member accounts of one conversation, for MLS groups stay practical up to about this many leaves.
pub const MAX_MEMBERS: usize = 250;

/// Listed (not revoked) devices of one account: a phone, laptops, some bots.
pub const MAX_DEVICES: usize = 16;

/// Entries of one device list, revocations and renames included; each is about 250 bytes.
pub const MAX_DEVICE_LIST: usize = 512;

/// Conversations one relay socket may subscribe to. Beyond this a client unsubscribes idle ones.
pub const MAX_SUBSCRIPTIONS: usize = 4_096;

/// Conversations one account may be a member of, so that listing them at sign-in stays bounded.
pub const MAX_CONVERSATIONS: usize = 4_096;

/// Devices in a causal frontier (`deps`) or a receipt: one a member device that wrote lately.
pub const MAX_FRONTIER: usize = 250;

/// Longest sealed receipt: [`MAX_FRONTIER`] pairs of 16-byte device and seq, twice, and the seal.
pub const MAX_RECEIPT: usize = 16 * 1024;

/// Longest sealed ephemeral (typing): it carries a flag.
pub const MAX_EPHEMERAL: usize = 256;

/// Signatures over bursts cover at most this many frames: a Merkle path of 5 hashes is 160 bytes.
pub const MAX_SIGNATURE_BATCH: usize = 32;

/// Messages of one author that one event of the relay places: a batch of the log has no more.
pub const MAX_RUN: u32 = 2_048;

/// Entries the relay sends in one page of catch-up before it looks at its socket's queue again.
pub const PAGE_ENTRIES: usize = 256;

/// Longest group name or display name, in characters.
pub const MAX_NAME_CHARS: usize = 64;

/// Longest group name or display name, in bytes: [`MAX_NAME_CHARS`] of four bytes each.
pub const MAX_NAME_BYTES: usize = MAX_NAME_CHARS * 4;

/// Longest status text of a profile, in bytes.
pub const MAX_STATUS_BYTES: usize = 256;

/// Largest avatar, decoded from its base64: a 128-pixel WebP is under this.
pub const MAX_AVATAR_BYTES: usize = 24 * 1024;

/// Longest side of an avatar, in pixels: whoever shows a list of people has a megabyte of memory for each at most.
pub const MAX_AVATAR_SIDE: u32 = 512;

/// Presence capabilities one device may register, or one socket subscribe to: one a conversation.
pub const MAX_PRESENCE: usize = MAX_CONVERSATIONS;

/// Longest session description; large ones carry many candidates.
pub const MAX_SDP: usize = 24 * 1024;

/// Longest ICE candidate line.
pub const MAX_CANDIDATE: usize = 1_024;

/// Longest access token.
pub const MAX_TOKEN: usize = 2_048;

/// Longest human explanation in an error.
pub const MAX_DETAIL: usize = 512;
