//! Whether what left is what should have left. Reads bytes by itself: the code under measurement has no part in it.
//!
//! A sample of a case's frames goes through the same `afrd`; this judges what comes out.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use anyhow::{Context, bail, ensure};

use super::frames::{
    AFR_ADDRESS, AFR_SID, CLIENTS_MAC, FABRIC_MAC, Traffic, instance_sid, service_address,
};
use super::scenario::Case;

const ETHERNET: usize = 14;
const IPV6: usize = 40;
/// First bytes of the Ethernet addresses of `net_pcap` devices.
const DEVICE_MAC: [u8; 5] = [0x02, 0x70, 0x63, 0x61, 0x70];
/// Next-header values of headers that a packet may begin with.
const UDP: u8 = 17;
const TUNNELLED: u8 = 41;
const DEST_OPTIONS: u8 = 60;
/// The metadata's option type and experiment identifier.
const METADATA: u8 = 0x1E;
const EXPERIMENT: [u8; 2] = [0xAF, 0x52];

/// Judges what left by the replay port and by the clients' port for the frames that came in.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check(
    case: &Case,
    sent: &[Vec<u8>],
    by_replay: &[Vec<u8>],
    by_clients: &[Vec<u8>],
) -> anyhow::Result<()> {
    if case.scenario.refuses() {
        let left = by_replay.len() + by_clients.len();
        ensure!(left == 0, "{left} packets left, and none should have");
        return Ok(());
    }
    match case.frames.traffic {
        Traffic::Replies => {
            ensure!(by_replay.is_empty(), "replies left towards instances");
            let expected = sent.iter().map(|frame| tunnelled(packet(frame)?));
            match_up(expected, by_clients.iter().map(|frame| to_client(frame)))
        }
        Traffic::Transit => {
            ensure!(by_replay.is_empty(), "replies left towards instances");
            let expected = sent.iter().map(|frame| without_options(packet(frame)?));
            match_up(expected, by_clients.iter().map(|frame| to_client(frame)))
        }
        _ => {
            ensure!(by_clients.is_empty(), "requests left towards clients");
            let expected = sent.iter().map(|frame| Ok(packet(frame)?.to_vec()));
            let mut pinned = HashMap::new();
            let each_anew = case.frames.traffic == Traffic::NewTasks;
            let instances = case.frames.instances as u16;
            let found = by_replay.iter().map(|frame| {
                let (sid, inner) = to_instance(frame, instances)?;
                let client = client_of(&inner)?;
                let before = pinned.insert(client, sid);
                if !each_anew && before.is_some_and(|before| before != sid) {
                    bail!("the flow from port {} went to two instances", client.1);
                }
                Ok(inner)
            });
            match_up(expected, found)
        }
    }
}

/// Every expected packet must have left, once each time it came, its hop limit one less.
fn match_up(
    expected: impl Iterator<Item = anyhow::Result<Vec<u8>>>,
    found: impl Iterator<Item = anyhow::Result<Vec<u8>>>,
) -> anyhow::Result<()> {
    let mut missing: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut count = 0_usize;
    for packet in expected {
        let mut packet = packet?;
        packet[7] -= 1;
        *missing.entry(packet).or_default() += 1;
        count += 1;
    }
    let mut left = 0_usize;
    for (n, packet) in found.enumerate() {
        let packet = packet.with_context(|| format!("packet {n} that left"))?;
        match missing.get_mut(&packet) {
            Some(times @ 1..) => *times -= 1,
            _ => bail!(
                "packet {n} that left is none of those that came in: {}",
                hex(&packet)
            ),
        }
        left += 1;
    }
    ensure!(
        left == count,
        "{left} packets left of {count} that should have"
    );
    Ok(())
}

/// The IPv6 packet in a frame, which must be as long as it says.
fn packet(frame: &[u8]) -> anyhow::Result<&[u8]> {
    ensure!(
        frame.len() >= ETHERNET + IPV6,
        "a frame of {} bytes",
        frame.len()
    );
    ensure!(
        frame[12..14] == [0x86, 0xDD],
        "no IPv6 by its Ethernet type"
    );
    let packet = &frame[ETHERNET..];
    ensure!(packet[0] >> 4 == 6, "no IPv6 by its version");
    let len = IPV6 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    ensure!(
        packet.len() == len,
        "a packet of {} bytes that says it has {len}",
        packet.len()
    );
    Ok(packet)
}

fn address(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    Ipv6Addr::from_octets(octets)
}

fn addressed(frame: &[u8], to: [u8; 6]) -> anyhow::Result<()> {
    ensure!(frame.len() >= ETHERNET, "a frame of {} bytes", frame.len());
    ensure!(
        frame[..6] == to,
        "for the Ethernet address {:02x?}, not {to:02x?}",
        &frame[..6]
    );
    ensure!(
        frame[6..11] == DEVICE_MAC,
        "from the Ethernet address {:02x?}, which is no port's",
        &frame[6..12]
    );
    Ok(())
}

/// The SID and the inner packet of what left towards an instance.
fn to_instance(frame: &[u8], instances: u16) -> anyhow::Result<(Ipv6Addr, Vec<u8>)> {
    addressed(frame, FABRIC_MAC)?;
    let outer = packet(frame)?;
    ensure!(
        outer[6] == TUNNELLED,
        "not encapsulated: next header {}",
        outer[6]
    );
    ensure!(outer[7] == 64, "outer hop limit {}", outer[7]);
    let label = u32::from_be_bytes([0, outer[1] & 0x0F, outer[2], outer[3]]);
    ensure!(label != 0, "no outer flow label");
    let source = address(outer, 8);
    ensure!(source == AFR_ADDRESS, "outer source {source}");
    let sid = address(outer, 24);
    ensure!(
        (1..=instances).any(|id| instance_sid(id) == sid),
        "outer destination {sid} is no registered instance's SID"
    );
    let inner = &outer[IPV6..];
    ensure!(
        inner.len() >= IPV6,
        "an inner packet of {} bytes",
        inner.len()
    );
    // RFC 6040's compatibility mode: the class goes along, the outer ECN field is Not-ECT.
    let class = |packet: &[u8]| packet[0] << 4 | packet[1] >> 4;
    ensure!(
        class(outer) == class(inner) & 0xFC,
        "outer traffic class {:02x}",
        class(outer)
    );
    Ok((sid, inner.to_vec()))
}

/// The packet of what left towards a client, which holds no metadata.
fn to_client(frame: &[u8]) -> anyhow::Result<Vec<u8>> {
    addressed(frame, CLIENTS_MAC)?;
    let packet = packet(frame)?;
    ensure!(
        packet[6] == UDP,
        "an extension header ({}) leaves the domain",
        packet[6]
    );
    let source = address(packet, 8);
    ensure!(
        source == service_address(),
        "source {source} is no service's"
    );
    Ok(packet.to_vec())
}

/// Who sent the packet: address and port. The datagram is the last header of all.
fn client_of(packet: &[u8]) -> anyhow::Result<([u8; 16], u16)> {
    let (mut next, mut at) = (packet[6], IPV6);
    while next != UDP {
        let header = packet
            .get(at..at + 2)
            .context("the packet ends within its extension headers")?;
        next = header[0];
        at += 8 * (usize::from(header[1]) + 1);
    }
    let port = packet
        .get(at..at + 2)
        .context("the packet has no UDP header")?;
    Ok((
        address(packet, 8).octets(),
        u16::from_be_bytes([port[0], port[1]]),
    ))
}

/// The inner packet of a tunnelled reply as it was sent: behind a Destination Options header with metadata.
fn tunnelled(outer: &[u8]) -> anyhow::Result<Vec<u8>> {
    ensure!(
        address(outer, 24) == AFR_SID,
        "a sent reply is not for the AFR"
    );
    let (next, at) = behind_options(outer)?;
    ensure!(next == TUNNELLED, "a sent reply holds no packet");
    Ok(outer[at..].to_vec())
}

/// A sent packet without its Destination Options header.
fn without_options(sent: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (next, at) = behind_options(sent)?;
    let mut packet = sent[..IPV6].to_vec();
    packet.extend(&sent[at..]);
    let len = (packet.len() - IPV6) as u16;
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    packet[6] = next;
    Ok(packet)
}

/// What follows the Destination Options header of a sent packet, and where. The header must hold metadata: else a check
/// that it is gone would check nothing.
fn behind_options(packet: &[u8]) -> anyhow::Result<(u8, usize)> {
    ensure!(
        packet[6] == DEST_OPTIONS,
        "a sent packet has no Destination Options"
    );
    let header = &packet[IPV6..];
    ensure!(
        header[2] == METADATA && header[4..6] == EXPERIMENT,
        "a sent packet has no metadata"
    );
    Ok((header[0], IPV6 + 8 * (usize::from(header[1]) + 1)))
}

fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(96);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
