//! What the disk takes for a durable write.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const WRITES: usize = 300;

/// How long each of a few hundred appends took, with fdatasync, as a database's log is written.
pub(super) fn durable_writes(dir: &Path) -> io::Result<Vec<Duration>> {
    let mut file = File::create(dir.join("durable"))?;
    let block = [7; 4096];
    let mut durations = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        durations.push(begun.elapsed());
    }
    Ok(durations)
}
