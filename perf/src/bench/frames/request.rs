//! What clients send.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use afr_wire::{
    Bloom, CatalogueSalt, KeyId, Labels, List, MacAlgorithm, MasterKey, OPTION_TYPE, Request,
    RequestContext, RequestFlags, Role, SRH_TLV_TYPE, SenderKey, carrier,
};

use super::build::{
    DEST_OPTIONS, ETHERNET_LEN, HOP_BY_HOP, IPV6_LEN, ROUTING, TCP, TCP_LEN, UDP, UDP_LEN,
    ethernet, ipv6, srh, syn, udp,
};
use super::{
    CATALOGUE, CLASS, CLUSTER, Carrier, Frames, KEY, LABELS, LabelEncoding, MASTER, Mac, SALT,
    Traffic, service_address,
};

/// Where clients send to.
const SERVICE_PORT: u16 = 8_000;
/// Keys kept; more senders than these are derived again.
const KEYS_KEPT: usize = 8_192;

/// Derived keys.
pub(super) struct Keys {
    algorithm: MacAlgorithm,
    master: MasterKey,
    derived: HashMap<(bool, Vec<u8>), SenderKey>,
}

impl Keys {
    pub(super) fn new(algorithm: MacAlgorithm) -> Self {
        Self {
            algorithm,
            master: MasterKey::new(MASTER),
            derived: HashMap::new(),
        }
    }

    pub(super) fn of(&mut self, role: Role, sender: &[u8]) -> &SenderKey {
        if self.derived.len() >= KEYS_KEPT {
            self.derived.clear();
        }
        let (algorithm, master) = (self.algorithm, &self.master);
        self.derived
            .entry((role == Role::Request, sender.to_vec()))
            .or_insert_with(|| SenderKey::derive(algorithm, master, role, CLUSTER, sender))
    }
}

impl Frames {
    pub(super) fn request(&self, n: usize, keys: &mut Keys) -> anyhow::Result<Vec<u8>> {
        let (flow, turn) = (n % self.flows, n / self.flows);
        let (source, port) = self.client(flow);
        let destination = service_address();
        let (first, header) = self.metadata(n, flow, turn, source, keys)?;
        let (upper, upper_len) = match self.protocol() {
            TCP => (syn as fn(u16, u16, usize) -> Vec<u8>, TCP_LEN),
            _ => (udp as fn(u16, u16, usize) -> Vec<u8>, UDP_LEN),
        };
        let least = ETHERNET_LEN + IPV6_LEN + header.len() + upper_len;
        let payload = self.size.of(n).saturating_sub(least);
        let upper = upper(port, SERVICE_PORT, payload);
        let packet = ipv6(first, source, destination, &[&header, &upper]);
        Ok(ethernet(&packet))
    }

    /// The upper layer's.
    const fn protocol(&self) -> u8 {
        match self.traffic {
            Traffic::Syns => TCP,
            _ => UDP,
        }
    }

    /// The first next-header value, and the extension header with the request.
    fn metadata(
        &self,
        n: usize,
        flow: usize,
        turn: usize,
        source: Ipv6Addr,
        keys: &mut Keys,
    ) -> anyhow::Result<(u8, Vec<u8>)> {
        if self.carrier == Carrier::None {
            return Ok((self.protocol(), Vec::new()));
        }
        let mut data = [0; 256];
        let len = self.object(n, flow, turn, source, keys, &mut data)?;
        let mut out = [0; 256];
        Ok(match self.carrier {
            Carrier::SrhTlv => {
                let len = carrier::emit_srh_tlv(SRH_TLV_TYPE, &data[..len], &mut out)?;
                (
                    ROUTING,
                    srh(self.protocol(), service_address(), &out[..len]),
                )
            }
            other => {
                let len = carrier::emit_options_header(
                    self.protocol(),
                    OPTION_TYPE,
                    &data[..len],
                    &mut out,
                )?;
                let first = match other {
                    Carrier::HopByHop => HOP_BY_HOP,
                    _ => DEST_OPTIONS,
                };
                (first, out[..len].to_vec())
            }
        })
    }

    fn object(
        &self,
        n: usize,
        flow: usize,
        turn: usize,
        source: Ipv6Addr,
        keys: &mut Keys,
        out: &mut [u8],
    ) -> anyhow::Result<usize> {
        let request = Request {
            flags: match self.traffic {
                Traffic::NewTasks => RequestFlags::NEW_TASK,
                _ => RequestFlags::NONE,
            },
            key_id: if self.mac == Mac::None {
                KeyId::NONE
            } else {
                KEY
            },
            catalogue: CATALOGUE,
            class_id: CLASS,
            issued_at: (self.unix_ms / 1_000) as u32,
            session: session(self.seed, flow as u64),
            prompt_tokens: 1_024 + turn as u32,
            labels: labels(self.labels)?,
            ..Request::default()
        };
        let len = request.emit(out)?;
        if self.mac == Mac::None {
            return Ok(len);
        }
        let context = RequestContext {
            source: source.octets(),
            destination: service_address().octets(),
            protocol: self.protocol(),
            destination_port: SERVICE_PORT,
        };
        keys.of(Role::Request, &source.octets())
            .sign_request(&context, &mut out[..len])?;
        // Spread evenly: 389 has no factor in common with 1,000.
        if (n * 389) % 1_000 < self.bad_macs_in_1000 {
            out[len - 1] ^= 1;
        }
        Ok(len)
    }
}

fn labels(encoding: LabelEncoding) -> anyhow::Result<Labels> {
    let salt = CatalogueSalt::new(SALT);
    let all = LABELS.map(|label| salt.label(label));
    match encoding {
        LabelEncoding::Hashes(count) => {
            let hashes: Vec<_> = all.iter().take(count).map(|label| label.short()).collect();
            List::from_slice(&hashes)
                .map(Labels::Hashes)
                .map_err(|_| anyhow::anyhow!("more than {} labels", LABELS.len()))
        }
        LabelEncoding::Bloom => {
            let mut filter = Bloom::<4>::new();
            all.iter().for_each(|label| filter.insert(*label));
            Ok(Labels::Bloom(filter.to_bytes()))
        }
    }
}

/// An opaque number by seed and flow (splitmix64).
const fn session(seed: u64, flow: u64) -> u64 {
    let mut z = (seed ^ flow.rotate_left(32)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::frames::tests::all;
    use afr_wire::{Object, Place};

    /// The request in a frame with a Destination Options header.
    fn request_of(frame: &[u8]) -> Vec<u8> {
        let len = usize::from(frame[57]);
        frame[58..58 + len].to_vec()
    }

    fn is_authentic(frame: &[u8]) -> bool {
        let bytes = request_of(frame);
        let Ok(Object::Request(view)) = Object::parse(&bytes, Place::InBand) else {
            return false;
        };
        let source: [u8; 16] = frame[22..38].try_into().unwrap();
        let context = RequestContext {
            source,
            destination: service_address().octets(),
            protocol: if frame[54] == TCP { TCP } else { UDP },
            destination_port: SERVICE_PORT,
        };
        Keys::new(MacAlgorithm::AesCmac)
            .of(Role::Request, &source)
            .verify_request(&context, &view)
    }

    #[test]
    fn requests_are_signed_and_as_many_wrongly_as_asked() {
        let frames = Frames {
            flows: 1_000,
            bad_macs_in_1000: 250,
            ..Frames::default()
        };
        let bad = all(&frames).iter().filter(|f| !is_authentic(f)).count();
        assert_eq!(bad, 250);
    }

    #[test]
    fn syns_are_segments_with_syn_alone_and_authentic() {
        let frames = Frames {
            traffic: Traffic::Syns,
            flows: 5,
            ..Frames::default()
        };
        let all = all(&frames);
        assert_eq!(all.len(), 5);
        for frame in &all {
            assert!(is_authentic(frame));
            let tcp = &frame[58 + usize::from(frame[57])..];
            assert_eq!((frame[54], tcp[12], tcp[13]), (TCP, 0x50, 0x02));
            assert_eq!(frame.len(), Frames::default().size.of(0).max(130));
        }
    }

    #[test]
    fn alternating_frames_of_a_flow_differ_and_are_all_authentic() {
        let frames = Frames {
            traffic: Traffic::Alternating,
            flows: 5,
            ..Frames::default()
        };
        let all = all(&frames);
        assert_eq!(all.len(), 10);
        assert!(all.iter().all(|frame| is_authentic(frame)));
        for flow in 0..5 {
            assert_ne!(request_of(&all[flow]), request_of(&all[flow + 5]));
            assert_eq!(all[flow][110..118], all[flow + 5][110..118], "same ports");
        }
    }
}
