//! Receipts: what is delivered and read, told sealed to the members, latest-wins; and what they tell back.

use std::time::Duration;

use sotto_protocol::cbor::{Blob, Bounded};
use sotto_protocol::relay::Request;
use sotto_protocol::{DeviceId, Seq, limits};

use super::{Conversation, Ctx};
use crate::content::Receipt;
use crate::effects::{Effects, id_in};
use crate::io::{Event, Notification, Output, ReceiptState, Table};
use crate::peer::relay_out::RelayOut;
use crate::seal;
use crate::store::author_key;
use crate::timers::Timer;
use sotto_protocol::cbor;

/// How long changes gather before the relay hears of them.
const CURSOR_DELAY: Duration = Duration::from_millis(200);

impl Conversation {
    /// Marks everything displayed up to a message as read; `None` if the message is not among the latest.
    pub fn mark_read(&mut self, ctx: &mut Ctx, id: (DeviceId, Seq)) -> Option<()> {
        let rest = self.timeline.after(id)?;
        for (device, author) in &self.authors {
            let first_unread = rest.iter().filter(|(d, _)| d == device).map(|(_, seq)| *seq).min();
            let read = first_unread.map_or(author.shown, Seq::previous);
            let known = self.read.entry(*device).or_default();
            *known = read.max(*known);
        }
        let others = rest.iter().filter(|(d, _)| ctx.people.owner(d, ctx.me) != Some(ctx.me.account));
        self.unread = others.count() as u64;
        self.receipt_due = true;
        self.pump = true;
        self.touch(ctx.fx);
        Some(())
    }

    /// The own receipt, sealed; `None` while the conversation is a request: its sender learns nothing yet.
    pub fn sealed_receipt(&self, me: DeviceId) -> Option<Blob<{ limits::MAX_RECEIPT }>> {
        if self.is_request() {
            return None;
        }
        let others = self.authors.iter().filter(|(device, _)| **device != me);
        let delivered = others.map(|(device, author)| (*device, author.opened)).collect();
        let read = self.read.iter().filter(|(device, _)| **device != me);
        let read = read.map(|(device, seq)| (*device, *seq)).collect();
        seal::seal(&Receipt { delivered: Bounded::truncated(delivered), read: Bounded::truncated(read) })
    }

    /// Another member device's receipt, from the relay or a link.
    pub fn on_receipt(&mut self, fx: &mut Effects, me: DeviceId, from: DeviceId, sealed: &[u8]) {
        let Ok(receipt) = seal::open::<Receipt>(sealed) else { return };
        let mine =
            |list: &[(DeviceId, Seq)]| list.iter().find(|(device, _)| *device == me).map(|(_, seq)| *seq);
        if let Some(seq) = mine(&receipt.read) {
            self.note_receipt(fx, me, from, ReceiptState::Read, seq);
        }
        if let Some(seq) = mine(&receipt.delivered) {
            self.note_receipt(fx, me, from, ReceiptState::Delivered, seq);
        }
    }

    /// A member device has the own messages up to `seq`, or its user has read them.
    pub fn note_receipt(
        &mut self,
        fx: &mut Effects,
        me: DeviceId,
        from: DeviceId,
        state: ReceiptState,
        seq: Seq,
    ) {
        // Nobody has what was never given out.
        let seq = seq.min(self.own_durable_seq());
        if from == me || seq == Seq(0) {
            return;
        }
        let record = self.receipts.entry(from).or_default();
        let known = match state {
            ReceiptState::Delivered => &mut record.delivered,
            ReceiptState::Read => &mut record.read,
            ReceiptState::Logged => return,
        };
        if *known >= seq {
            return;
        }
        let before = std::mem::replace(known, seq);
        if state == ReceiptState::Read {
            record.delivered = record.delivered.max(seq);
        }
        let record = *record;
        fx.put(Table::Receipt, author_key(self.id, from), cbor::encode(&record));
        self.note_states(before.next(), seq);
        self.owe_receipt_event(fx, from, state, seq);
    }

    /// The user hears of it at the end of this turn, since it is durable where it happened. If notifications are kept, it
    /// is with the next write: one for as much as happened by then.
    pub(super) fn owe_receipt_event(
        &mut self,
        fx: &mut Effects,
        device: DeviceId,
        state: ReceiptState,
        seq: Seq,
    ) {
        self.receipt_events.insert((device, state), seq);
        self.touch(fx);
    }

    /// Tells what is owed, unless a write is to keep it.
    pub fn tell_receipts(&mut self, ctx: &mut Ctx) {
        if !ctx.fx.keep_events {
            self.emit_receipts(ctx);
        }
    }

    pub(super) fn emit_receipts(&mut self, ctx: &mut Ctx) {
        for ((device, state), seq) in std::mem::take(&mut self.receipt_events) {
            let id = id_in(self.id, (ctx.me.device, seq));
            let event = Event::Receipt { id, device, state };
            if ctx.fx.keep_events {
                ctx.fx.notify(event);
            } else {
                ctx.fx.now(Output::Event(Notification { sequence: 0, event }));
            }
        }
    }

    /// Sees to it that the relay hears of what changed.
    pub fn arm_cursor(&mut self, ctx: &mut Ctx) {
        if std::mem::take(&mut self.receipt_due) {
            ctx.timers.set_earlier(Timer::Cursor(self.id), ctx.now() + CURSOR_DELAY);
        }
    }

    /// Tells the relay how far the log is held, and the members what is delivered and read.
    pub fn send_cursor(&mut self, ctx: &mut Ctx, relay: &mut RelayOut) {
        if !relay.is_ready() || !self.log.may_append() || !self.member {
            return;
        }
        let Some(receipt) = self.sealed_receipt(ctx.me.device) else { return };
        self.log.told = self.log.durable;
        relay.push(&Request::Cursor {
            conversation: self.id,
            position: self.log.durable,
            receipt: Some(receipt),
        });
    }
}
