//! Where a measurement keeps what it needs: a directory of its own, huge pages, and a hugetlbfs mounted in the directory
//! (testpmd takes huge pages from a mounted one only, and a fresh machine has none).
//!
//! Dropped, all of it goes, also after a failure or Ctrl-C ([`Interrupt`](crate::lab::Interrupt)). What a killed
//! process leaves behind is recognised by the process id in the directory's name, and removed by the next [`Place`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use uapi::c::SIGKILL;

use crate::lab::{HugePages, run};
use crate::lab::{dead_tags, give_back_huge_pages};

const PREFIX: &str = "afrbench-";
/// In the directory: where hugetlbfs is mounted.
const MOUNT: &str = "huge";
/// In the directory: process ids of the programs started, one a line.
const PROGRAMS: &str = "programs";
const EAL_DIRECTORIES: &str = "/var/run/dpdk";

/// A measurement's directory, with huge pages where there are any.
#[derive(Debug)]
pub struct Place {
    tag: String,
    directory: PathBuf,
    pages: Option<HugePages>,
    huge_mib: u32,
}

impl Place {
    /// Makes the directory, after removing what dead measurements left behind.
    ///
    /// # Errors
    ///
    /// Not root, or those of the file system.
    pub fn create() -> anyhow::Result<Self> {
        if uapi::geteuid() != 0 {
            bail!("root is needed: DPDK, huge pages");
        }
        clean();
        let tag = format!("{PREFIX}{}", std::process::id());
        let directory = std::env::temp_dir().join(&tag);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            tag,
            directory,
            pages: None,
            huge_mib: 0,
        })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Prefix of the names of everything the EAL makes for a program started here.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Sees to it that `mib` MiB of huge pages are free, and mounts a hugetlbfs for them.
    ///
    /// # Errors
    ///
    /// The system has not so many, or does not mount; then none are taken.
    pub fn take_huge_pages(&mut self, mib: u32) -> anyhow::Result<()> {
        self.pages = None;
        self.huge_mib = 0;
        let pages = HugePages::take(&self.directory, mib)?;
        let mount = self.directory.join(MOUNT);
        if !is_mounted(&mount) {
            fs::create_dir_all(&mount)?;
            run(&format!(
                "mount -t hugetlbfs -o pagesize=2M none {}",
                mount.display()
            ))?;
        }
        self.pages = Some(pages);
        self.huge_mib = mib;
        Ok(())
    }

    /// How much was taken in huge pages, in MiB.
    #[must_use]
    pub fn huge_mib(&self) -> u32 {
        self.huge_mib
    }

    /// Where hugetlbfs is mounted, if huge pages were taken.
    #[must_use]
    pub fn huge_dir(&self) -> Option<PathBuf> {
        self.pages.as_ref().map(|_| self.directory.join(MOUNT))
    }

    /// Notes a program started here, so that it is ended should this process be killed.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn note_program(&self, pid: u32) -> std::io::Result<()> {
        let noted = self.directory.join(PROGRAMS);
        let before = fs::read_to_string(&noted).unwrap_or_default();
        fs::write(noted, format!("{before}{pid}\n"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Unmounted before the pages are given back: a file left in there would keep some.
        unmount(&self.directory);
        self.pages = None;
        remove(&self.tag);
    }
}

/// Removes what measurements of processes that are gone left behind.
fn clean() {
    for tag in dead_tags(PREFIX, &std::env::temp_dir()) {
        let directory = std::env::temp_dir().join(&tag);
        let noted = fs::read_to_string(directory.join(PROGRAMS)).unwrap_or_default();
        for pid in noted.lines().filter_map(|line| line.parse::<i32>().ok()) {
            // The id may be another program's by now: ours carries the tag on its command line.
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if command.contains(&format!("{tag}/")) || command.contains(&format!("{tag}-")) {
                let _ = uapi::kill(pid, SIGKILL);
                while Path::new(&format!("/proc/{pid}/exe")).exists() {
                    std::thread::yield_now();
                }
            }
        }
        unmount(&directory);
        give_back_huge_pages(&directory);
        remove(&tag);
    }
}

/// Nobody is left to tell if these fail.
fn unmount(directory: &Path) {
    let mount = directory.join(MOUNT);
    if is_mounted(&mount) {
        let _ = run(&format!("umount --lazy {}", mount.display()));
    }
}

fn remove(tag: &str) {
    let _ = fs::remove_dir_all(std::env::temp_dir().join(tag));
    let Ok(entries) = fs::read_dir(EAL_DIRECTORIES) else {
        return;
    };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        if name
            .strip_prefix(tag)
            .is_some_and(|rest| rest.starts_with('-'))
        {
            let _ = fs::remove_dir_all(Path::new(EAL_DIRECTORIES).join(name));
        }
    }
}

fn is_mounted(at: &Path) -> bool {
    fs::read_to_string("/proc/mounts").is_ok_and(|mounts| {
        mounts
            .lines()
            .any(|line| line.split(' ').nth(1).map(Path::new) == Some(at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_with_its_owner_and_a_dead_owners_is_found() {
        if uapi::geteuid() != 0 {
            return;
        }
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let left = std::env::temp_dir().join(format!("{PREFIX}{}", gone.id()));
        fs::create_dir_all(left.join(MOUNT)).unwrap();
        let place = Place::create().unwrap();
        assert!(!left.exists(), "what a dead process left is removed");
        let own = place.directory().to_owned();
        assert!(own.exists());
        drop(place);
        assert!(!own.exists());
    }
}
