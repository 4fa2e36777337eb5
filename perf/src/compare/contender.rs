//! Who is compared, and how a router is started.

use serde::Serialize;

use super::args::Phase;

/// What stands between clients and instances.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The kernel as a router; clients take the instances in turn. What routers are measured against
    Direct,
    /// The same without segmentation and checksum offload, as on the AFR's wires. What the AFR is measured against
    DirectBare,
    /// `afrd`, its worker sleeping when idle; clients send metadata
    Afr,
    /// `afrd`, its worker polling for ever
    AfrSpin,
    /// SGLang's router, cache-aware
    SglangRouter,
    /// Shepherd Model Gateway, cache-aware
    Smg,
}

/// A router that is a program from PyPI.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct RouterPackage {
    /// Its name on PyPI.
    pub(super) name: &'static str,
    /// The version compared.
    pub(super) version: &'static str,
    /// The program in its environment, and the words before its flags.
    pub(super) program: &'static str,
    words: &'static [&'static str],
    /// How it wants to be told to listen on every address.
    any: &'static str,
}

const SGLANG_ROUTER: RouterPackage = RouterPackage {
    name: "sglang-router",
    version: "0.3.2",
    program: "python",
    words: &["-m", "sglang_router.launch_router"],
    any: "[::]",
};

const SMG: RouterPackage = RouterPackage {
    name: "smg",
    version: "1.13.0",
    program: "smg",
    words: &["launch"],
    any: "::",
};

impl Contender {
    /// All, baselines first.
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::DirectBare,
        Self::Afr,
        Self::AfrSpin,
        Self::SglangRouter,
        Self::Smg,
    ];

    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectBare => "direct-bare",
            Self::Afr => "afr",
            Self::AfrSpin => "afr-spin",
            Self::SglangRouter => SGLANG_ROUTER.name,
            Self::Smg => SMG.name,
        }
    }

    /// The name for people.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Self::Direct => "direct, instances in turn".to_owned(),
            Self::DirectBare => "direct, no offloads".to_owned(),
            Self::Afr => "AFR".to_owned(),
            Self::AfrSpin => "AFR, worker spins".to_owned(),
            Self::SglangRouter | Self::Smg => {
                let package = self.package();
                package.map_or_else(String::new, |one| format!("{} {}", one.name, one.version))
            }
        }
    }

    /// Where it comes from, if it is a program from PyPI.
    #[must_use]
    pub(super) const fn package(self) -> Option<RouterPackage> {
        match self {
            Self::SglangRouter => Some(SGLANG_ROUTER),
            Self::Smg => Some(SMG),
            Self::Direct | Self::DirectBare | Self::Afr | Self::AfrSpin => None,
        }
    }

    /// Whether it is `afrd`.
    #[must_use]
    pub const fn is_afr(self) -> bool {
        matches!(self, Self::Afr | Self::AfrSpin)
    }

    /// Whether clients reach instances by the kernel alone.
    #[must_use]
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectBare)
    }

    /// What its latency is compared with.
    #[must_use]
    pub const fn baseline(self) -> Self {
        if self.is_afr() {
            Self::DirectBare
        } else {
            Self::Direct
        }
    }

    /// Whether it says anything in this phase. A worker that spins is there for what it does to latency.
    #[must_use]
    pub const fn takes_part(self, phase: Phase) -> bool {
        match (self, phase) {
            (Self::AfrSpin, Phase::Rate | Phase::Ttft) | (Self::DirectBare, Phase::Ttft) => false,
            (_, _) => true,
        }
    }
}

impl RouterPackage {
    /// Its command line, for these workers. What is not named here has its default, but for the log, which is kept short
    /// in its favour.
    #[must_use]
    pub(super) fn arguments(&self, port: u16, workers: &[String]) -> Vec<String> {
        let own = self.words.iter().map(|word| (*word).to_owned());
        let flags = [
            ("--host", self.any.to_owned()),
            ("--port", port.to_string()),
            ("--policy", "cache_aware".to_owned()),
            ("--log-level", "warn".to_owned()),
        ];
        let mut arguments: Vec<String> = own.chain(crate::lab::flags(&flags)).collect();
        arguments.push("--worker-urls".to_owned());
        arguments.extend_from_slice(workers);
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_are_told_their_workers() {
        let package = Contender::SglangRouter.package().unwrap();
        let words = package.arguments(7, &["http://[::1]:1".into(), "http://[::1]:2".into()]);
        assert!(words.starts_with(&["-m".into(), "sglang_router.launch_router".into()]));
        assert!(words.ends_with(&["http://[::1]:1".into(), "http://[::1]:2".into()]));
        assert!(
            words
                .join(" ")
                .contains("--host [::] --port 7 --policy cache_aware")
        );
    }

    #[test]
    fn everybody_has_a_baseline_that_is_measured_where_it_is() {
        for one in Contender::ALL {
            assert!(one.baseline().is_direct());
            assert!(one.takes_part(Phase::Latency) && one.baseline().takes_part(Phase::Latency));
        }
    }
}
