#!/usr/bin/python3
"""Checks what left the packet path with scapy, which shares no code with it.

Takes the folder that golden.rs wrote: `cases` names the cases, `<case>.in.pcap` and `<case>.out.pcap` hold their frames,
where a frame that left bears the time of the frame it left for. Of every frame that left it checks the Ethernet header,
every IPv6 length, the chain of headers, every checksum, and that it is what came in but for what must have changed.

Exit status: 0 all is well, 1 something is not, 3 there is no scapy.
"""

import re
import sys

try:
    from scapy.all import Ether, Dot1Q, IPv6, Padding, Raw, TCP, UDP, rdpcap
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6ND_NA,
        ICMPv6NDOptDstLLAddr,
        ICMPv6PacketTooBig,
        ICMPv6ParamProblem,
        ICMPv6TimeExceeded,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
        IPv6ExtHdrSegmentRouting,
        in6_chksum,
    )
    from scapy.layers.ipsec import AH
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)

AFR = "2001:db8:a::1"
ERRORS = (ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, ICMPv6ParamProblem)
EXTENSIONS = (
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    IPv6ExtHdrSegmentRouting,
    AH,
)


UPPER = {6: TCP, 17: UDP, 41: IPv6}


class Wrong(Exception):
    """What is wrong with a frame."""


def need(condition, *what):
    if not condition:
        raise Wrong(" ".join(str(part) for part in what))


def headers(ip):
    """The extension headers, and what is behind them."""
    chain, layer = [], ip.payload
    while isinstance(layer, EXTENSIONS):
        chain.append(layer)
        if isinstance(layer, AH):
            # Scapy leaves what is under it alone.
            rest = bytes(layer)[(layer.payloadlen + 2) * 4 :]
            layer = UPPER.get(layer.nh, Raw)(rest)
            layer.underlayer = IPv6(src=ip.src, dst=ip.dst)
        else:
            layer = layer.payload
    return chain, layer


def check_checksum(ip, upper):
    """The checksum of the upper layer, as scapy reckons it."""
    if isinstance(upper, TCP):
        number, at = 6, 16
    elif isinstance(upper, UDP):
        number, at = 17, 6
    elif type(upper).__name__.startswith("ICMPv6"):
        number, at = 58, 2
    else:
        return
    raw = bytes(upper)
    blank = raw[:at] + b"\0\0" + raw[at + 2 :]
    # The routing header between, if any, tells the final destination.
    found = int.from_bytes(raw[at : at + 2], "big")
    want = in6_chksum(number, upper.underlayer, blank)
    need(found == want or (found, want) == (0xFFFF, 0), "checksum", hex(found), "is not", hex(want))


def check_packet(raw):
    """An IPv6 packet that fills `raw`, and every packet in it."""
    ip = IPv6(raw)
    need(ip.version == 6, "version", ip.version)
    need(ip.plen + 40 == len(raw), "length", ip.plen, "of", len(raw) - 40)
    need(ip.hlim > 0, "hop limit")
    need(not ip.haslayer(Padding), "bytes behind the packet")
    chain, upper = headers(ip)
    last = chain[-1] if chain else ip
    for place, layer in enumerate(chain):
        need(not isinstance(layer, IPv6ExtHdrHopByHop) or place == 0, "Hop-by-Hop not first")
        # A malformed option would be no option to scapy.
        need(not isinstance(layer, Raw), "not understood:", layer)
    if last.nh in UPPER:
        need(isinstance(upper, UPPER[last.nh]), "next header", last.nh, "but", upper.summary())
    check_checksum(ip, upper)
    if isinstance(upper, UDP):
        need(upper.len == len(bytes(upper)), "UDP length")
    if isinstance(upper, IPv6):
        check_packet(bytes(upper))
    return ip, chain, upper


def ip_of(frame):
    """The IPv6 packet of a frame, without what is behind it."""
    layer = frame[IPv6]
    return bytes(layer)[: 40 + layer.plen]


def hop_less(raw):
    return raw[:7] + bytes([raw[7] - 1]) + raw[8:]


def upper_of(raw):
    """Addresses and upper layer: what nobody may change on the way."""
    _, upper = headers(IPv6(raw))
    return bytes(upper)


def unclamped(upper):
    """A TCP segment without its checksum and the value of its MSS option."""
    tcp = TCP(upper)
    if not isinstance(tcp, TCP) or not any(option[0] == "MSS" for option in tcp.options):
        return upper
    tcp.options = [("MSS", 0) if option[0] == "MSS" else option for option in tcp.options]
    tcp.chksum = 0
    return bytes(tcp)


def same_but_for_metadata(was, is_, number):
    """The packet that left is the one that came, its hop limit less one; it may have lost metadata, and some MSS."""
    if hop_less(was) == is_:
        return
    need(was[8:24] == is_[8:24], "another source")
    if not IPv6(was).haslayer(IPv6ExtHdrSegmentRouting):
        need(was[24:40] == is_[24:40], "another destination")
    need(was[:4] == is_[:4], "another traffic class or flow label")
    need(was[7] - 1 == is_[7], "hop limit", was[7], "to", is_[7])
    before, after = upper_of(was), upper_of(is_)
    if number == 6:
        before, after = unclamped(before), unclamped(after)
    need(before == after, "the upper layer changed")
    kept = [bytes(layer)[: len(bytes(layer)) - len(bytes(layer.payload))] for layer in headers(IPv6(is_))[0]]
    for header in kept:
        # What is left is as it was, but for the next header and what was overwritten.
        need(b"\xaf\x52" not in header or header in was, "a header changed")


def check_request(came, ip, upper):
    need(ip.src == AFR, "encapsulated by", ip.src)
    need(ip.nh == 41 and ip.hlim == 64 and ip.fl != 0, "outer header", ip.summary())
    need(re.fullmatch("2001:db8:f:(1|2|3|4d)::100", ip.dst), "no instance has the SID", ip.dst)
    inner = bytes(upper)
    was = ip_of(came)
    outer = came[IPv6]
    if outer.nh == 41 and outer.dst != IPv6(inner).dst:
        was = bytes(outer.payload)
    _, top = headers(IPv6(inner))
    same_but_for_metadata(was, inner, 6 if isinstance(top, TCP) else 0)
    need(ip.tc & 0xFC == IPv6(inner).tc & 0xFC, "DSCP")
    need(ip.tc & 3 == 0, "ECN in compatibility mode")


def check_error(came, ip, upper):
    need(ip.src == AFR and ip.hlim == 255, "error from", ip.src, ip.hlim)
    need(ip.tc == 0 and ip.fl == 0, "traffic class", ip.tc, "flow label", ip.fl)
    quoted = bytes(upper)[8:]
    need(ip.plen <= 1240, "an error longer than the smallest MTU")
    about = ip_of(came)
    if about[6] == 58 and IPv6(about).dst == AFR:
        # Relayed: the quoted packet's own payload is what is quoted now.
        about = about[48 + 40 :]
        need(ip.dst == IPv6(about).src, "relayed to", ip.dst)
    elif about[6] == 41:
        about = about[40:]
    need(about.startswith(quoted), "quotes something else")
    need(len(quoted) == min(len(about), 1232), "quotes", len(quoted), "of", len(about))
    need(IPv6(quoted).src == ip.dst, "told to", ip.dst)


def check_reset(came, ip, tcp):
    _, was = headers(came[IPv6])
    need((ip.tc, ip.fl, ip.hlim) == (0, 0, 64), "header", ip.summary())
    need((tcp.sport, tcp.dport) == (was.dport, was.sport), "ports")
    need((ip.src, ip.dst) == (came[IPv6].dst, came[IPv6].src), "addresses")
    if "A" in str(was.flags):
        need(str(tcp.flags) == "R" and tcp.seq == was.ack, "SEQ", tcp.seq, "for ACK", was.ack)
    else:
        length = len(bytes(was.payload)) + 1
        need(str(tcp.flags) == "RA" and tcp.seq == 0, "flags", tcp.flags)
        need(tcp.ack == (was.seq + length) % 2**32, "ACK", tcp.ack)


def check_answer(came, ip, upper):
    if isinstance(upper, ICMPv6EchoReply):
        asked = headers(came[IPv6])[1]
        need((ip.src, ip.dst) == (came[IPv6].dst, came[IPv6].src), "addresses")
        need((upper.id, upper.seq, upper.data) == (asked.id, asked.seq, asked.data), "echo")
    else:
        asked = came[IPv6].payload
        need((upper.tgt, ip.hlim, upper.S, upper.O) == (asked.tgt, 255, 1, 1), "advertisement")
        need(upper[ICMPv6NDOptDstLLAddr].lladdr is not None, "no address")


def check_reply(came, ip):
    was = ip_of(came)
    if came[IPv6].nh == 41:
        was = bytes(came[IPv6].payload)
    elif came.haslayer(IPv6ExtHdrDestOpt) and headers(came[IPv6])[1].name == "IPv6":
        was = bytes(headers(came[IPv6])[1])
    is_ = bytes(ip)
    number = 6 if isinstance(headers(ip)[1], TCP) else 0
    same_but_for_metadata(was, is_, number)
    need(b"\xaf\x52" not in b"".join(bytes(layer)[:-len(bytes(layer.payload))] for layer in headers(ip)[0]),
         "metadata left the domain")


def check_frame(case, came, raw):
    frame = Ether(raw)
    tag = frame.payload if isinstance(frame.payload, Dot1Q) else frame
    need(tag.type == 0x86DD, "EtherType", hex(tag.type))
    if case == "punt-host":
        need(bytes(came) == raw, "changed on its way to the host")
        return
    need(frame.src.startswith("02:af:00:00:00"), "from", frame.src)
    ip, _, upper = check_packet(bytes(tag.payload))
    if isinstance(upper, IPv6):
        check_request(came, ip, upper)
    elif isinstance(upper, ERRORS) and ip.src == AFR:
        check_error(came, ip, upper)
    elif isinstance(upper, TCP) and "R" in str(upper.flags):
        check_reset(came, ip, upper)
    elif isinstance(upper, (ICMPv6EchoReply, ICMPv6ND_NA)):
        check_answer(came, ip, upper)
    else:
        check_reply(came, ip)


def main(folder):
    frames, wrong = 0, 0
    with open(f"{folder}/cases", encoding="ascii") as names:
        cases = names.read().split()
    for case in cases:
        came = {round(float(frame.time) * 1e6): frame for frame in rdpcap(f"{folder}/{case}.in.pcap")}
        left = rdpcap(f"{folder}/{case}.out.pcap")
        if not case.startswith("drop-") and case != "punt-report":
            need(len(left) > 0, case, "sent nothing")
        for frame in left:
            frames += 1
            try:
                check_frame(case, came[round(float(frame.time) * 1e6)], bytes(frame))
            except Wrong as what:
                wrong += 1
                print(f"{case}: {what}\n  {bytes(frame).hex()}")
    print(f"{len(cases)} cases, {frames} frames, {wrong} wrong")
    return 1 if wrong or frames < 40 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
