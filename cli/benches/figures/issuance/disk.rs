//! What the disk takes for a durable write.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const WRITES: usize = 300;
const BLOCK: [u8; 4096] = [7; 4096];

/// How long each of a few hundred writes of 4 KiB took, fdatasync included. The blocks exist before, as those
/// of a write-ahead log that is used again do; making a file longer costs more.
pub(super) fn durable_writes(dir: &Path) -> io::Result<Vec<Duration>> {
    let mut file = File::create(dir.join("durable"))?;
    for _ in 0..WRITES {
        file.write_all(&BLOCK)?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut durations = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        durations.push(begun.elapsed());
    }
    Ok(durations)
}
