//! Where receive-side scaling puts a connection: Microsoft's Toeplitz hash under the key that DPDK's drivers set.

use std::net::SocketAddrV6;

/// Bits of addresses and ports that are hashed.
const INPUT_BITS: u32 = 2 * (128 + 16);
/// The key of Microsoft's verification suite, which drivers take where they are told none.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];
/// Entries of the indirection table, which names the queues in turn.
const TABLE: u32 = 128;

/// The queue, of `queues`, of a connection's packets from `source`.
pub(super) fn queue(source: SocketAddrV6, destination: SocketAddrV6, queues: u16) -> u16 {
    (hash(source, destination) % TABLE) as u16 % queues.max(1)
}

fn hash(source: SocketAddrV6, destination: SocketAddrV6) -> u32 {
    let mut input = Vec::with_capacity(INPUT_BITS as usize / 8);
    input.extend(source.ip().octets());
    input.extend(destination.ip().octets());
    input.extend(source.port().to_be_bytes());
    input.extend(destination.port().to_be_bytes());
    let bit = |bytes: &[u8], at: usize| {
        let byte = bytes.get(at / 8).copied().unwrap_or_default();
        u32::from(byte >> (7 - at % 8) & 1)
    };
    // A window of 32 bits slides along the key; where the input has a 1, it is added.
    let mut window = (0..32).fold(0, |window, at| window << 1 | bit(&KEY, at));
    let mut hash = 0;
    for at in 0..INPUT_BITS as usize {
        if bit(&input, at) == 1 {
            hash ^= window;
        }
        window = window << 1 | bit(&KEY, at + 32);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Microsoft's "Verifying the RSS hash calculation", IPv6 with TCP.
    #[test]
    fn the_published_vectors_come_out() {
        for (source, destination, expected) in [
            (
                "[3ffe:2501:200:1fff::7]:2794",
                "[3ffe:2501:200:3::1]:1766",
                0x4020_7d3d,
            ),
            (
                "[3ffe:501:8::260:97ff:fe40:efab]:14230",
                "[ff02::1]:4739",
                0xdde5_1bbf,
            ),
            (
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                "[fe80::200:f8ff:fe21:67cf]:38024",
                0x02d1_feef,
            ),
        ] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            assert_eq!(hash(source, destination), expected, "{source}");
            assert_eq!(queue(source, destination, 2), (expected & 1) as u16);
            assert_eq!(queue(source, destination, 1), 0);
        }
    }
}
