//! `countersign cert export`: certificates for other programs.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal as _, Write};

use api::record::SearchRequest;

use crate::admin;
use crate::args::{ExportFormat, RecordExportArgs};
use crate::commands::inventory::Found;
use crate::failure::Failure;

/// `cert export`: page by page, so that nothing is held whole.
pub(crate) async fn export(args: RecordExportArgs) -> Result<(), Failure> {
    let mut client = admin::record(&args.admin).await?;
    let target = args.out.as_deref().map_or_else(
        || "standard output".into(),
        |path| path.display().to_string(),
    );
    let failed = |source| Failure::file("write", &target, source);
    let mut out: Box<dyn Write + Send> = match &args.out {
        Some(path) => Box::new(BufWriter::new(
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .map_err(|error| Failure::file("create", path, error))?,
        )),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let shows = io::stderr().is_terminal() && args.out.is_some();
    let mut request = SearchRequest {
        query: args.query,
        limit: PAGE,
        cursor: String::new(),
    };
    let mut count = 0_u64;
    begin(args.format, &mut out).map_err(failed)?;
    loop {
        let answer = client
            .search_certificates(request.clone())
            .await?
            .into_inner();
        for certificate in answer.certificates {
            let row = Found::from(certificate);
            write_row(args.format, &row, count == 0, &mut out).map_err(failed)?;
            count = count.saturating_add(1);
        }
        if shows {
            eprint!("\r{count} certificates");
        }
        if answer.next.is_empty() {
            break;
        }
        request.cursor = answer.next;
    }
    if args.format == ExportFormat::Json {
        out.write_all(b"\n]\n").map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    if args.out.is_some() {
        eprintln!(
            "{}{count} certificates in {target}",
            if shows { "\r" } else { "" }
        );
    }
    Ok(())
}

fn begin(format: ExportFormat, out: &mut impl Write) -> io::Result<()> {
    match format {
        ExportFormat::Csv => out.write_all(format!("{}\r\n", CSV_HEADS.join(",")).as_bytes()),
        ExportFormat::Json => out.write_all(b"["),
        ExportFormat::Ndjson => Ok(()),
    }
}

fn write_row(
    format: ExportFormat,
    row: &Found,
    is_first: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    match format {
        ExportFormat::Csv => {
            let fields: Vec<String> = row.csv().iter().map(|field| csv_field(field)).collect();
            write!(out, "{}\r\n", fields.join(","))
        }
        ExportFormat::Json => {
            out.write_all(if is_first { b"\n" } else { b",\n" })?;
            serde_json::to_writer(out, row).map_err(io::Error::from)
        }
        ExportFormat::Ndjson => {
            serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
            out.write_all(b"\n")
        }
    }
}

/// A field as RFC 4180 has it. Spreadsheets take what begins with one of `= + - @`, a tab or a carriage
/// return for a formula; an apostrophe in front makes text of it.
fn csv_field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) || formula {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// Certificates of one call.
const PAGE: u32 = 1000;
const CSV_HEADS: [&str; 22] = [
    "serial",
    "identity",
    "state",
    "reason",
    "not_before",
    "not_after",
    "issued_at",
    "key",
    "bits",
    "alg",
    "caller",
    "proof",
    "entry",
    "cluster",
    "namespace",
    "pod",
    "node",
    "address",
    "metadata",
    "sha256",
    "spki_sha256",
    "issuer_sha256",
];

#[cfg(test)]
mod tests {
    use api::record::InventoryCertificate;

    use super::*;

    #[test]
    fn a_spreadsheet_takes_no_field_for_a_formula() {
        for (text, field) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
        ] {
            assert_eq!(csv_field(text), field);
        }
    }

    #[test]
    fn an_export_has_one_column_a_head() {
        let found = Found::from(InventoryCertificate::default());
        assert_eq!(found.csv().len(), CSV_HEADS.len());
        let mut out = Vec::new();
        begin(ExportFormat::Json, &mut out).unwrap();
        write_row(ExportFormat::Json, &found, true, &mut out).unwrap();
        write_row(ExportFormat::Json, &found, false, &mut out).unwrap();
        out.extend_from_slice(b"\n]\n");
        let list: Vec<serde_json::Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!(list.len(), 2);
    }
}
