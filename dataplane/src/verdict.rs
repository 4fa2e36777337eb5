//! What becomes of a packet. Closed and counted: `received = forwarded + punted + dropped`, each by its reason.

/// Declares a closed list (of reasons, or of what else is counted apart) with its names for metrics and its explanation for people.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($variant:ident => $label:literal, $help:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = $help] $variant,)+
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in metrics and on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// What it means.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

pub(crate) use reasons;

reasons! {
    /// Why a packet was dropped.
    DropReason {
        FrameTruncated => "frame_truncated", "The frame ends before its Ethernet, 802.1Q or IPv6 header does.";
        FrameSegmented => "frame_segmented", "The frame lies in several buffers; scattered receive is not supported.";
        VlanForeign => "vlan_foreign", "The frame's 802.1Q tag is not the port's.";
        MacForeign => "mac_foreign", "The frame is for another station's Ethernet address.";
        EtherTypeUnsupported => "ethertype_unsupported", "Neither IPv6 nor anything the AFR answers.";
        Ipv6Version => "ipv6_version", "The IPv6 header's version is not 6.";
        Ipv6Length => "ipv6_length", "The IPv6 payload length exceeds the frame.";
        SourceInvalid => "source_invalid", "The source is multicast, unspecified or loopback.";
        DestinationInvalid => "destination_invalid", "The destination is unspecified, loopback, link-local on another link, or a group.";
        ExtensionTruncated => "extension_truncated", "An extension header ends beyond the packet.";
        ExtensionsTooMany => "extensions_too_many", "More extension headers than the limit.";
        ExtensionsTooLong => "extensions_too_long", "The extension headers together are longer than the limit.";
        HopByHopMisplaced => "hop_by_hop_misplaced", "A Hop-by-Hop header that does not come first (RFC 8200 section 4.1).";
        OptionMalformed => "option_malformed", "An option runs over its header, or padding is not what it may be.";
        OptionsTooMany => "options_too_many", "More options in a header than the limit.";
        OptionUnrecognized => "option_unrecognized", "An unrecognized Hop-by-Hop option, or Destination Option to the AFR itself, that says to discard (RFC 8200 section 4.2).";
        RoutingHeader => "routing_header", "A routing header with segments left that names the AFR but is not an SRH it may process.";
        L4Truncated => "l4_truncated", "The packet ends within its TCP or UDP header.";
        HopLimit => "hop_limit", "The hop limit is exhausted; answered with Time Exceeded.";
        MetadataOutside => "metadata_outside", "Metadata from beyond the trust domain at a port that drops it.";
        MetadataMalformed => "metadata_malformed", "The metadata's length or counts contradict each other.";
        MetadataDuplicate => "metadata_duplicate", "A second metadata object of one kind in the same IPv6 header.";
        MacInvalid => "mac_invalid", "The request's MAC is wrong.";
        ClaimClass => "claim_class", "The key may not claim the request's class.";
        ClaimPolicy => "claim_policy", "The key may not claim the request's policy scope.";
        ClassContradicts => "class_contradicts", "The request's class is not the one in the destination address.";
        ClassUnknown => "class_unknown", "The service address names no class.";
        AdmitSource => "admit_source", "New dispatches of the source prefix are over their rate.";
        AdmitClass => "admit_class", "New dispatches of the class are over their rate.";
        NoCandidate => "no_candidate", "No living instance has the class, the policy scope and the labels.";
        Saturated => "saturated", "Every candidate is over the class's objective, and the class says to reject.";
        InstanceDead => "instance_dead", "The flow's instance is dead.";
        FragmentUnmatched => "fragment_unmatched", "A fragment to a service address; its flow cannot be known.";
        PacketTooBig => "packet_too_big", "Larger than the path; answered with Packet Too Big.";
        NoHeadroom => "no_headroom", "The buffer has no room for the outer header.";
        NoRoute => "no_route", "No route to the destination; answered with Destination Unreachable.";
        TransitOutside => "transit_outside", "From outside, and not for a service address or the AFR.";
        DecapOutside => "decap_outside", "A tunnelled packet for an own SID from an outside port.";
        DecapSource => "decap_source", "A tunnelled packet whose outer source is neither a registered instance nor a peer.";
        DecapInner => "decap_inner", "A tunnelled packet whose inner source is none of the service addresses.";
        DecapPeer => "decap_peer", "A packet tunnelled by another cluster's AFR that is no request: not for a service address, or from one.";
        DecapMalformed => "decap_malformed", "A packet for an own SID that holds no IPv6 packet.";
        DecapCongestion => "decap_congestion", "Congestion marked on a tunnelled packet whose inner header cannot carry the mark (RFC 6040 section 4.2).";
        IcmpUnmatched => "icmp_unmatched", "An ICMPv6 error that quotes no flow of this AFR.";
        SteeringFull => "steering_full", "Of another worker's flow, and the ring to that worker had no room.";
        PuntUnavailable => "punt_unavailable", "For the AFR itself, not answered by it, and no punt port is configured.";
        GroupUnattended => "group_unattended", "For a group, which the AFR does not attend to (routers looked for, listeners announced), and no punt port is configured.";
    }
}

reasons! {
    /// What the AFR itself took.
    PuntReason {
        Report => "report", "A report datagram, consumed.";
        Neighbor => "neighbor", "A Neighbor Solicitation, answered.";
        Echo => "echo", "An Echo Request, answered.";
        TunnelError => "tunnel_error", "An ICMPv6 error about an encapsulated packet, relayed to the packet's source.";
        Host => "host", "Handed to the punt port.";
    }
}

reasons! {
    /// Why a new flow went where it went.
    DispatchReason {
        Affinity => "affinity", "The winner holds a part of the prompt.";
        Load => "load", "Metadata was usable, and no candidate held any of the prompt.";
        FallbackMaglev => "fallback_maglev", "No usable metadata: consistent hashing over the class.";
        FallbackLoad => "fallback_load", "No usable metadata: the class's load policy.";
        LeastBad => "least_bad", "Every candidate was over the objective.";
        Rehash => "rehash", "The flow's instance died, and the class says to rehash.";
        Spill => "spill", "Sent to the alternate cluster.";
    }
}

reasons! {
    /// What was found about metadata, besides the drops.
    MetadataNote {
        RequestVerified => "request_verified", "A request's MAC was computed and found right.";
        RequestUnchanged => "request_unchanged", "The request is the one already verified for the flow: not verified again.";
        RequestChangedInvalid => "request_changed_invalid", "A changed request on an established flow that does not verify; the packet is forwarded.";
        Absent => "absent", "A new flow without metadata.";
        Ignored => "ignored", "Metadata from beyond the trust domain, left alone.";
        Stripped => "stripped", "Metadata from beyond the trust domain, removed.";
        NotOurs => "not_ours", "An option of the type under another experiment identifier.";
        UnknownVersion => "unknown_version", "A version of the metadata that this AFR does not speak.";
        UnknownKind => "unknown_kind", "A kind of object that this AFR does not know.";
        UnknownCatalogue => "unknown_catalogue", "A catalogue version that is not accepted.";
        UnknownLabel => "unknown_label", "A label hash that is not in the catalogue.";
        UnknownKey => "unknown_key", "A key identifier that is not in the ring.";
        KeyExpired => "key_expired", "A key outside its not-before and not-after.";
        Unauthenticated => "unauthenticated", "A request without MAC, where the configuration does not act on them.";
        Stale => "stale", "A request issued too long ago, or in the future.";
        Replayed => "replayed", "The (sender, session) has had its charged dispatches of this window.";
        BloomRefused => "bloom_refused", "An in-band Bloom filter for a class that does not allow it.";
        NotAtSyn => "not_at_syn", "Metadata of a TCP segment that is not a SYN and has no flow: not evaluated.";
        ReportApplied => "report_applied", "A report that was news.";
        ReportSame => "report_same", "A report already applied.";
        ReportMalformed => "report_malformed", "A report that could not be parsed.";
        ReportMacInvalid => "report_mac_invalid", "A report whose MAC is wrong, missing, or under another key than the instance's.";
        ReportStale => "report_stale", "A report older than the last applied, or dated outside the skew.";
        ReportUnknownInstance => "report_unknown_instance", "A report of an instance that is not registered.";
        ReportOutside => "report_outside", "A report from beyond the trust domain.";
        ReportStripped => "report_stripped", "A report removed from a reply in transit.";
        ReportRingFull => "report_ring_full", "News for the control core that found its ring full.";
        BloomFalsePositive => "bloom_false_positive", "A candidate that passed the Bloom filter and failed the exact check.";
        FromPeer => "from_peer", "A packet of a flow that another cluster's AFR has spilled to this one.";
        FlowEvicted => "flow_evicted", "A flow evicted for a new one.";
        FlowExpired => "flow_expired", "A flow that aged out.";
        FlowCreated => "flow_created", "A flow pinned.";
        ResetImplausible => "reset_implausible", "A RST of a client whose sequence number is far from what the client has sent: forwarded, and the flow goes on.";
        ResetSent => "reset_sent", "A TCP RST originated.";
        IcmpSent => "icmp_sent", "An ICMPv6 error originated.";
        ErrorSuppressed => "error_suppressed", "A RST or ICMPv6 error not sent, or not handed to other workers, for its rate limit.";
        MssClamped => "mss_clamped", "A SYN whose MSS was lowered.";
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves by a port.
    Forward(crate::id::PortIx),
    /// It was for the AFR. An answer, if any, leaves in the same buffer by the port.
    Punt(PuntReason, Option<crate::id::PortIx>),
    /// It is dropped. An answer (ICMPv6 error, RST), if any, leaves in the same buffer by the port.
    Drop(DropReason, Option<crate::id::PortIx>),
}
