//! `envoy --mode validate`: loads a bootstrap as a start would, and ends.

use std::path::Path;

use super::Binary;

/// Envoy refuses the bootstrap.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateError {
    /// It did not run.
    #[error("Envoy cannot be run")]
    Run(#[source] std::io::Error),
    /// It ran and said no.
    #[error("Envoy {release} refuses {path}:\n{output}")]
    Refused {
        /// Envoy's release.
        release: String,
        /// The bootstrap.
        path: String,
        /// What Envoy wrote.
        output: String,
    },
}

/// Loads the bootstrap file into a real Envoy that does not serve. Files it names have to be there.
///
/// # Errors
/// [`ValidateError`].
pub async fn validate(binary: &Binary, config: &Path) -> Result<(), ValidateError> {
    let output = tokio::process::Command::new(binary.path())
        .args([
            "--mode",
            "validate",
            "--log-level",
            "warning",
            "--config-path",
        ])
        .arg(config)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(ValidateError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    Err(ValidateError::Refused {
        release: binary.release().to_owned(),
        path: config.display().to_string(),
        output: text,
    })
}
