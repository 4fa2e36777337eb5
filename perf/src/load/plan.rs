//! What is to be sent: everything that is settled before the clock starts.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use afr_endpoint::sender::{Sender, label_hashes, source_towards};
use afr_wire::Label32;

use super::args::{DestinationArgs, LoadArgs, Metadata, WorkloadArgs};
use super::target::{ClassSpec, Destination};
use crate::rng;
use crate::trace::mooncake::{self, TraceError};
use crate::trace::sessions::Sessions;
use crate::trace::{TraceRequest, assign_classes};
use crate::trust::MissingKey;

/// Open files that are not connections: the runtime's, standard streams, some to spare.
const SPARE_FILES: usize = 32;
/// Most connections where the limit on open files is generous.
const MOST_CONNECTIONS: usize = 4096;

/// Number of the stream of random arrivals; the sessions' use small ones.
const ARRIVALS: u64 = u64::MAX;

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A key id without its key.
    #[error(transparent)]
    Key(#[from] MissingKey),
    /// The trace could not be opened.
    #[error("{}: {source}", path.display())]
    OpenTrace {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The trace could not be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The workload has no request left after what is to be skipped.
    #[error("no requests: the workload has {available}, --skip is {skip}")]
    Empty {
        /// Requests of the workload.
        available: usize,
        /// Requests to skip.
        skip: usize,
    },
    /// Nothing but warm-up.
    #[error("--warmup {warmup} leaves none of {requests} requests for the figures")]
    OnlyWarmup {
        /// Requests to leave out.
        warmup: usize,
        /// Requests there are.
        requests: usize,
    },
    /// Neither a prefix nor a target.
    #[error("--service-prefix or --target is needed")]
    NoDestination,
    /// There is no way to a class's address.
    #[error("no source address towards {destination}: {source}")]
    NoSource {
        /// Where to.
        destination: SocketAddrV6,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// A class of the plan.
#[derive(Clone, Debug)]
pub struct ClassPlan {
    /// What its requests need.
    pub spec: ClassSpec,
    /// Its labels as they travel.
    pub labels: Vec<Label32>,
    /// Where its requests go, in turn; at least one.
    pub destinations: Vec<SocketAddrV6>,
    /// From which address.
    pub source: Ipv6Addr,
}

/// The plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The requests, by arrival.
    pub requests: Vec<TraceRequest>,
    /// Where they come from: a file's name, or what was made up.
    pub origin: String,
    /// The first block of a prompt that no other conversation has.
    pub own_block: usize,
    /// How many of them are warm-up.
    pub warmup: usize,
    /// Classes, by [`TraceRequest::class`].
    pub classes: Vec<ClassPlan>,
    /// Name of the model asked for.
    pub model: String,
    /// What makes the metadata, if any is sent.
    pub sender: Option<Sender>,
    /// Own address, if one was asked for.
    pub bind: Option<Ipv6Addr>,
    /// Most connections open at a time.
    pub max_connections: usize,
    /// Real time that one request may take.
    pub timeout: Duration,
    /// Emulated seconds in a real one.
    pub time_scale: f64,
    /// Seed of sessions, classes and jitter.
    pub seed: u64,
    /// Instances there are, if known.
    pub instances: Option<usize>,
}

impl Plan {
    /// Reads or makes up the workload, and finds the way to every class.
    ///
    /// # Errors
    ///
    /// [`PlanError`].
    pub fn new(args: &LoadArgs) -> Result<Self, PlanError> {
        let (mut requests, origin, own_block) = workload(&args.workload)?;
        let shares: Vec<f64> = args
            .workload
            .classes
            .iter()
            .map(|class| class.share)
            .collect();
        assign_classes(&mut requests, &shares, own_block, args.workload.seed);
        let classes = args.workload.classes.iter().map(|spec| class(spec, args));
        Ok(Self {
            classes: classes.collect::<Result<_, _>>()?,
            model: args.destination.model.clone(),
            requests,
            origin,
            own_block,
            warmup: args.workload.warmup,
            sender: match args.metadata {
                Metadata::None => None,
                Metadata::Full => Some(args.trust.sender(args.source_prefix_len)?),
            },
            bind: args.destination.source,
            max_connections: args.max_connections.unwrap_or_else(connections_allowed),
            timeout: Duration::from_secs_f64(args.timeout_s),
            time_scale: args.time_scale,
            seed: args.workload.seed,
            instances: args.destination.instances,
        })
    }

    /// Where a request goes.
    #[must_use]
    pub fn destination(&self, index: usize) -> SocketAddrV6 {
        let class = self.requests.get(index).map_or(0, |request| request.class);
        let destinations = self.classes.get(class).map(|class| &class.destinations);
        destinations
            .and_then(|all| all.get(index % all.len().max(1)))
            .copied()
            .unwrap_or(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0))
    }

    /// The session that a request belongs to: its conversation's. A request that is only a system prompt has its own.
    #[must_use]
    pub fn session(&self, index: usize) -> u64 {
        let conversation = self
            .requests
            .get(index)
            .and_then(|request| request.hash_ids.get(self.own_block));
        // Two streams, so that a conversation and a request never have the same number.
        match conversation {
            Some(id) => rng::at(rng::at(self.seed, 0), *id),
            None => rng::at(rng::at(self.seed, 1), index as u64),
        }
    }
}

fn workload(args: &WorkloadArgs) -> Result<(Vec<TraceRequest>, String, usize), PlanError> {
    let (whole, origin, own_block) = match &args.trace {
        Some(path) => {
            let file = File::open(path).map_err(|source| PlanError::OpenTrace {
                path: path.clone(),
                source,
            })?;
            let requests = mooncake::read(BufReader::new(file), args.seed)?;
            let name = path.file_name().unwrap_or(path.as_os_str());
            // The first block of every conversation is the same.
            (requests, name.to_string_lossy().into_owned(), 1)
        }
        None => {
            let sessions = Sessions {
                per_second: args.sessions_per_s,
                ..Sessions::default()
            };
            let count = args.skip.saturating_add(args.requests);
            (
                sessions.generate(count, args.seed),
                "generated sessions".to_owned(),
                sessions.own_block(),
            )
        }
    };
    let available = whole.len();
    let mut requests = args.slice().of(whole);
    if let Some(per_s) = args.arrivals_per_s {
        arrive_at_random(&mut requests, per_s, args.seed);
    }
    if requests.is_empty() {
        return Err(PlanError::Empty {
            available,
            skip: args.skip,
        });
    }
    if args.warmup >= requests.len() {
        return Err(PlanError::OnlyWarmup {
            warmup: args.warmup,
            requests: requests.len(),
        });
    }
    Ok((requests, origin, own_block))
}

/// New arrivals for requests in the same order: a Poisson process that begins at once.
fn arrive_at_random(requests: &mut [TraceRequest], per_s: f64, seed: u64) {
    // A stream of its own: what the seed makes up otherwise stays.
    let mut dice = rng::SplitMix64::new(rng::at(seed, ARRIVALS));
    let mut arrival_ms = 0.0;
    for request in requests {
        request.arrival_ms = arrival_ms;
        arrival_ms += dice.exponential(1_000.0 / per_s);
    }
}

fn class(spec: &ClassSpec, args: &LoadArgs) -> Result<ClassPlan, PlanError> {
    let destinations = destinations(&args.destination)?;
    let destinations: Vec<_> = destinations.iter().map(|one| one.of(spec.id)).collect();
    let Some(&destination) = destinations.first() else {
        return Err(PlanError::NoDestination);
    };
    let source = match args.destination.source {
        Some(source) => source,
        None => source_towards(destination).map_err(|source| PlanError::NoSource {
            destination,
            source,
        })?,
    };
    let names = spec.labels.iter().map(String::as_str);
    Ok(ClassPlan {
        labels: label_hashes(&args.trust.salt, names),
        spec: spec.clone(),
        destinations,
        source,
    })
}

fn destinations(args: &DestinationArgs) -> Result<Vec<Destination>, PlanError> {
    match args.service_prefix {
        _ if !args.target.is_empty() => {
            let targets = args.target.iter().copied();
            Ok(targets.map(Destination::Direct).collect())
        }
        Some(prefix) => Ok(vec![Destination::Service {
            prefix,
            port: args.port,
        }]),
        None => Err(PlanError::NoDestination),
    }
}

/// As many connections as the soft limit on open files allows.
fn connections_allowed() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = open_files(&limits).unwrap_or(MOST_CONNECTIONS);
    files.saturating_sub(SPARE_FILES).clamp(1, MOST_CONNECTIONS)
}

/// The soft limit out of the table of proc_pid_limits(5); none if there is none, or it is unlimited.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan(arguments: &[&str]) -> Result<Plan, PlanError> {
        let always = ["afr-load", "--target=[::1]:9", "--metadata=none"];
        let arguments = always.into_iter().chain(arguments.iter().copied());
        Plan::new(&LoadArgs::try_parse_from(arguments).unwrap())
    }

    #[test]
    fn a_conversation_is_a_session() {
        let plan = plan(&["--requests=100"]).unwrap();
        let mut sessions = std::collections::HashMap::new();
        for (index, request) in plan.requests.iter().enumerate() {
            let own = sessions
                .entry(request.hash_ids[plan.own_block])
                .or_insert_with(|| plan.session(index));
            assert_eq!(*own, plan.session(index));
        }
        // Far more than there are kinds of agent: no session is taken for another's replay.
        assert!(sessions.len() > 10, "{}", sessions.len());
        let distinct: std::collections::HashSet<_> = sessions.values().collect();
        assert_eq!(distinct.len(), sessions.len());
        assert_eq!(plan.classes[0].source, Ipv6Addr::LOCALHOST);
    }

    #[test]
    fn arrivals_may_be_at_random_and_targets_take_turns() {
        let arguments = ["--requests=2000", "--seed=3", "--target=[::1]:10"];
        let own = plan(&arguments).unwrap();
        let random = plan(&[&arguments[..], &["--arrivals-per-s=100"]].concat()).unwrap();
        let last_s = random.requests[1_999].arrival_ms / 1_000.0;
        assert!((18.0..22.0).contains(&last_s), "{last_s}");
        assert!(
            random
                .requests
                .is_sorted_by_key(|request| request.arrival_ms)
        );
        // The same requests in the same order, every second one to each.
        let same = |at: usize| own.requests[at].hash_ids == random.requests[at].hash_ids;
        assert!((0..2_000).all(same));
        let ports = [0, 1, 2].map(|index| random.destination(index).port());
        assert_eq!(ports, [9, 10, 9]);
    }

    #[test]
    fn a_plan_without_figures_is_refused() {
        let error = plan(&["--requests=10", "--warmup=10"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--warmup 10 leaves none of 10 requests for the figures"
        );
        let error = plan(&["--trace=/nonexistent"]).unwrap_err();
        assert!(matches!(error, PlanError::OpenTrace { .. }), "{error}");
    }

    #[test]
    fn the_limit_on_open_files_is_found() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max processes             95000                95000                processes \n\
                     Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(table), Some(1_024));
        assert_eq!(
            open_files("Max open files            unlimited unlimited files"),
            None
        );
        assert!(connections_allowed() >= 1);
    }
}
