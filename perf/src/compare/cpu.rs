//! Processor time of processes, from proc(5).

use std::fs;
use std::io;

/// Clock ticks in a second of /proc: USER_HZ, which Linux has fixed at 100 on every platform DPDK runs on.
const TICKS_PER_S: f64 = 100.0;

/// Seconds that a process has been running on a processor, in user mode and in the kernel, with all its threads and with the
/// processes it has started.
///
/// # Errors
///
/// There is no such process.
pub(super) fn seconds(pid: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let own = ticks(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: {text}")))?;
    let children: f64 = children(pid)
        .into_iter()
        // A child that ended meanwhile is in its parent's account, or nowhere.
        .filter_map(|child| seconds(child).ok())
        .sum();
    Ok(own as f64 / TICKS_PER_S + children)
}

/// The same of this process, without the programs it has started.
///
/// # Errors
///
/// There is no /proc.
pub(super) fn own_seconds() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let own =
        fields(&text, 2).ok_or_else(|| io::Error::other(format!("/proc/self/stat: {text}")))?;
    Ok(own as f64 / TICKS_PER_S)
}

/// utime, stime, and those of children that ended and were waited for: fields 14 to 17.
fn ticks(stat: &str) -> Option<u64> {
    fields(stat, 4)
}

/// The sum of so many fields from the 14th on.
fn fields(stat: &str, count: usize) -> Option<u64> {
    // The second field is a name in parentheses, which may have any character in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields = rest.split_whitespace().skip(11).take(count);
    let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    (ticks.len() == count).then(|| ticks.iter().sum())
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        let words = list.split_whitespace();
        words.filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
    });
    pids.collect()
}

/// TSC cycles in a second, from /proc/cpuinfo; none where it does not say.
#[must_use]
pub(super) fn tsc_hz() -> Option<f64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    // With a constant TSC the kernel's delay loop counts it, twice a turn.
    bogomips(&text).map(|mips| mips * 1e6 / 2.0)
}

fn bogomips(cpuinfo: &str) -> Option<f64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("bogomips"))?;
    line.split_once(':')?.1.trim().parse().ok()
}

/// The processor's name.
#[must_use]
pub(super) fn model_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat =
            "7 (a) b (c)) S 1 7 7 0 -1 4194304 102 0 0 0 250 50 3 2 20 0 1 0 2381968 3133440";
        assert_eq!(ticks(stat), Some(305));
        assert_eq!(ticks("7 (a) S 1 7"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn a_process_has_a_time_and_none_that_is_gone() {
        assert!(seconds(std::process::id()).unwrap() >= 0.0);
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        assert!(seconds(gone.id()).is_err());
    }

    #[test]
    fn the_clock_is_half_the_bogomips() {
        assert_eq!(
            bogomips("processor\t: 0\nbogomips\t: 4890.80\n"),
            Some(4_890.80)
        );
        assert_eq!(bogomips("processor\t: 0\n"), None);
    }
}
