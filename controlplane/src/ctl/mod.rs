//! `afrctl`: the operator's hand on a running `afrd`.
//!
//! | module | is |
//! |---|---|
//! | [`args`] | the command line |
//! | [`prompt`] | from a prompt's text to the signatures that a request would carry |
//! | [`render`] | answers as tables for people |
//! | [`top`] | the screen that refreshes |
//! | [`table`], [`units`] | columns, and figures that are easy to read |

pub mod args;
pub mod prompt;
pub mod table;
pub mod units;
pub mod render;
pub mod top;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::api::protocol::{FlowFilter, InstanceName};
use crate::api::{Client, ClientError, Request, Response};

use args::{Cli, Command, FlowArgs, Show};
use prompt::PromptError;
use render::Detail;

/// Why `afrctl` did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The socket, or `afrd` behind it.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The prompt of `explain`.
    #[error("{0}")]
    Prompt(#[from] PromptError),
    /// The answer is bad news: told in full on standard output.
    #[error("not all is well")]
    Unwell,
    /// `afrd` answered something else than it was asked.
    #[error(
        "afrd answered something else than it was asked; afrctl and afrd should be of the same version"
    )]
    Unexpected,
    /// Standard output.
    #[error("writing: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// 1: `afrd` refused, or is unwell; 2: it could not be asked.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unwell | Self::Client(ClientError::Refused(_)) => ExitCode::from(1),
            _ => ExitCode::from(2),
        }
    }
}

/// Does what the command line says, and writes the answer to `out`.
///
/// # Errors
/// [`Failure`].
pub fn run(cli: Cli, out: &mut impl Write) -> Result<(), Failure> {
    // What is wrong with the command line is told whether afrd runs or not.
    let (request, detail) = match cli.command {
        Command::Top(args) => {
            let mut client = Client::connect(&cli.socket)?;
            return top::run(&mut client, &args, cli.json, out);
        }
        command => request_of(command)?,
    };
    let response = Client::connect(&cli.socket)?.call(request)?;
    let text = if cli.json {
        let mut text = serde_json::to_string_pretty(&response).map_err(ClientError::Foreign)?;
        text.push('\n');
        text
    } else {
        render::render(&response, detail)
    };
    out.write_all(text.as_bytes())?;
    match response {
        Response::Health(health) if !health.ok => Err(Failure::Unwell),
        _ => Ok(()),
    }
}

/// The request of a command, and how much of the answer is shown. `top` is made of several.
fn request_of(command: Command) -> Result<(Request, Detail), Failure> {
    let named = |instance| InstanceName { instance };
    let request = match command {
        Command::Show(Show::Ports(args)) => return Ok((Request::ShowPorts, args.into())),
        Command::Show(Show::Counters(args)) => {
            let detail = if args.all { Detail::All } else { Detail::Brief };
            return Ok((Request::ShowCounters(args.into()), detail));
        }
        Command::Show(Show::Workers) => Request::ShowWorkers,
        Command::Show(Show::Instances(args)) => return Ok((Request::ShowInstances, args.into())),
        Command::Show(Show::Flows(FlowArgs {
            class,
            instance,
            limit,
        })) => Request::ShowFlows(FlowFilter {
            class,
            instance,
            limit: Some(limit),
        }),
        Command::Show(Show::Classes) => Request::ShowClasses,
        Command::Show(Show::Aft) | Command::Top(_) => Request::ShowAft,
        Command::Explain(args) => Request::Explain(args.into_request()?),
        Command::Drain { instance } => Request::Drain(named(instance)),
        Command::Undrain { instance } => Request::Undrain(named(instance)),
        Command::Down { instance } => Request::Down(named(instance)),
        Command::Up { instance } => Request::Up(named(instance)),
        Command::Reload => Request::Reload,
        Command::Health => Request::Health,
        Command::Version => Request::Version,
    };
    Ok((request, Detail::Brief))
}
