//! `afrctl`: shows and steers a running `afrd`. See [`afr_controlplane::ctl`].

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use afr_controlplane::ctl::args::Cli;
use afr_controlplane::ctl::{Failure, run};
use clap::Parser;

fn main() -> ExitCode {
    // A wrong command line ends here, with status 2.
    let cli = Cli::parse();
    let mut out = io::stdout().lock();
    let done = run(cli, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough, as `head` does.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // With standard error gone there is nobody to tell; the status says it.
            let _ = writeln!(io::stderr(), "afrctl: {failure}");
            failure.exit_code()
        }
    }
}
