//! Frames into a file that every analyser reads (libpcap's classic format, microseconds, Ethernet).

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

pub(crate) struct PcapWriter(BufWriter<File>);

impl PcapWriter {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&0xA1B2_C3D4_u32.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0])?;
        out.write_all(&[0; 8])?;
        out.write_all(&65_535_u32.to_le_bytes())?;
        out.write_all(&1_u32.to_le_bytes())?;
        Ok(Self(out))
    }

    pub(crate) fn frame(&mut self, mono_us: u64, frame: &[u8]) -> Result<()> {
        let time = [mono_us / 1_000_000, mono_us % 1_000_000].map(|part| part as u32);
        let len = frame.len() as u32;
        for field in [time[0], time[1], len, len] {
            self.0.write_all(&field.to_le_bytes())?;
        }
        self.0.write_all(frame)
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.0.flush()
    }
}
