//! Tables for people, JSON and YAML for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// How a result is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// Columns, for reading
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// A row of a list: what its table shows, beside its serde form.
pub(crate) trait Row: Serialize {
    /// Column heads.
    const HEADS: &'static [&'static str];

    /// One cell a head, in their order.
    fn cells(&self) -> Vec<String>;
}

/// Prints a list.
pub(crate) fn list<R: Row>(format: Format, rows: &[R]) -> Result<(), Failure> {
    match format {
        Format::Table => line(&table(R::HEADS, rows.iter().map(Row::cells))),
        Format::Json | Format::Yaml => document(format, &rows),
    }
}

/// Prints one object: field by field as a table, or as a document.
pub(crate) fn object<T: Serialize>(
    format: Format,
    value: &T,
    fields: Vec<(&str, String)>,
) -> Result<(), Failure> {
    match format {
        Format::Table => {
            let cells = fields
                .into_iter()
                .map(|(name, value)| vec![name.to_owned(), value]);
            line(&table(&["field", "value"], cells))
        }
        Format::Json | Format::Yaml => document(format, value),
    }
}

/// A table without lines, as wide as its content or the terminal.
pub(crate) fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().map(|head| head.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Prints one line; a reader that went away is not a failure.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

fn document<T: Serialize>(format: Format, value: &T) -> Result<(), Failure> {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| error.to_string()),
        Format::Json | Format::Table => {
            serde_json::to_string_pretty(value).map_err(|error| error.to_string())
        }
    };
    line(text.map_err(Failure::Serialize)?.trim_end())
}

/// Seconds since the Unix epoch as RFC 3339 text; the number itself where there is none.
pub(crate) fn time(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| seconds.to_string())
}

/// `1h 4m` for 3,850 seconds: the two largest units, for people.
pub(crate) fn duration(seconds: i64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut rest = seconds.unsigned_abs();
    let mut parts = Vec::new();
    for (unit, size) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count}{unit}"));
        }
    }
    let text = if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    };
    if seconds < 0 {
        format!("-{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_the_two_largest_units() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(59), "59s");
        assert_eq!(duration(3_850), "1h 4m");
        assert_eq!(duration(-61), "-1m 1s");
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let text = table(
            &["a", "b"],
            [vec!["1".to_owned(), "2".to_owned()]].into_iter(),
        );
        assert!(text.lines().all(|line| line == line.trim_end()), "{text:?}");
        assert!(text.contains('A') && text.contains('2'));
    }
}
