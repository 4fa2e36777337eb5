//! Valid frames of every kind that the path treats in its own way: what hostile input is made from.

use afr_wire::{Request, RequestFlags};

use super::metadata::{
    dest_option, hop_option, labels, prefix, report, request, signed, srh, told, with_prefixes,
};
use super::packet::{ACK, Ext, FIN, Packet, RST, Upper};
use super::setup::{
    AFR, CHAT, CODE, CODE_EXACT, EDGE, EMPTY, FABRIC, GENERIC, SID, WILD, instance_mac, ip, mac,
    service, sid, tunnel_source,
};
use super::world::{ack, data, datagram, reply, report_datagram, syn, tunnelled_reply};
use afr_dataplane::id::PortIx;

/// A frame, the port it comes by, and what it is.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) port: PortIx,
    pub(crate) packet: Packet,
}

/// One of each.
pub(crate) fn corpus() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |name, port, packet: Packet| {
        samples.push(Sample { name, port, packet });
    };
    let chat = service(CHAT);
    add("syn", EDGE, syn(1, chat));
    add("ack", EDGE, ack(1, chat, 77));
    add("data", EDGE, data(1, chat, 77));
    add("fin", EDGE, ack(1, chat, 78).tcp(|t| *t.flags = FIN | ACK));
    add("rst", EDGE, ack(1, chat, 78).tcp(|t| *t.flags = RST));
    add("udp", EDGE, datagram(2, chat));
    add("exact", EDGE, syn(3, CODE_EXACT));
    add("nobody", EDGE, syn(4, service(EMPTY)));
    let full = Request {
        labels: labels(&["tool:search", "lang:de"]),
        ..with_prefixes(&[prefix(1, 1), prefix(4, 1), prefix(16, 1)])
    };
    add("asking", EDGE, syn(5, chat).asking(&full));
    add("asking-data", EDGE, data(5, chat, 9).asking(&full));
    let code = Request {
        class_id: CODE,
        ..full
    };
    add("generic", EDGE, syn(6, GENERIC).asking(&code));
    let task = Request {
        flags: RequestFlags::NEW_TASK,
        ..full
    };
    add("new-task", EDGE, datagram(7, chat).asking(&task));
    add("stripped", WILD, syn(8, chat).by(WILD).asking(&full));
    let object = signed(&full, &syn(9, chat));
    add("hop-by-hop", EDGE, syn(9, chat).with(hop_option(&object)));
    add(
        "ah",
        WILD,
        syn(10, chat).by(WILD).asking(&full).with(Ext::Ah),
    );
    let options = Ext::destination(&[0x1E, 4, 9, 9, 0, 0, 5, 2, 0, 0]);
    add("foreign", EDGE, syn(11, chat).with(options));
    add("atomic", EDGE, syn(12, chat).with(Ext::Fragment(0, false)));
    add("fragment", EDGE, syn(13, chat).with(Ext::Fragment(8, true)));
    let mut tagged = syn(14, chat);
    tagged.vlan = Some(0);
    add("priority-tag", EDGE, tagged);
    add("last-hop", EDGE, syn(15, chat).hops(1));
    let long = data(16, chat, 1).tcp(|t| *t.payload = vec![7; 1_640]);
    add("too-big", EDGE, long);

    add("tunnel", FABRIC, tunnelled_reply(1, 1, chat));
    let mut outer = tunnelled_reply(1, 1, chat).reporting(&report(1, 1));
    outer.traffic_class = 2;
    add("tunnel-report", FABRIC, outer);
    let from_inside = tunnelled_reply(2, 2, chat);
    add("stranger", FABRIC, from_inside.from(ip("2001:db8:f::99")));
    let telling = reply(1, chat).reporting(&report(1, 2));
    add("transit", FABRIC, telling);
    let back = srh(1, &[super::setup::CLIENT, SID], &told(&report(1, 3)));
    let mut segment = reply(1, chat).with(back);
    segment.destination = SID;
    add("segment", FABRIC, segment);
    add("datagram", FABRIC, report_datagram(2, &told(&report(2, 1))));
    add("plain-reply", FABRIC, reply(1, chat));
    let asked = syn(20, chat).by(FABRIC).from(tunnel_source(3));
    add("agent-to-agent", FABRIC, asked.asking_as(&request()));

    let error = |kind, code, quoted: Packet| {
        let mut body = 1_400_u32.to_be_bytes().to_vec();
        body.extend(&quoted.ip_bytes()[..60]);
        Upper::Icmp(kind, code, body)
    };
    let about = Packet {
        upper: error(2, 0, reply(1, chat)),
        ..syn(0, chat)
    };
    add("about-reply", EDGE, about);
    let mut long = 1_500_u32.to_be_bytes().to_vec();
    long.extend(syn(1, chat).tunnelled(AFR, sid(1)).ip_bytes());
    let about = Packet {
        upper: Upper::Icmp(2, 0, long),
        source: sid(1),
        ..report_datagram(1, &[])
    };
    add("about-tunnel", FABRIC, about);
    let echo = Upper::Icmp(128, 0, vec![0, 1, 0, 2, 3, 4, 5]);
    let ping = Packet {
        upper: echo,
        ..syn(0, AFR)
    };
    add("echo", EDGE, ping);
    let mut target = vec![0; 4];
    target.extend(AFR.octets());
    target.extend([1, 1]);
    target.extend(instance_mac(1));
    let mut ask = Packet {
        upper: Upper::Icmp(135, 0, target),
        hop_limit: 255,
        ..report_datagram(1, &[])
    };
    ask.to_mac = [0x33, 0x33, 0xFF, 0, 0, 1];
    ask.destination = ip("ff02::1:ff00:1");
    add("solicitation", FABRIC, ask);
    let other = Packet {
        upper: Upper::Raw(50, vec![1; 40]),
        ..syn(0, chat)
    };
    add("esp", EDGE, other);
    samples
}

impl Packet {
    /// The packet with a signed request in a Hop-by-Hop header behind which padding stands alone.
    pub(crate) fn asking_as(self, request: &Request) -> Self {
        let object = signed(request, &self);
        self.with(Ext::hop_by_hop(&[])).with(dest_option(&object))
    }
}

/// The port's own address, for frames made by hand.
pub(crate) fn addressed(port: PortIx, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac(port));
    frame
}
