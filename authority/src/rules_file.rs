//! The file of issuance rules: read at the start, and again whenever its content changes.
//!
//! The content's hash is compared, not the file's time: a Kubernetes volume swaps a link, and a write
//! may leave the time as it was. A new content that does not compile changes nothing but a counter and
//! the log; the rules in force stay.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::crypto::sha256_hex;
use crate::issuance::{MAX_FILE_BYTES, Problem};
use crate::issue::{LiveRules, LoadedRules};

/// Section `issuance` of the configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IssuanceSettings {
    /// The file of rules; none for the built-in rules.
    pub policy_file: Option<PathBuf>,
    /// How often the file is looked at, in seconds; at least 1.
    pub poll_seconds: u64,
}

impl Default for IssuanceSettings {
    fn default() -> Self {
        Self {
            policy_file: None,
            poll_seconds: 2,
        }
    }
}

/// Why a file of rules cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesFileError {
    /// It cannot be read.
    #[error("cannot read the issuance rules in {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is too long.
    #[error("the issuance rules in {} are longer than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no text.
    #[error("the issuance rules in {} are not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// It does not compile.
    #[error("the issuance rules do not compile: {}", listed(problems))]
    Invalid {
        /// All that is wrong with it.
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    all.join("; ")
}

/// Reads and compiles the rules of `settings`.
///
/// # Errors
/// [`RulesFileError`].
pub(crate) fn open(settings: &IssuanceSettings) -> Result<LiveRules, RulesFileError> {
    let rules = match &settings.policy_file {
        None => LoadedRules::builtin(),
        Some(path) => compile(path, read(path)?)?,
    };
    tracing::info!(
        source = rules.source,
        sha256 = rules.sha256,
        rules = rules.policy.rules().len(),
        "issuance rules are in force"
    );
    Ok(LiveRules::new(rules))
}

fn read(path: &Path) -> Result<String, RulesFileError> {
    let io = |source| RulesFileError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(io)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(RulesFileError::TooLarge {
            path: path.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|_binary| RulesFileError::NotUtf8 {
        path: path.to_owned(),
    })
}

fn compile(path: &Path, text: String) -> Result<LoadedRules, RulesFileError> {
    LoadedRules::compile(&path.display().to_string(), text)
        .map_err(|problems| RulesFileError::Invalid { problems })
}

/// Looks after the file of rules.
#[derive(Debug)]
pub(crate) struct RulesWatch {
    path: PathBuf,
    live: LiveRules,
    /// What was found last, good or bad, so that each content is reported once.
    last: Option<String>,
}

/// What a look at the file came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Look {
    /// It is what it was.
    Same,
    /// Other rules are in force.
    Replaced,
    /// It cannot be used; the rules in force stay.
    Refused,
}

impl RulesWatch {
    /// Watches the file that `live` was read from.
    pub(crate) fn new(path: PathBuf, live: LiveRules) -> Self {
        let last = Some(live.current().sha256.clone());
        Self { path, live, last }
    }

    /// Looks at the file once.
    pub(crate) fn look(&mut self) -> Look {
        let read = read(&self.path);
        // A file that cannot be read has no content to tell one failure from the next by.
        let found = read.as_ref().ok().map(|text| sha256_hex(text.as_bytes()));
        if found == self.last {
            return Look::Same;
        }
        self.last.clone_from(&found);
        let before = self.live.current().sha256.clone();
        match read.and_then(|text| compile(&self.path, text)) {
            // Back to what is in force, after something that was refused.
            Ok(rules) if rules.sha256 == before => {
                tracing::info!(sha256 = before, "the issuance rules are as they were again");
                Look::Same
            }
            Ok(rules) => {
                tracing::info!(
                    before,
                    after = rules.sha256,
                    rules = rules.policy.rules().len(),
                    "other issuance rules are in force"
                );
                self.live.replace(rules);
                Look::Replaced
            }
            Err(error) => {
                self.live.count_refused();
                tracing::error!(
                    error = identity::chain(&error),
                    in_force = before,
                    found = found.unwrap_or_default(),
                    "new issuance rules are refused; those in force stay"
                );
                Look::Refused
            }
        }
    }

    /// Looks at the file for ever.
    pub(crate) async fn run(mut self, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            // The file may be on a disk that is slow, or gone.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(watch) => self = watch,
                // Nothing panics there; without a watch the authority would not notice new rules.
                Err(_panicked) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const GOOD: &str = "schemaVersion: 1\nrules:\n- {id: a, effect: deny, when: {proof: [oidc]}}\n";

    #[test]
    fn a_new_file_is_taken_and_a_bad_one_is_not() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("rules.yaml");
        fs::write(&path, GOOD).unwrap();
        let settings = IssuanceSettings {
            policy_file: Some(path.clone()),
            ..IssuanceSettings::default()
        };
        let live = open(&settings).unwrap();
        let mut watch = RulesWatch::new(path.clone(), live.clone());
        assert_eq!(watch.look(), Look::Same);

        fs::write(&path, GOOD.replace("id: a", "id: b")).unwrap();
        assert_eq!(watch.look(), Look::Replaced);
        let in_force = live.current();
        assert_eq!(in_force.policy.rules()[0].id(), "b");

        for bad in ["rules: [", "schemaVersion: 1\nrules: [{id: c}]\n", "\u{1}"] {
            fs::write(&path, bad).unwrap();
            assert_eq!(watch.look(), Look::Refused, "{bad}");
            assert_eq!(watch.look(), Look::Same, "each is reported once");
            assert_eq!(live.current(), in_force);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(watch.look(), Look::Refused);
        assert_eq!(watch.look(), Look::Same);
        fs::write(&path, "x".repeat(MAX_FILE_BYTES + 1)).unwrap();
        assert_eq!(
            watch.look(),
            Look::Same,
            "no content that can be told from none"
        );
        assert_eq!((live.reloads(), live.refused()), (1, 4));

        fs::write(&path, GOOD).unwrap();
        assert_eq!(watch.look(), Look::Replaced);
        assert_eq!(live.current().policy.rules()[0].id(), "a");
    }

    #[test]
    fn a_link_that_is_swapped_is_noticed() {
        let dir = TempDir::new().unwrap();
        let [one, two, link] = ["one", "two", "rules.yaml"].map(|name| dir.path().join(name));
        fs::write(&one, GOOD).unwrap();
        fs::write(&two, GOOD.replace("id: a", "id: b")).unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let live = LiveRules::new(compile(&link, read(&link).unwrap()).unwrap());
        let mut watch = RulesWatch::new(link.clone(), live.clone());
        let fresh = dir.path().join("..data_tmp");
        std::os::unix::fs::symlink(&two, &fresh).unwrap();
        fs::rename(&fresh, &link).unwrap();
        assert_eq!(watch.look(), Look::Replaced);
        assert_eq!(live.current().policy.rules()[0].id(), "b");
    }

    #[test]
    fn a_bad_file_at_the_start_is_an_error_with_its_places() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("rules.yaml");
        let settings = IssuanceSettings {
            policy_file: Some(path.clone()),
            ..IssuanceSettings::default()
        };
        assert!(matches!(open(&settings), Err(RulesFileError::Io { .. })));
        fs::write(&path, "schemaVersion: 3\nrules: []\n").unwrap();
        let refused = open(&settings).unwrap_err().to_string();
        assert!(
            refused.contains("rules.yaml:1:16: schemaVersion"),
            "{refused}"
        );
    }
}
