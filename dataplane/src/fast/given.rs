//! The MACs of a burst that are checked side by side by the verifier: one pass finds those that are wanted, lays them out, and brings
//! nearer what comes after.
//!
//! The senders' keys are derived anew with each MAC, but for that of the sender who alone has made all that are checked together
//! ([`Verifier`]): a flood of made-up senders displaces nothing.

use afr_wire::{Checks, KeyId, MAX_LANES, Signers, Verifier};
use dpdk::vector::{Level, wide};

use super::claims::{BRIEF, Claims, KEY};
use super::macs::{MacCheck, Places, Signed};
use super::quick::{Kind, Quick, addresses};
use crate::packet::PacketBuf;
use crate::packet::bytes::be16;
use crate::path::Path;

/// What the verifier was given, and which packets of the burst that is, by lane.
struct Given<'v> {
    checks: Checks<'v>,
    lanes: [u8; MAX_LANES],
}

impl Given<'_> {
    #[inline(always)]
    fn is_full(&self) -> bool {
        self.checks.count() == MAX_LANES
    }

    /// What was given last is of the packet at this place.
    #[inline(always)]
    fn note(&mut self, place: usize) {
        let lane = self.checks.count().wrapping_sub(1);
        self.lanes[lane % MAX_LANES] = place as u8;
    }
}

/// Who signs under the key that was asked for last.
type LastSigners<'a> = Option<(KeyId, &'a Signers)>;

impl Path<'_> {
    /// Has the verifier say which of those with a MAC that will be verified are their senders'. Returns those that it has
    /// nothing to say of.
    #[inline(never)]
    pub(super) fn check_derived<B: PacketBuf>(
        &self,
        packets: &[B],
        quick: &mut [Quick],
        verifier: &mut Verifier,
    ) -> Places {
        wide(
            #[inline(always)]
            |level| {
                let mut others = Places::NONE;
                let alike = self.claims.as_ref().and_then(|claims| {
                    let signers = self.plan.signers(claims.signed_under()?, self.unix_s)?;
                    Some((claims, signers))
                });
                let mut at = 0;
                while at < quick.len() {
                    let mut given = Given {
                        checks: verifier.begin(),
                        lanes: [0; MAX_LANES],
                    };
                    while at < quick.len() && !given.is_full() {
                        // Each with a loop of its own.
                        at = match quick[at].shape.kind {
                            Kind::Request => {
                                let at = match alike {
                                    Some(alike) => self
                                        .give_alike(level, packets, quick, at, &mut given, alike),
                                    None => at,
                                };
                                self.give_requests(
                                    level,
                                    packets,
                                    quick,
                                    at,
                                    &mut given,
                                    &mut others,
                                )
                            }
                            Kind::Reply => {
                                self.give_replies(packets, quick, at, &mut given, &mut others)
                            }
                            Kind::Whole => at + 1,
                        };
                    }
                    if given.checks.count() != 0 {
                        self.finish(given, packets, quick);
                    }
                }
                others
            },
        )
    }

    /// Gives the verifier the requests from `at` on that are on known flows and claim what was believed last, up to the first
    /// packet that is no such. Returns its place.
    #[inline(always)]
    fn give_alike<B: PacketBuf>(
        &self,
        level: Level,
        packets: &[B],
        quick: &mut [Quick],
        mut at: usize,
        given: &mut Given<'_>,
        (claims, signers): (&Claims, &Signers),
    ) -> usize {
        for (packet, one) in packets[at..].iter().zip(&mut quick[at..]) {
            if given.is_full() {
                break;
            }
            let Some((signed, is_changed)) = self.alike(level, packet.data(), one, claims) else {
                break;
            };
            if is_changed {
                let upper = (one.shape.protocol, one.destination_port());
                if !given
                    .checks
                    .add(signers, signed.addresses, upper, signed.object)
                {
                    break;
                }
                given.note(at);
                self.foresee_session(level, signed, one);
            }
            at += 1;
        }
        at
    }

    /// What the request in a packet of a known flow is signed over, if it claims the same, and whether it is another than the flow's
    /// last one.
    #[inline(always)]
    fn alike<'f>(
        &self,
        level: Level,
        frame: &'f [u8],
        quick: &mut Quick,
        claims: &Claims,
    ) -> Option<(Signed<'f>, bool)> {
        if quick.shape.kind != Kind::Request || usize::from(quick.shape.object_len) != BRIEF {
            return None;
        }
        let object = frame.get(usize::from(quick.shape.object_at)..)?;
        let signed = Signed {
            addresses: addresses(frame)?,
            object: object.first_chunk::<BRIEF>()?,
        };
        let (entry, is_changed) = self.known(level, signed, quick)?;
        quick.tokens = claims.tokens(level, signed.object, self.time(), entry.class)?;
        quick.is_alike = true;
        Some((signed, is_changed))
    }

    /// Gives the verifier the requests from `at` on whose MAC will be verified, up to the first packet that is no client's, and as
    /// many as it takes. Returns the place behind them.
    // Not one loop with the next: what both share would be handed over by memory, at 17 to 68 instructions a packet.
    #[inline(always)]
    fn give_requests<B: PacketBuf>(
        &self,
        level: Level,
        packets: &[B],
        quick: &mut [Quick],
        mut at: usize,
        given: &mut Given<'_>,
        others: &mut Places,
    ) -> usize {
        let mut last = None;
        for (packet, one) in packets[at..].iter().zip(&mut quick[at..]) {
            if one.shape.kind != Kind::Request || given.is_full() {
                break;
            }
            let place = at;
            at += 1;
            let Some(signed) = self.signed_request(level, packet.data(), one) else {
                continue;
            };
            let upper = (one.shape.protocol, one.destination_port());
            let signers = self.signers(&signed, &mut last);
            let is_taken = signers.is_some_and(|signers| {
                given
                    .checks
                    .add(signers, signed.addresses, upper, signed.object)
            });
            if !is_taken {
                others.add(place);
                continue;
            }
            given.note(place);
            if one.known {
                self.foresee(level, signed, one);
            }
        }
        at
    }

    /// The same of replies' reports.
    #[inline(always)]
    fn give_replies<B: PacketBuf>(
        &self,
        packets: &[B],
        quick: &mut [Quick],
        mut at: usize,
        given: &mut Given<'_>,
        others: &mut Places,
    ) -> usize {
        let mut last = None;
        for (packet, one) in packets[at..].iter().zip(&mut quick[at..]) {
            if one.shape.kind != Kind::Reply || given.is_full() {
                break;
            }
            let place = at;
            at += 1;
            let Some(signed) = self.signed_report(packet.data(), one) else {
                continue;
            };
            let signers = self.signers(&signed, &mut last);
            if signers.is_some_and(|signers| given.checks.add_report(signers, signed.object)) {
                given.note(place);
            } else {
                others.add(place);
            }
        }
        at
    }

    /// Who signs under the key that is named in the request or report, if the key is one of those laid out for the verifier.
    #[inline(always)]
    fn signers<'s>(
        &'s self,
        signed: &Signed<'_>,
        last: &mut LastSigners<'s>,
    ) -> Option<&'s Signers> {
        let head = signed.object.first_chunk::<8>()?;
        let id = KeyId(be16(head, KEY));
        match *last {
            Some((of, signers)) if of == id => Some(signers),
            _ => {
                let signers = self.plan.signers(id, self.unix_s)?;
                *last = Some((id, signers));
                Some(signers)
            }
        }
    }

    /// Has the verifier say which of those that it was given are their senders'.
    #[inline(never)]
    fn finish<B: PacketBuf>(&self, given: Given<'_>, packets: &[B], quick: &mut [Quick]) {
        let Given { checks, lanes } = given;
        let count = checks.count();
        let right = checks.finish(&self.plan.masters);
        wide(
            #[inline(always)]
            |level| {
                for (bit, at) in lanes.iter().take(count).enumerate() {
                    let at = usize::from(*at);
                    let Some(quick) = quick.get_mut(at) else {
                        continue;
                    };
                    quick.mac = MacCheck::of(right >> bit & 1 != 0);
                    // Of a known flow that was done.
                    let is_new = quick.shape.kind == Kind::Request && !quick.known;
                    if is_new
                        && quick.mac == MacCheck::Right
                        && let Some(packet) = packets.get(at)
                        && let Some(signed) = Signed::of(packet.data(), quick)
                    {
                        self.foresee(level, signed, quick);
                    }
                }
            },
        );
    }
}
