//! `[[peer]]`.

use std::net::Ipv6Addr;

use afr_dataplane::config::Peer;
use afr_wire::ClusterId;

use super::Registered;
use super::document::Section;
use super::kind::{address, int, name};
use super::network::Network;
use super::problem::Fault;
use super::unique::Unique;

/// Other clusters' AFRs at the most.
const MAX_PEERS: usize = 64;

/// Reads the peers.
pub(crate) fn read(root: &Section<'_>, network: &Network, instances: &[Registered]) -> Vec<Peer> {
    let sections = root.sections("peer");
    if sections.len() > MAX_PEERS {
        root.blame(
            "peer",
            Fault::TooMany {
                count: sections.len(),
                limit: "the number of peers",
                most: MAX_PEERS,
            },
        );
    }
    let own_cluster = network.router.as_ref().map(|(cluster, _)| *cluster);
    let (mut names, mut addresses) = (Unique::new(), Unique::new());
    let peers = sections.iter().filter_map(|section| {
        let name = section.required("name", &name());
        let name = name.filter(|name| names.check(section, "name", name.clone()));
        let address = section.required("address", &address());
        let address = address.filter(|address| addresses.check(section, "address", *address));
        if address.is_some_and(|address| is_taken(network, instances, address)) {
            let expected = "an address that is none of the AFR's own, of a service, or an instance's tunnel_source";
            let expected = expected.to_owned();
            section.blame("address", Fault::Expected { expected });
        }
        let cluster = section.optional("cluster", &int(1..=u32::MAX));
        Some(Peer {
            cluster: cluster.map(ClusterId).or(own_cluster)?,
            name: name?,
            address: address?,
        })
    });
    peers.collect()
}

/// Whether what comes from the address is something else already.
fn is_taken(network: &Network, instances: &[Registered], address: Ipv6Addr) -> bool {
    let own = network.router.as_ref().is_some_and(|(_, router)| {
        router.address == address
            || router.sids.contains(&address)
            || router.own_addresses.contains(&address)
    });
    let mut sources = instances.iter().map(|of| of.instance.tunnel_source);
    own || network.is_service(address) || sources.any(|source| source == address)
}
