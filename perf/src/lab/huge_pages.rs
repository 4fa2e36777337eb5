//! Huge pages of 2 MiB for `afrd`, taken from the system and given back.

use std::fs::{self, File};
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
    /// Sees to it that the system has `mib` MiB more in huge pages, or at least as many free. Free pages that there are
    /// already may be somebody's who is about to use them, another lab's for instance. `lab` is the lab's directory.
    ///
    /// # Errors
    ///
    /// The system has none, or not so many; then it has as many as before.
    pub fn take(lab: &Path, mib: u32) -> io::Result<Self> {
        let pages = mib.div_ceil(MIB_PER_PAGE);
        let taken = Self {
            lab: lab.to_owned(),
        };
        let turn = turn()?;
        let total = read("nr_hugepages")?;
        // Written first: whoever cleans up after a kill finds it.
        fs::write(lab.join(ADDED), pages.to_string())?;
        set(total + pages)?;
        let added = read("nr_hugepages")?.saturating_sub(total);
        fs::write(lab.join(ADDED), added.to_string())?;
        let free = read("free_hugepages")?;
        // Giving back takes its turn, too.
        drop(turn);
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
    let turn = turn();
    if let (Some(added @ 1..), Ok(total)) = (added, read("nr_hugepages")) {
        // Nobody is left to tell if the system does not take them back.
        let _ = set(total.saturating_sub(added));
    }
    drop(turn);
    let _ = fs::remove_file(note);
}

/// The right to change how many pages there are, until it is dropped: several labs may come and go at a time.
fn turn() -> io::Result<File> {
    let file = File::open(Path::new(DIRECTORY).join("nr_hugepages"))?;
    file.lock()?;
    Ok(file)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes and gives back as several labs do at a time; as root, where there are huge pages.
    #[test]
    fn labs_that_come_and_go_together_leave_as_many_pages_as_there_were() {
        // Whoever else changes the number, as end-to-end tests beside this one do, changes it by both taking and giving back.
        let directory = std::env::temp_dir().join(format!("afr-huge-pages-{}", std::process::id()));
        let labs: Vec<_> = (0..4).map(|lab| directory.join(lab.to_string())).collect();
        std::thread::scope(|scope| {
            for lab in &labs {
                fs::create_dir_all(lab).unwrap();
                scope.spawn(move || {
                    for _ in 0..50 {
                        // Whether there are any to be had depends on the machine.
                        if let Ok(taken) = HugePages::take(lab, MIB_PER_PAGE) {
                            let note = fs::read_to_string(lab.join(ADDED)).unwrap();
                            assert_eq!(note, "1");
                            drop(taken);
                        }
                        assert!(!lab.join(ADDED).exists());
                    }
                });
            }
        });
        fs::remove_dir_all(directory).unwrap();
    }
}
