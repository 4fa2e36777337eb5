//! The one way in which the lab runs `ip`, `ethtool`, `sysctl` and `bridge`.

use std::io;
use std::process::{Command, Stdio};

/// Why a command did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program, or it may not be run.
    #[error("cannot run `{line}`: {source}")]
    NotRun {
        /// The command.
        line: String,
        /// What the system says.
        source: io::Error,
    },
    /// It ran and reports failure.
    #[error("`{line}` failed ({status}): {stderr}")]
    Failed {
        /// The command.
        line: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it wrote to standard error, or to standard output if that was empty.
        stderr: String,
    },
}

/// Runs a command given as words between blanks, without a shell, and returns its standard output.
///
/// # Errors
///
/// [`CommandError`], which names the command and what it wrote to standard error.
pub fn run(line: &str) -> Result<String, CommandError> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CommandError::NotRun {
            line: line.to_owned(),
            source,
        })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stderr = if stderr.trim().is_empty() {
        stdout.as_str().into()
    } else {
        stderr
    };
    Err(CommandError::Failed {
        line: line.to_owned(),
        status: output.status,
        stderr: stderr.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_comes_back() {
        assert_eq!(run("echo  a   b").unwrap(), "a b\n");
    }

    #[test]
    fn an_error_names_the_command_and_its_words() {
        let error = run("ls /nowhere-at-all").unwrap_err().to_string();
        assert!(error.starts_with("`ls /nowhere-at-all` failed"), "{error}");
        assert!(error.contains("No such file"), "{error}");
        let error = run("no-such-program-here x").unwrap_err().to_string();
        assert!(error.contains("`no-such-program-here x`"), "{error}");
    }
}
