//! The command line of `afr-nic`.

use std::path::PathBuf;

use clap::Parser;

use super::model::Model;

const EXAMPLE: &str = "\
Example:
  scripts/nic-guest target/debug target/nic     make the guest
  afr-nic                                       every model, one after the other
  afr-nic --models virtio-net                   one of them
The guest's console is kept in target/nic/<model>.log.";

/// Runs afrd on PCI network cards of a QEMU guest, and checks that it forwards real frames.
#[derive(Clone, Debug, Parser)]
#[command(name = "afr-nic", version, after_help = EXAMPLE)]
pub struct NicArgs {
    /// Network cards to try
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["e1000e", "virtio-net"])]
    pub models: Vec<Model>,
    /// Directory with vmlinuz and initramfs.cpio of the guest; logs go there
    #[arg(long, value_name = "DIRECTORY", default_value = "target/nic")]
    pub guest: PathBuf,
    /// Connections through each model
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(40..=10_000))]
    pub flows: u32,
}
