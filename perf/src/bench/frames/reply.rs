//! What instances send back.

use afr_wire::{InstanceId, OPTION_TYPE, Report, Role, carrier};

use super::build::{DEST_OPTIONS, ETHERNET_LEN, IPV6, IPV6_LEN, UDP, UDP_LEN, ethernet, ipv6, udp};
use super::request::Keys;
use super::{AFR_SID, CATALOGUE, Frames, KEY, service_address, tunnel_source};

/// The service's port.
const SERVICE_PORT: u16 = 8_000;
/// How far ahead reports are dated, in milliseconds: they are to be fresh for as long as a measurement lasts.
const AHEAD_MS: u64 = 4_000;

impl Frames {
    /// A reply in a tunnel to the AFR.
    pub(super) fn reply(&self, n: usize, keys: &mut Keys) -> anyhow::Result<Vec<u8>> {
        let instance = self.instance(n);
        let header = self.report(instance, IPV6, keys)?;
        let least = ETHERNET_LEN + 2 * IPV6_LEN + header.len() + UDP_LEN;
        let inner = self.inner(n, UDP, &[], self.size.of(n).saturating_sub(least));
        let outer = ipv6(
            DEST_OPTIONS,
            tunnel_source(instance),
            AFR_SID,
            &[&header, &inner],
        );
        Ok(ethernet(&outer))
    }

    /// A reply that passes the AFR.
    pub(super) fn transit(&self, n: usize, keys: &mut Keys) -> anyhow::Result<Vec<u8>> {
        let header = self.report(self.instance(n), UDP, keys)?;
        let least = ETHERNET_LEN + IPV6_LEN + header.len() + UDP_LEN;
        let payload = self.size.of(n).saturating_sub(least);
        Ok(ethernet(&self.inner(n, DEST_OPTIONS, &header, payload)))
    }

    fn instance(&self, n: usize) -> u16 {
        (n % self.instances.max(1)) as u16 + 1
    }

    fn inner(&self, n: usize, next: u8, header: &[u8], payload: usize) -> Vec<u8> {
        let (client, port) = self.client(n % self.flows);
        let datagram = udp(SERVICE_PORT, port, payload);
        ipv6(next, service_address(), client, &[header, &datagram])
    }

    /// A Destination Options header with the instance's report, before what `next` says.
    fn report(&self, instance: u16, next: u8, keys: &mut Keys) -> anyhow::Result<Vec<u8>> {
        let report = Report {
            key_id: KEY,
            catalogue: CATALOGUE,
            instance_id: InstanceId(u32::from(instance)),
            boot_epoch: 1,
            seq: 1,
            sampled_at_ms: (self.unix_ms + AHEAD_MS) as u32,
            running: 8,
            prefill_rate_tokens_s: 8_000,
            kv_used: 100,
            ..Report::default()
        };
        let mut data = [0; 256];
        let len = report.emit(&mut data)?;
        keys.of(Role::Report, &u32::from(instance).to_be_bytes())
            .sign_report(&mut data[..len])?;
        let mut out = [0; 256];
        let len = carrier::emit_options_header(next, OPTION_TYPE, &data[..len], &mut out)?;
        Ok(out[..len].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Frames, Size, Traffic, tests::all};

    #[test]
    fn replies_come_from_each_instance_in_turn() {
        let frames = Frames {
            traffic: Traffic::Replies,
            flows: 6,
            instances: 3,
            size: Size::Bytes(0),
            ..Frames::default()
        };
        let all = all(&frames);
        assert!(all.iter().all(|f| f.len() == 14 + 40 + 64 + 40 + 8));
        let sources: Vec<_> = all.iter().map(|frame| frame[37]).collect();
        assert_eq!(sources, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_reply_in_transit_has_its_report_before_its_datagram() {
        let frames = Frames {
            traffic: Traffic::Transit,
            flows: 1,
            ..Frames::default()
        };
        let frame = &all(&frames)[0];
        assert_eq!(frame.len(), 134);
        assert_eq!((frame[20], frame[54]), (60, 17));
    }
}
