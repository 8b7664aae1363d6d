//! Arguments of the commands on the audit log, and of searching the record.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{AdminArgs, OutputArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check a whole record: every hash, every signed head, every row against the log
    ///
    /// Needs no running authority, and does not disturb one. Exit code 1 if anything is wrong.
    #[command(after_help = "\
Examples:
  countersign audit verify
  countersign audit verify --log-key /mnt/pinned/audit.pub --file backup-2026-11-21")]
    Verify(VerifyArgs),
    /// The last signed tree head of a running authority, and the key that verifies it
    #[command(after_help = "Example:\n  countersign audit head > head.txt")]
    Head {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// What the log tells, the newest first
    #[command(after_help = "Example:\n  countersign audit log --limit 20")]
    Log {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// Only before this position
        #[arg(long, default_value_t = 0, value_name = "POSITION")]
        before: u64,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Prove that a certificate is in the log (RFC 6962 §2.1.1); the proof is checked before it is printed
    #[command(after_help = "Example:\n  countersign audit prove 4f2a… -o json > proof.json")]
    Prove {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// Serial number (hexadecimal)
        serial: String,
        /// The log's public key, from where the authority cannot change it [default: as the authority says]
        #[arg(long, value_name = "FILE")]
        log_key: Option<PathBuf>,
    },
    /// Prove that the log was only appended to between two sizes (RFC 6962 §2.1.2)
    ///
    /// With `--root`, the root of an earlier signed head that was kept, the log is held against it.
    #[command(after_help = "\
Examples:
  countersign audit consistency 1024 4096
  countersign audit consistency 1024 0 --root 5f0c…    against a head kept elsewhere; 0: all there is")]
    Consistency {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// Size of the earlier log
        old: u64,
        /// Size of the later log; 0 for all there is
        #[arg(default_value_t = 0)]
        new: u64,
        /// Root of the earlier log as it was known then (hexadecimal)
        #[arg(long, value_name = "HEX")]
        root: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Keys, certificates and the database
    #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// A backup, or another copy of the database, instead of the data folder's
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The log's public key, from where the authority cannot change it [default: audit.pub in the data folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) log_key: Option<PathBuf>,
    /// File that tells how far the record had come [default: position.json in the data folder; none for --file]
    #[arg(long, value_name = "FILE")]
    pub(crate) position: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What to search for.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// The query; without one everything
    #[arg(default_value = "")]
    pub(crate) query: String,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: u32,
    /// Search refused requests, not certificates
    #[arg(long)]
    pub(crate) refusals: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecordExportArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The query; without one everything
    #[arg(default_value = "")]
    pub(crate) query: String,
    /// Form of the export
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub(crate) format: ExportFormat,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// RFC 4180, with a line of heads; what a spreadsheet would take for a formula begins with '
    Csv,
    /// One JSON list
    Json,
    /// One JSON object a line
    Ndjson,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The record and what belongs to it, as they are at one moment, in one file; an authority may be running.
Private keys are left out: back them up once, elsewhere. With --with-keys the file is a secret.

Example:
  countersign authority backup backup-2026-11-21")]
pub(crate) struct BackupArgs {
    /// The new file
    pub(crate) file: PathBuf,
    /// Keys, certificates and the database
    #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Also the private keys of the CA, the deny list and the audit log
    #[arg(long)]
    pub(crate) with_keys: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The backup is checked whole before anything is replaced, and what was there is kept in a folder beside it.
No authority may be running on the data folder.

Examples:
  countersign authority restore backup-2026-11-21          what would be done
  countersign authority restore backup-2026-11-21 --yes")]
pub(crate) struct RestoreArgs {
    /// The backup
    pub(crate) file: PathBuf,
    /// Keys, certificates and the database
    #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// File that tells how far the record had come [default: position.json in the data folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) position: Option<PathBuf>,
    /// Take a backup from before revocations that it does not know; these certificates are accepted again
    #[arg(long)]
    pub(crate) accept_lost_revocations: bool,
    /// Do it: without this, only what would be done is shown
    #[arg(long)]
    pub(crate) yes: bool,
}
