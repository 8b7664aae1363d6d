//! One module a command; each turns arguments into one call and prints the answer.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod backup;
pub(crate) mod ca;
pub(crate) mod cert;
pub(crate) mod cert_files;
pub(crate) mod doctor;
pub(crate) mod entry;
pub(crate) mod envoy;
pub(crate) mod export;
pub(crate) mod inventory;
pub(crate) mod issuance;
pub(crate) mod policy;
pub(crate) mod token;

use std::time::{SystemTime, UNIX_EPOCH};

/// The system's clock, in seconds since the Unix epoch (0 for a clock set before it).
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

/// Ends when the process is asked to: SIGINT (Ctrl-C) or SIGTERM.
pub(crate) async fn stopped() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(error) => {
                tracing::warn!("SIGTERM cannot be waited for: {error}");
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => {
            if let Err(error) = outcome {
                tracing::warn!("Ctrl-C cannot be waited for: {error}");
            }
        }
        _ = terminated => {}
    }
}
