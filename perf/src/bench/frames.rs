//! Frames to measure with: deterministic from their parameters.

use std::io::{self, Write};
use std::net::Ipv6Addr;

use afr_wire::{
    CatalogueVersion, ClassId, ClusterId, KeyId, MacAlgorithm, MasterKey, OPTION_TYPE, Request,
    RequestContext, Role, SenderKey, carrier,
};

/// Class of every request.
pub const CLASS: ClassId = ClassId(1);
/// Catalogue of every request.
pub const CATALOGUE: CatalogueVersion = CatalogueVersion(1);
/// Cluster whose keys sign.
pub const CLUSTER: ClusterId = ClusterId(1);
/// Key that signs.
pub const KEY: KeyId = KeyId(1);
/// Its master, in the clear: the frames go nowhere.
pub const MASTER: [u8; 16] = *b"benchmark master";
/// Upper 96 bits of the service address.
pub const SERVICE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaa, 0, 0, 0, 0, 0);
/// Ethernet address that DPDK gives the first `net_pcap` device.
pub const PORT_MAC: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];

/// Clients' ports of one source address.
const PORTS_PER_SOURCE: usize = 32_768;
const UDP: u8 = 17;
const DEST_OPTIONS: u8 = 60;
const ETHERNET_LEN: usize = 14;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;

/// What the frames are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// Flows, one frame each.
    pub flows: usize,
    /// Length of a frame in bytes, without frame check sequence; raised to the least that its headers need.
    pub bytes: usize,
    /// With an authenticated request in a Destination Options header.
    pub metadata: bool,
    /// Date of the requests, Unix seconds.
    pub issued_at: u32,
}

impl Frames {
    /// The frame of flow `n`.
    ///
    /// # Errors
    ///
    /// What the codec refuses; nothing that this type can hold.
    pub fn frame(&self, n: usize) -> anyhow::Result<Vec<u8>> {
        let source = Ipv6Addr::new(
            0x2001,
            0xdb8,
            1,
            0,
            0,
            0,
            0,
            (n / PORTS_PER_SOURCE) as u16 + 1,
        );
        let mut destination = SERVICE.octets();
        destination[12..].copy_from_slice(&CLASS.0.to_be_bytes());
        let mut header = [0_u8; 256];
        let header_len = if self.metadata {
            self.option(n, source, destination, &mut header)?
        } else {
            0
        };
        let least = ETHERNET_LEN + IPV6_LEN + header_len + UDP_LEN;
        let payload = self.bytes.saturating_sub(least);
        let udp_len = (UDP_LEN + payload) as u16;
        let sport = (1_024 + n % PORTS_PER_SOURCE) as u16;
        let mut frame = Vec::with_capacity(least + payload);
        frame.extend(PORT_MAC);
        frame.extend([0x02, 0, 0, 0, 0, 0x01, 0x86, 0xDD]);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend((header_len as u16 + udp_len).to_be_bytes());
        frame.extend([if self.metadata { DEST_OPTIONS } else { UDP }, 64]);
        frame.extend(source.octets());
        frame.extend(destination);
        frame.extend(&header[..header_len]);
        frame.extend(sport.to_be_bytes());
        frame.extend(8_000_u16.to_be_bytes());
        frame.extend(udp_len.to_be_bytes());
        frame.extend([0xFF, 0xFF]);
        frame.resize(least + payload, 0);
        Ok(frame)
    }

    fn option(
        &self,
        n: usize,
        source: Ipv6Addr,
        destination: [u8; 16],
        out: &mut [u8],
    ) -> anyhow::Result<usize> {
        let request = Request {
            key_id: KEY,
            catalogue: CATALOGUE,
            class_id: CLASS,
            issued_at: self.issued_at,
            session: n as u64,
            prompt_tokens: 1_024,
            ..Request::default()
        };
        let mut data = [0_u8; 256];
        let len = request.emit(&mut data)?;
        let master = MasterKey::new(MASTER);
        let key = SenderKey::derive(
            MacAlgorithm::AesCmac,
            &master,
            Role::Request,
            CLUSTER,
            &source.octets(),
        );
        let context = RequestContext {
            source: source.octets(),
            destination,
            protocol: UDP,
            destination_port: 8_000,
        };
        key.sign_request(&context, &mut data[..len])?;
        Ok(carrier::emit_options_header(
            UDP,
            OPTION_TYPE,
            &data[..len],
            out,
        )?)
    }

    /// Writes all frames as a capture file.
    ///
    /// # Errors
    ///
    /// Those of `out`, and of [`Self::frame`].
    pub fn write_pcap(&self, out: &mut impl Write) -> anyhow::Result<()> {
        pcap_header(out)?;
        for n in 0..self.flows {
            pcap_record(out, &self.frame(n)?)?;
        }
        Ok(())
    }
}

fn pcap_header(out: &mut impl Write) -> io::Result<()> {
    // Magic, version 2.4, zone, accuracy, longest packet, Ethernet.
    for field in [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.write_all(&field.to_le_bytes())?;
    }
    Ok(())
}

fn pcap_record(out: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let len = frame.len() as u32;
    for field in [0, 0, len, len] {
        out.write_all(&field.to_le_bytes())?;
    }
    out.write_all(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: Frames = Frames {
        flows: 3,
        bytes: 134,
        metadata: true,
        issued_at: 7,
    };

    #[test]
    fn frames_are_as_long_as_asked_and_differ_by_flow() {
        let first = FRAMES.frame(0).unwrap();
        assert_eq!(first.len(), 134);
        assert_ne!(first, FRAMES.frame(1).unwrap());
        assert_eq!(first, FRAMES.frame(0).unwrap(), "deterministic");
        let plain = Frames {
            metadata: false,
            bytes: 0,
            ..FRAMES
        };
        assert_eq!(plain.frame(0).unwrap().len(), 62);
    }

    #[test]
    fn capture_file_has_a_record_a_flow() {
        let mut file = Vec::new();
        FRAMES.write_pcap(&mut file).unwrap();
        assert_eq!(file.len(), 24 + 3 * (16 + 134));
    }
}
