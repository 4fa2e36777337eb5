//! Emulated engines on the lab's instance hosts.

use std::time::Duration;

use super::AFR_ADDRESS;
use super::afrd::{AfrdError, program};
use super::arguments::{flags, trust_arguments};
use super::process::Process;
use super::topology::{Host, Lab};

/// Starts an emulated engine on each of these hosts, with arguments of its own besides those of trust, and waits for each until it serves,
/// `patience` at the most.
///
/// # Errors
///
/// There is no such program, or it does not serve.
pub fn start_engines<'a>(
    lab: &Lab,
    patience: Duration,
    engines: impl IntoIterator<Item = (&'a Host, Vec<String>)>,
) -> Result<Vec<Process>, AfrdError> {
    let emulator = program("afr-emulator")?;
    let mut started = Vec::new();
    for (host, own) in engines {
        let mut arguments = trust_arguments();
        arguments.extend(own);
        started.push(Process::start(
            &format!("engine-{}", host.number),
            &host.namespace,
            &emulator,
            &arguments,
            lab.directory(),
            lab.interrupt(),
        )?);
    }
    for engine in &mut started {
        engine.wait_for_line("its ready line", patience, |line| line.starts_with("ready"))?;
    }
    Ok(started)
}

/// What has an engine report to the AFR, in replies and in datagrams.
#[must_use]
pub fn report_arguments(host: &Host) -> Vec<String> {
    let mut arguments = flags(&[
        (
            "--report-to",
            format!("[{AFR_ADDRESS}]:{}", afr_wire::UDP_PORT),
        ),
        ("--report-source", host.address.to_string()),
    ]);
    arguments.push("--transit".to_owned());
    arguments
}
