//! The guest: QEMU, its console, and the word that ends it.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::lab::{Exposition, ExpositionError, Interrupt, Namespace, Process};

use super::hosts::CARDS;
use super::model::Model;
use super::run::NicError;

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// Memory of the guest in MiB, and how much of it is in huge pages of 2 MiB.
const MEMORY_MIB: u32 = 2_048;
const HUGE_PAGES: u32 = 160;
/// The slots that `scripts/nic-init` looks for its cards in, and the one of the management interface.
const SLOTS: [u8; 2] = [4, 5];
const MANAGEMENT_SLOT: u8 = 3;
/// Where the guest's metrics are to be had in the switch's namespace.
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_472);
/// How long the guest may take to boot and start afrd, and to end.
const TO_BOOT: Duration = Duration::from_secs(100);
const TO_END: Duration = Duration::from_secs(40);

/// A running guest. Dropped, QEMU is ended.
#[derive(Debug)]
pub(super) struct Guest {
    process: Process,
    /// The other end of the guest's second serial line.
    word: PathBuf,
}

impl Guest {
    /// Starts QEMU in the switch's namespace. Its console goes to `<images>/<model>.log`.
    ///
    /// # Errors
    ///
    /// There is no guest, or no QEMU.
    pub(super) fn start(
        model: Model,
        switch: &Namespace,
        images: &Path,
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, NicError> {
        for file in ["vmlinuz", "initramfs.cpio"] {
            let path = images.join(file);
            if !path.is_file() {
                return Err(NicError::NoGuest(path));
            }
        }
        let word = directory.join("word");
        let arguments = arguments(model, images, &word);
        let process = Process::start(
            model.name(),
            switch,
            Path::new(QEMU),
            &arguments,
            images,
            interrupt,
        )?;
        Ok(Self { process, word })
    }

    /// Waits until afrd is ready, and returns what it then has warned of. `step` is told what the guest says on the way.
    ///
    /// # Errors
    ///
    /// Something fails, or it takes too long.
    pub(super) fn boot(&mut self, mut step: impl FnMut(&str)) -> Result<Vec<String>, NicError> {
        let deadline = Instant::now() + TO_BOOT;
        let mut warnings = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .process
                .wait_for_line("afrd's ready line", left, |line| Line::read(line).is_some())?;
            match Line::read(&line) {
                Some(Line::Ready) => return Ok(warnings),
                Some(Line::Warning(words)) => warnings.push(words.to_owned()),
                Some(Line::Said(words)) => {
                    if words.starts_with("FAILED") || words.starts_with("afrd ended") {
                        return Err(NicError::Guest(words.to_owned(), self.process.tail()));
                    }
                    step(words);
                }
                None => {}
            }
        }
    }

    /// afrd's metrics, scraped by way of the management interface.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub(super) fn metrics(&self, switch: &Namespace) -> Result<Exposition, ExpositionError> {
        Exposition::fetch(switch, METRICS)
    }

    /// The end of the console.
    pub(super) fn tail(&self) -> String {
        self.process.tail()
    }

    /// Has the guest show what afrctl shows, end afrd by SIGTERM, and power off. Returns what it says.
    ///
    /// # Errors
    ///
    /// afrd ends with failure, or it takes too long.
    pub(super) fn end(self) -> Result<Vec<String>, NicError> {
        let told = UnixStream::connect(&self.word).and_then(|mut word| word.write_all(b"end\n"));
        told.map_err(|source| NicError::File {
            path: self.word.clone(),
            source,
        })?;
        let mut lines = Vec::new();
        self.process
            .finish(TO_END, |line| lines.push(line.to_owned()))?;
        if lines
            .iter()
            .any(|line| Line::read(line) == Some(Line::Said("afrd ended with 0")))
        {
            return Ok(lines);
        }
        let end = lines.len().saturating_sub(25);
        let what = "afrd did not end as it should".to_owned();
        Err(NicError::Guest(what, lines[end..].join("\n")))
    }
}

/// A line of the console that means something here.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// `scripts/nic-init` tells how far it is.
    Said(&'a str),
    /// afrd warns.
    Warning(&'a str),
    /// afrd forwards.
    Ready,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let after = |mark: &str| line.split_once(mark).map(|(_, words)| words);
        if line.contains("afrd ready") {
            return Some(Self::Ready);
        }
        let said = after("nic: ").map(Self::Said);
        said.or_else(|| after(" WARN ").map(Self::Warning))
    }
}

/// QEMU's command line.
fn arguments(model: Model, images: &Path, word: &Path) -> Vec<String> {
    let workers = model.queues();
    let lcores: Vec<_> = (1..=workers).map(|cpu| cpu.to_string()).collect();
    let kernel = format!(
        "console=ttyS0 quiet panic=-1 no_timer_check intel_iommu=on iommu=pt hugepages={HUGE_PAGES} LCORES={}",
        lcores.join(",")
    );
    let image = |name: &str| images.join(name).display().to_string();
    let mut arguments: Vec<String> = [
        "-nodefaults -no-user-config -no-reboot -display none",
        // A split interrupt controller and cached invalidations: what the IOMMU and vfio in a guest need.
        "-machine q35,kernel-irqchip=off -accel tcg,thread=multi -cpu max",
        "-device intel-iommu,caching-mode=on",
        "-serial stdio",
    ]
    .iter()
    .flat_map(|words| words.split(' '))
    .map(str::to_owned)
    .collect();
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    add(
        "-serial",
        format!("unix:{},server=on,wait=off", word.display()),
    );
    add("-smp", (workers + 1).to_string());
    add("-m", MEMORY_MIB.to_string());
    add("-kernel", image("vmlinuz"));
    add("-initrd", image("initramfs.cpio"));
    add("-append", kernel);
    let port = METRICS.port();
    add(
        "-netdev",
        format!("user,id=management,restrict=on,hostfwd=tcp:{METRICS}-:{port}"),
    );
    add(
        "-device",
        format!("e1000,netdev=management,bus=pcie.0,addr={MANAGEMENT_SLOT:#x},romfile="),
    );
    for ((segment, mac), slot) in CARDS.into_iter().zip(SLOTS) {
        let mut tap = format!(
            "tap,id={segment},ifname={segment},script=no,downscript=no,vhost=off,vnet_hdr=off"
        );
        if model.tap_queues() > 1 {
            tap = format!("{tap},queues={}", model.tap_queues());
        }
        add("-netdev", tap);
        add("-device", model.device(segment, mac, slot));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_iommu_comes_before_the_cards_it_translates_for() {
        for model in [Model::E1000e, Model::VirtioNet] {
            let words = arguments(model, Path::new("images"), Path::new("word"));
            let place = |what: &str| words.iter().position(|word| word.contains(what));
            assert!(place("intel-iommu") < place(",netdev=clients"), "{words:?}");
            assert_eq!(
                words.iter().filter(|word| word.starts_with("tap,")).count(),
                2
            );
        }
    }

    #[test]
    fn every_worker_has_a_processor_of_its_own() {
        let words = arguments(Model::VirtioNet, Path::new("images"), Path::new("word"));
        assert!(words.windows(2).any(|pair| pair == ["-smp", "3"]));
        assert!(words.iter().any(|word| word.ends_with("LCORES=1,2")));
    }

    #[test]
    fn what_the_guest_and_afrd_say_is_told_from_the_kernels_lines() {
        for (line, meaning) in [
            (
                "[ 1.2] nic: afrd ended with 0",
                Some(Line::Said("afrd ended with 0")),
            ),
            (
                "2026-11-25T20:01:54Z  WARN port a: b",
                Some(Line::Warning("port a: b")),
            ),
            ("afrd ready: 2 ports", Some(Line::Ready)),
            ("e1000 0000:00:03.0: up", None),
        ] {
            assert_eq!(Line::read(line), meaning);
        }
    }
}
