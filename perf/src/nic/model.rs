//! Network cards that QEMU emulates and DPDK drives.

use std::fmt;

/// A model.
#[derive(Copy, Clone, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// Intel 82574L. DPDK's driver gives it one queue, so it gets one worker
    E1000e,
    /// virtio-net with RSS over two queues, for two workers
    VirtioNet,
    /// Intel 82576 with RSS over two queues, for two workers. QEMU has it from 8.0 on
    Igb,
}

impl Model {
    /// QEMU's name, which is also that on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::E1000e => "e1000e",
            Self::VirtioNet => "virtio-net",
            Self::Igb => "igb",
        }
    }

    /// Receive queues that the emulated card and its driver have in common, and so workers: flows are spread by the
    /// card alone.
    #[must_use]
    pub const fn queues(self) -> u16 {
        match self {
            Self::E1000e => 1,
            Self::VirtioNet | Self::Igb => 2,
        }
    }

    /// Whether the queue of every connection is known beforehand: the card hashes addresses and TCP ports under the usual
    /// key also behind extension headers.
    #[must_use]
    pub const fn spreads_as_expected(self) -> bool {
        matches!(self, Self::E1000e | Self::VirtioNet)
    }

    /// Queues of the tap interface behind it: virtio-net has a pair for each of its own, other models have one.
    #[must_use]
    pub const fn tap_queues(self) -> u16 {
        match self {
            Self::VirtioNet => self.queues(),
            Self::E1000e | Self::Igb => 1,
        }
    }

    /// QEMU's `-device` for a card behind `netdev` with this Ethernet address in slot `slot`.
    #[must_use]
    pub fn device(self, netdev: &str, mac: &str, slot: u8) -> String {
        let own = match self {
            Self::E1000e => "e1000e",
            Self::Igb => "igb",
            // Two vectors a queue pair, and two more: control queue and configuration. The device's memory accesses go by
            // the IOMMU only where they are told to.
            Self::VirtioNet => {
                "virtio-net-pci,mq=on,rss=on,vectors=6,iommu_platform=on,disable-legacy=on,ats=on"
            }
        };
        format!("{own},netdev={netdev},mac={mac},bus=pcie.0,addr={slot:#x},romfile=")
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_with_several_queues_asks_for_as_many_taps_where_it_has_pairs() {
        assert_eq!(Model::VirtioNet.tap_queues(), 2);
        assert_eq!(Model::Igb.tap_queues(), 1);
        let device = Model::E1000e.device("clients", "02:af:00:00:0c:01", 4);
        assert_eq!(
            device,
            "e1000e,netdev=clients,mac=02:af:00:00:0c:01,bus=pcie.0,addr=0x4,romfile="
        );
    }
}
