//! What a lab that was killed leaves behind, and its removal.
//!
//! Everything a lab makes carries its tag, `afrlab-<process id>-<number>`. A tag whose process no longer exists is a
//! leftover: its programs are ended, its namespaces deleted, its huge pages given back, its directory removed.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use uapi::c::SIGKILL;

use super::command::run;
use super::huge_pages;
use super::namespace::DIRECTORY as NAMESPACES;

const PREFIX: &str = "afrlab-";

/// The tag of a lab: lab `number` of process `pid`.
pub(crate) fn tag(pid: u32, number: u32) -> String {
    format!("{PREFIX}{pid}-{number}")
}

/// The directory of the lab with this tag.
pub(crate) fn directory(tag: &str) -> PathBuf {
    std::env::temp_dir().join(tag)
}

/// What [`clean`] removed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Programs that were still running.
    pub programs: Vec<u32>,
    /// Network namespaces.
    pub namespaces: Vec<String>,
    /// Directories.
    pub directories: Vec<PathBuf>,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "removed {} programs, {} namespaces, {} directories of labs that are gone",
            self.programs.len(),
            self.namespaces.len(),
            self.directories.len()
        )
    }
}

/// Removes what labs of processes that are gone have left behind. Labs of living processes are not touched.
#[must_use = "it tells what was removed"]
pub fn clean() -> Removed {
    let mut removed = Removed::default();
    for name in dead(PREFIX, Path::new(NAMESPACES)) {
        for pid in pids(&name) {
            if uapi::kill(pid.try_into().unwrap_or(i32::MAX), SIGKILL).is_ok() {
                // Where afrd's EAL keeps what belongs to the process.
                let runtime = format!("/var/run/dpdk/afrd-{pid}");
                let _ = fs::remove_dir_all(runtime);
                removed.programs.push(pid);
            }
        }
        if run(&format!("ip netns delete {name}")).is_ok() {
            removed.namespaces.push(name);
        }
    }
    for name in dead(PREFIX, &std::env::temp_dir()) {
        let path = directory(&name);
        huge_pages::give_back(&path);
        if fs::remove_dir_all(&path).is_ok() {
            removed.directories.push(path);
        }
    }
    removed
}

/// Names in a directory that carry the tag, `<prefix><process id>…`, of a process that is gone.
pub(crate) fn dead(prefix: &str, directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| owner(prefix, name).is_some_and(is_gone))
        .collect()
}

/// The process that made what has this name.
fn owner(prefix: &str, name: &str) -> Option<u32> {
    let rest = name.strip_prefix(prefix)?;
    rest.split('-').next()?.parse().ok()
}

fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

/// The programs in a namespace, except this one: `ip netns pids` sees a process that has a thread in there.
fn pids(namespace: &str) -> Vec<u32> {
    let listed = run(&format!("ip netns pids {namespace}")).unwrap_or_default();
    let pids = listed.lines().filter_map(|line| line.trim().parse().ok());
    pids.filter(|pid| *pid != std::process::id()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_its_process() {
        assert_eq!(owner(PREFIX, &tag(4711, 3)), Some(4711));
        assert_eq!(owner(PREFIX, &format!("{}-rt", tag(4711, 3))), Some(4711));
        assert_eq!(owner(PREFIX, "afrlab-x-1"), None);
        assert_eq!(owner(PREFIX, "something-else"), None);
    }

    #[test]
    fn only_what_belongs_to_no_living_process_is_dead() {
        // A process that has ended and been waited for; its id is not given out again so soon.
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let place = std::env::temp_dir().join(format!("leftovers-{}", std::process::id()));
        let (dead_one, living_one) = (tag(gone.id(), 0), tag(std::process::id(), 9));
        for name in [&dead_one, &living_one, &"other".to_owned()] {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        assert_eq!(dead(PREFIX, &place), [dead_one]);
        fs::remove_dir_all(&place).unwrap();
    }
}
