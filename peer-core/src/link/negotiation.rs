//! Offers, answers and candidates of the other side: verified before anything of them is used.

use sotto_protocol::link::{DescriptionClaim, DescriptionKind, Negotiation, SignedDescription};

use super::{FIRST_RETRY, Link, LinkCtx, MAX_EARLY_CANDIDATES, Upshot};
use crate::crypto::Ed25519;
use crate::io::LinkCommand;
use crate::timers::Timer;

impl Link {
    /// A signal of the device came.
    pub fn on_negotiation(&mut self, ctx: &mut LinkCtx, negotiation: Negotiation) -> Option<Upshot> {
        match negotiation {
            Negotiation::Description { description } => {
                let Some(claim) = description.verify(&ctx.key, &Ed25519) else {
                    self.why = Some("its description was forged on the way".into());
                    return None;
                };
                if claim.to != ctx.me.device {
                    return None;
                }
                match claim.kind {
                    DescriptionKind::Offer => self.on_offer(ctx, &claim, &description),
                    DescriptionKind::Answer => self.on_answer(ctx, &claim, &description),
                }
            }
            Negotiation::Candidate { session, candidate, mid } => {
                let attempt = self.attempt.as_mut().filter(|attempt| attempt.session == session)?;
                let candidate = (candidate.to_string(), mid.map(|mid| mid.to_string()));
                if attempt.remote_set {
                    let (candidate, mid) = candidate;
                    self.command(ctx.fx, LinkCommand::AddCandidate { candidate, mid });
                } else if attempt.early_candidates.len() < MAX_EARLY_CANDIDATES {
                    attempt.early_candidates.push(candidate);
                }
                None
            }
            Negotiation::RestartWanted { session } => {
                let known = self.attempt.as_ref().is_some_and(|attempt| attempt.session == session);
                if !known {
                    self.signal(ctx, &Negotiation::Gone { session });
                } else if !self.polite(ctx.me) {
                    self.restart(ctx);
                }
                None
            }
            Negotiation::Gone { session } => {
                if self.attempt.as_ref().is_none_or(|attempt| attempt.session != session) {
                    return None;
                }
                let upshot = self.close(ctx, "the other side ended the link");
                self.next_try = ctx.fx.now.monotonic + ctx.fx.jitter(FIRST_RETRY);
                ctx.timers.set(Timer::Link(self.device), self.next_try);
                upshot
            }
        }
    }

    fn on_offer(
        &mut self,
        ctx: &mut LinkCtx,
        claim: &DescriptionClaim,
        description: &SignedDescription,
    ) -> Option<Upshot> {
        let mut upshot = None;
        match &self.attempt {
            Some(attempt) if attempt.session == claim.session => {
                // An ICE restart keeps the DTLS session, and so the certificate.
                if attempt.peer_fingerprint != Some(claim.fingerprint) {
                    return None;
                }
            }
            // Two offers crossed, and the other side yields.
            Some(attempt) if attempt.offered.is_some() && !attempt.ready && !self.polite(ctx.me) => {
                return None;
            }
            _ => {
                // A new connection: the other side restarted, or its offer crossed ours and we yield.
                upshot = self.close(ctx, "the other side connects anew");
                self.open(ctx, claim.session);
            }
        }
        let attempt = self.attempt.as_mut()?;
        attempt.peer_fingerprint = Some(claim.fingerprint);
        attempt.answering = Some(description.claim_hash());
        self.set_remote(ctx, DescriptionKind::Offer, description);
        upshot
    }

    fn on_answer(
        &mut self,
        ctx: &mut LinkCtx,
        claim: &DescriptionClaim,
        description: &SignedDescription,
    ) -> Option<Upshot> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.session == claim.session)?;
        if attempt.offered.is_none() || attempt.offered != claim.offer {
            return None;
        }
        if attempt.peer_fingerprint.is_some_and(|known| known != claim.fingerprint) {
            return None;
        }
        attempt.offered = None;
        attempt.peer_fingerprint = Some(claim.fingerprint);
        self.set_remote(ctx, DescriptionKind::Answer, description);
        None
    }

    fn set_remote(&mut self, ctx: &mut LinkCtx, kind: DescriptionKind, description: &SignedDescription) {
        self.command(ctx.fx, LinkCommand::SetRemote { kind, sdp: description.sdp.to_string() });
        let Some(attempt) = &mut self.attempt else { return };
        attempt.remote_set = true;
        for (candidate, mid) in std::mem::take(&mut attempt.early_candidates) {
            self.command(ctx.fx, LinkCommand::AddCandidate { candidate, mid });
        }
    }
}
