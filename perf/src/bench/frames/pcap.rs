//! Capture files, as `net_pcap` reads and writes them (<https://www.tcpdump.org/manpages/pcap-savefile.5.html>).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail};

use super::Frames;

const MAGIC: u32 = 0xA1B2_C3D4;
/// The same with dates in nanoseconds.
const MAGIC_NANO: u32 = 0xA1B2_3C4D;
const HEADER_LEN: usize = 24;
const RECORD_LEN: usize = 16;

/// Writes frames to files in turn: the n-th to file n modulo their number.
///
/// # Errors
///
/// Those of the file system.
pub fn write_pcap(frames: &Frames, paths: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let file = File::create(path)
            .with_context(|| format!("cannot write the frames to {}", path.display()))?;
        let mut file = BufWriter::new(file);
        header(&mut file)?;
        files.push(file);
    }
    let mut n = 0;
    let count = files.len().max(1);
    frames.for_each(|frame| {
        if let Some(file) = files.get_mut(n % count) {
            record(file, frame)?;
        }
        n += 1;
        Ok(())
    })?;
    for mut file in files {
        file.flush()?;
    }
    Ok(())
}

/// Writes the given frames to a file.
pub(crate) fn write_sample(frames: &[Vec<u8>], path: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    header(&mut file)?;
    for frame in frames {
        record(&mut file, frame)?;
    }
    file.flush()?;
    Ok(())
}

/// The frames of a file.
///
/// # Errors
///
/// It is no capture file of this machine's byte order, or ends in the middle of a record.
pub fn read_pcap(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let bytes =
        fs::read(path).with_context(|| format!("cannot read the capture {}", path.display()))?;
    parse(&bytes).with_context(|| format!("capture {}", path.display()))
}

fn parse(bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let field = |at: usize| -> Option<u32> {
        let field = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(field.try_into().ok()?))
    };
    match field(0) {
        Some(MAGIC | MAGIC_NANO) => {}
        other => bail!("it begins with {other:x?}: no capture file"),
    }
    let mut frames = Vec::new();
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let frame = field(at + 8)
            .and_then(|len| bytes.get(at + RECORD_LEN..at + RECORD_LEN + len as usize));
        let Some(frame) = frame else {
            bail!("it ends within record {}", frames.len());
        };
        frames.push(frame.to_vec());
        at += RECORD_LEN + frame.len();
    }
    Ok(frames)
}

fn header(out: &mut impl Write) -> io::Result<()> {
    // Magic, version 2.4, zone, accuracy, longest packet, Ethernet.
    for field in [MAGIC, 0x0004_0002, 0, 0, 65_535, 1] {
        out.write_all(&field.to_le_bytes())?;
    }
    Ok(())
}

fn record(out: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let len = frame.len() as u32;
    for field in [0, 0, len, len] {
        out.write_all(&field.to_le_bytes())?;
    }
    out.write_all(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_shared_out_by_turns() {
        let place = std::env::temp_dir().join(format!("pcap-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let frames = Frames {
            flows: 5,
            ..Frames::default()
        };
        let whole = place.join("whole");
        write_pcap(&frames, &[&whole]).unwrap();
        let whole = read_pcap(&whole).unwrap();
        assert_eq!(whole.len(), 5);
        let halves = [place.join("a"), place.join("b")];
        write_pcap(&frames, &halves).unwrap();
        let [even, odd] = halves.map(|half| read_pcap(&half).unwrap());
        assert_eq!(even, [&*whole[0], &*whole[2], &*whole[4]]);
        assert_eq!(odd, [&*whole[1], &*whole[3]]);
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let mut bytes = Vec::new();
        header(&mut bytes).unwrap();
        record(&mut bytes, &[1, 2, 3]).unwrap();
        assert_eq!(parse(&bytes).unwrap(), [[1, 2, 3]]);
        assert!(parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(parse(b"not a capture").is_err());
    }
}
