//! A generator of the operator's own, behind a command.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Counted, Trial};
use crate::lab::Interrupt;

/// A command that offers packets, with `{pps}` and `{seconds}` in it. The last line of its standard output is
/// `{"sent": N, "received": M}`.
#[derive(Debug, Clone)]
pub struct External {
    /// The command, for `sh -c`.
    pub template: String,
    /// Whether to stop.
    pub interrupt: Interrupt,
}

impl External {
    fn command(&self, pps: f64, duration: Duration) -> String {
        let seconds = duration.as_secs_f64().to_string();
        self.template
            .replace("{pps}", &format!("{pps:.0}"))
            .replace("{seconds}", &seconds)
    }
}

impl Trial for External {
    fn offer(&mut self, pps: f64, duration: Duration) -> anyhow::Result<Counted> {
        ensure!(!self.interrupt.is_raised(), "interrupted");
        let line = self.command(pps, duration);
        let output = Command::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run `{line}`"))?;
        ensure!(
            output.status.success(),
            "`{line}` failed ({})",
            output.status
        );
        let text = String::from_utf8_lossy(&output.stdout);
        counted(&text).with_context(|| format!("the generator's answer to `{line}`"))
    }
}

fn counted(text: &str) -> anyhow::Result<Counted> {
    let last = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .context("it printed nothing; its last line should be {\"sent\": N, \"received\": M}")?;
    let counted: Counted = serde_json::from_str(last).with_context(|| {
        format!("its last line is {last:?} and should be {{\"sent\": N, \"received\": M}}")
    })?;
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(template: &str) -> External {
        External {
            template: template.to_owned(),
            interrupt: Interrupt::by_hand(),
        }
    }

    #[test]
    fn rate_and_time_go_in_and_counts_come_out() {
        let mut generator = external(
            "echo warming up; echo '{\"sent\": '$(({pps} * {seconds}))', \"received\": 7, \"port\": 0}'",
        );
        let counted = generator.offer(1_000.4, Duration::from_secs(3)).unwrap();
        assert_eq!(
            counted,
            Counted {
                sent: 3_000,
                received: 7
            }
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_the_command() {
        for (template, said) in [
            ("exit 3", "exit status: 3"),
            ("true", "printed nothing"),
            ("echo fine", "\"fine\""),
        ] {
            let error = external(template)
                .offer(1.0, Duration::from_secs(1))
                .unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
            assert!(format!("{error:#}").contains(template), "{error:#}");
        }
    }
}
