//! What benches measure with and report: CPU time and memory of a process, quantiles, and figures as a
//! table to read and a file to compare.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub case: String,
    /// Which quantity of it.
    pub metric: &'static str,
    /// Its value.
    pub value: f64,
    /// The value's unit.
    pub unit: &'static str,
}

/// The figures of one bench. Displays as a table: a row for each case, a column for each metric, both in
/// the order they were first added.
#[derive(Clone, Debug)]
pub struct Report {
    name: &'static str,
    figures: Vec<Figure>,
}

impl Report {
    /// An empty report; `name` names its file.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            figures: Vec::new(),
        }
    }

    /// Adds a figure.
    pub fn add(&mut self, case: &str, metric: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            case: case.to_owned(),
            metric,
            value,
            unit,
        });
    }

    /// All figures, in the order they were added.
    #[must_use]
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// Writes `NAME.json` into `folder`, a list of `{case, metric, value, unit}`, and returns its path.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let json = serde_json::to_string_pretty(&self.figures)?;
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.json", self.name));
        fs::write(&path, format!("{json}\n"))?;
        Ok(path)
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let (mut cases, mut columns) = (Vec::new(), Vec::new());
        for figure in &self.figures {
            if !cases.contains(&figure.case.as_str()) {
                cases.push(figure.case.as_str());
            }
            if !columns.contains(&(figure.metric, figure.unit)) {
                columns.push((figure.metric, figure.unit));
            }
        }
        let heading = columns.iter().map(|(metric, unit)| match *unit {
            "" => (*metric).to_owned(),
            unit => format!("{metric} ({unit})"),
        });
        let mut rows = vec![
            std::iter::once(self.name.to_owned())
                .chain(heading)
                .collect::<Vec<_>>(),
        ];
        for case in cases {
            let cell = |(metric, unit): &(&str, &str)| {
                let wanted = |figure: &&Figure| {
                    figure.case == case && figure.metric == *metric && figure.unit == *unit
                };
                let figure = self.figures.iter().find(wanted);
                figure.map_or_else(|| "-".to_owned(), |figure| readable(figure.value))
            };
            let cells = columns.iter().map(cell);
            rows.push(std::iter::once(case.to_owned()).chain(cells).collect());
        }
        rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let columns = rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widths = cells.map(|cell| cell.chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &rows {
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if index == 0 {
                    write!(f, "{cell:<width$}")?;
                } else {
                    write!(f, "  {cell:>width$}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Three or four digits that matter.
fn readable(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The middle value, or the mean of the two in the middle; `None` of none.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The smallest of `values` that at least `per_mille` thousandths of them do not exceed (nearest rank);
/// `None` of none.
#[must_use]
pub fn quantile(values: &[Duration], per_mille: usize) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = sorted
        .len()
        .saturating_mul(per_mille.min(1000))
        .div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The system does not say how much of itself a process has used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// A file that cannot be read; the process may be gone, or the kernel built without it.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that does not hold what proc(5) says.
    #[error("{} holds {found:?}, expected {expected}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
        /// What should be.
        expected: &'static str,
    },
}

/// CPU time that the threads of a process have used so far, in user and kernel mode together.
///
/// From `/proc/PID/task/*/schedstat`, which counts nanoseconds; `/proc/PID/stat` counts hundredths of a
/// second, too coarse for a round of requests. Time of threads that have ended is lost, so this is for
/// processes whose threads stay.
///
/// # Errors
/// [`UsageError`].
pub fn cpu_time(pid: u32) -> Result<Duration, UsageError> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let failed = |source| UsageError::Read {
        path: tasks.clone(),
        source,
    };
    let mut total = Duration::ZERO;
    for task in fs::read_dir(&tasks).map_err(failed)? {
        let path = task.map_err(failed)?.path().join("schedstat");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // A thread that ended since the folder was listed: before its file was opened, or after.
            Err(source)
                if source.kind() == io::ErrorKind::NotFound
                    || source.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
            {
                continue;
            }
            Err(source) => return Err(UsageError::Read { path, source }),
        };
        let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
        let expected = "nanoseconds, then two more numbers";
        let nanos = nanos.ok_or(UsageError::Format {
            path,
            found: text,
            expected,
        })?;
        total = total.saturating_add(Duration::from_nanos(nanos));
    }
    Ok(total)
}

/// Memory of a process that is in RAM (`VmRSS`), in KiB.
///
/// # Errors
/// [`UsageError`].
pub fn resident_kib(pid: u32) -> Result<u32, UsageError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(UsageError::Read { path, source }),
    };
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.ok_or(UsageError::Format {
        path,
        found: text,
        expected: "a line VmRSS: N kB",
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Report, cpu_time, median, quantile, resident_kib};

    #[test]
    fn median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn quantile_is_the_nearest_rank() {
        let values: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let of = |per_mille| quantile(&values, per_mille).map(|found| found.as_millis());
        assert_eq!(of(0), Some(1));
        assert_eq!(of(500), Some(100));
        assert_eq!(of(990), Some(198));
        assert_eq!(of(1000), Some(200));
        assert_eq!(quantile(&[], 500), None);
    }

    #[test]
    fn report_is_a_table_and_a_list() {
        let mut report = Report::new("sample");
        report.add("one", "cpu", 12.345, "µs");
        report.add("one", "ratio", 1.0, "");
        report.add("the second", "cpu", 456.7, "µs");
        let table = report.to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "sample      cpu (µs)  ratio");
        assert_eq!(lines[1], "one             12.3   1.00");
        assert_eq!(lines[2], "the second       457      -");

        let folder = tempfile::tempdir().unwrap();
        let path = report.write(&folder.path().join("deep")).unwrap();
        assert!(path.ends_with("deep/sample.json"));
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 3);
        assert_eq!(
            json[0],
            serde_json::json!({"case": "one", "metric": "cpu", "value": 12.345, "unit": "µs"})
        );
    }

    #[test]
    fn cpu_time_grows_with_work() {
        // A process of its own: the threads of this one come and go with other tests.
        let mut busy = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let before = cpu_time(busy.id()).unwrap();
        while cpu_time(busy.id()).unwrap() <= before {
            assert!(begun.elapsed() < Duration::from_secs(20), "no time passes");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(resident_kib(busy.id()).unwrap() > 100);
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(cpu_time(u32::MAX).is_err());
    }

    #[test]
    fn a_thread_that_ends_while_it_is_counted_is_no_error() {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::spawn(|| {}).join().unwrap();
                }
            });
            for _ in 0..2000 {
                cpu_time(std::process::id()).unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
