//! Huge pages of 2 MiB for `afrd`, taken from the system and given back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
/// In a lab's directory: how many pages it added.
const ADDED: &str = "huge-pages.added";
const MIB_PER_PAGE: u32 = 2;

/// Huge pages for one lab. Dropped, the system has so many less; what others added meanwhile stays.
#[derive(Debug)]
pub struct HugePages {
    lab: PathBuf,
}

impl HugePages {
    /// Sees to it that `mib` MiB are free in huge pages. `lab` is the lab's directory.
    ///
    /// # Errors
    ///
    /// The system has none, or not so many; then it has as many as before.
    pub fn take(lab: &Path, mib: u32) -> io::Result<Self> {
        let (total, free) = (read("nr_hugepages")?, read("free_hugepages")?);
        let pages = mib.div_ceil(MIB_PER_PAGE);
        let missing = pages.saturating_sub(free);
        // Written first: whoever cleans up after a kill finds it.
        fs::write(lab.join(ADDED), missing.to_string())?;
        let taken = Self {
            lab: lab.to_owned(),
        };
        if missing > 0 {
            set(total + missing)?;
            let added = read("nr_hugepages")?.saturating_sub(total);
            fs::write(lab.join(ADDED), added.to_string())?;
        }
        let free = read("free_hugepages")?;
        if free < pages {
            let found = format!("{} MiB of {mib} MiB to be had", free * MIB_PER_PAGE);
            return Err(io::Error::other(found));
        }
        Ok(taken)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        give_back(&self.lab);
    }
}

/// Undoes [`HugePages::take`] for the lab with this directory, if it was done.
pub(crate) fn give_back(lab: &Path) {
    let note = lab.join(ADDED);
    let added: Option<u32> = fs::read_to_string(&note)
        .ok()
        .and_then(|text| text.parse().ok());
    if let (Some(added @ 1..), Ok(total)) = (added, read("nr_hugepages")) {
        // Nobody is left to tell if the system does not take them back.
        let _ = set(total.saturating_sub(added));
    }
    let _ = fs::remove_file(note);
}

fn read(file: &str) -> io::Result<u32> {
    let path = Path::new(DIRECTORY).join(file);
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(io::Error::other)
}

fn set(pages: u32) -> io::Result<()> {
    let path = Path::new(DIRECTORY).join("nr_hugepages");
    fs::write(path, pages.to_string())
}
