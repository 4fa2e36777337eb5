//! Huge pages of 2 MiB for `afrd`, taken from the system and given back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
/// In a lab's directory: how many pages there were before.
const FORMER: &str = "huge-pages.before";
const MIB_PER_PAGE: u32 = 2;

/// Huge pages for one lab. Dropped, the system has as many as before.
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
        // Written first: whoever cleans up after a kill finds it.
        fs::write(lab.join(FORMER), total.to_string())?;
        let taken = Self {
            lab: lab.to_owned(),
        };
        if free < pages {
            set(total + pages - free)?;
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
    let note = lab.join(FORMER);
    let former = fs::read_to_string(&note).ok();
    if let Some(former) = former.and_then(|text| text.parse().ok()) {
        // Nobody is left to tell if the system does not take them back.
        let _ = set(former);
        let _ = fs::remove_file(note);
    }
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
