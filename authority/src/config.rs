//! The authority's configuration file: YAML, read whole or not at all.
//!
//! Every problem of a file is reported, each with its line and the path of its field: one is found,
//! its field is left out, and the section is read again. A field nobody knows is a problem, since
//! what was meant by it would not hold.

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use identity::TrustDomain;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use self::seconds::{Seconds, SecondsError};
use crate::ca::{CaSettings, KeyAlgorithm};
use crate::config::document::{Document, Step};
use crate::config::pruned::Pruned;
use crate::limits::Limits;
use crate::metrics::MetricsSettings;
use crate::proof::ProofsConfig;
use crate::rules_file::IssuanceSettings;
use crate::serve::access::AdminSettings;
use crate::settings::{RecordSettings, Settings};

mod document;
mod pruned;
mod seconds;

/// Largest file read, in bytes.
pub const MAX_CONFIG_BYTES: usize = 1024 * 1024;

/// A configuration file that can be used. What it leaves out stays as it is in [`Settings`].
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `trustDomain`.
    pub trust_domain: Option<TrustDomain>,
    /// `dataDir`.
    pub data_dir: Option<PathBuf>,
    /// `listen`.
    pub listen: Option<SocketAddr>,
    /// `defaultTtl`.
    pub default_ttl: Option<Seconds>,
    /// `maxTtl`.
    pub max_ttl: Option<Seconds>,
    /// `keyAlgorithm`.
    pub key_algorithm: Option<KeyAlgorithm>,
    /// `proofs`.
    pub proofs: ProofsConfig,
    /// `ca`.
    pub ca: CaSettings,
    /// `issuance`.
    pub issuance: IssuanceSettings,
    /// `record`.
    pub record: RecordSettings,
    /// `limits`.
    pub limits: Limits,
    /// `metrics`.
    pub metrics: MetricsSettings,
    /// `admin`.
    pub admin: AdminSettings,
}

/// A problem of a configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Line and column, from 1, as far as known.
    pub at: Option<(u64, u64)>,
    /// Path of the field, such as `proofs.oidc[0].issuer`; empty for the whole file.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

/// Why a configuration file cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {problem}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// It has problems, at least one.
    #[error("{}", lines(file, problems))]
    Problems {
        /// The file.
        file: PathBuf,
        /// All of them, in the order of the file.
        problems: Vec<Problem>,
    },
}

fn lines(file: &Path, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}{problem}", file.display()))
        .collect();
    lines.join("\n")
}

impl fmt::Display for Problem {
    /// As compilers do, to stand behind the file's name: `:12:5: proofs.oidc[0].issuer: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.problem)
    }
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`] with all of its problems.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |problem: String| ConfigError::Read {
            file: path.to_owned(),
            problem,
        };
        let mut text = String::new();
        let limit = u64::try_from(MAX_CONFIG_BYTES).unwrap_or(u64::MAX);
        std::fs::File::open(path)
            .and_then(|file| file.take(limit + 1).read_to_string(&mut text))
            .map_err(|error| unreadable(error.to_string()))?;
        if text.len() > MAX_CONFIG_BYTES {
            return Err(unreadable(format!("more than {MAX_CONFIG_BYTES} bytes")));
        }
        Self::parse(&text, path)
    }

    /// Parses `text`, which stands in `file`.
    ///
    /// # Errors
    /// [`ConfigError::Problems`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let problems = |problems| ConfigError::Problems {
            file: file.to_owned(),
            problems,
        };
        let document = Document::parse(text).map_err(|problem| problems(vec![problem]))?;
        let mut reader = Reader {
            document,
            problems: Vec::new(),
        };
        let config = reader.config();
        if reader.problems.is_empty() {
            return Ok(config);
        }
        reader.problems.sort_by_key(|problem| problem.at);
        Err(problems(reader.problems))
    }

    /// Puts what the file says into `settings`, but for the trust domain and the data folder, which
    /// settings are made from.
    pub fn apply(self, settings: &mut Settings) {
        let Self {
            listen,
            default_ttl,
            max_ttl,
            key_algorithm,
            proofs,
            ca,
            issuance,
            record,
            limits,
            metrics,
            admin,
            trust_domain: _,
            data_dir: _,
        } = self;
        if let Some(listen) = listen {
            settings.listen = listen;
        }
        if let Some(ttl) = default_ttl {
            settings.default_ttl_seconds = ttl.get();
        }
        if let Some(ttl) = max_ttl {
            settings.max_ttl_seconds = ttl.get();
        }
        if let Some(algorithm) = key_algorithm {
            settings.key_algorithm = algorithm;
        }
        settings.proofs = proofs;
        settings.ca = ca;
        settings.issuance = issuance;
        settings.record = record;
        settings.limits = limits;
        settings.metrics = metrics;
        settings.admin = admin;
    }
}

/// A document and what was found to be wrong with it.
#[derive(Debug)]
pub(crate) struct Reader {
    document: Document,
    problems: Vec<Problem>,
}

/// The fields at the top that are no sections.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Top {
    trust_domain: Option<TrustDomainName>,
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    default_ttl: Option<Seconds>,
    max_ttl: Option<Seconds>,
    key_algorithm: Option<KeyAlgorithmName>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct TrustDomainName(TrustDomain);

impl TryFrom<String> for TrustDomainName {
    type Error = identity::SpiffeIdError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        TrustDomain::new(&name).map(Self)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum KeyAlgorithmName {
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    #[serde(rename = "rsa2048")]
    Rsa2048,
}

/// Sections, each read by its own type. What is not among them is a field of [`Top`].
const SECTIONS: [&str; 7] = [
    "proofs", "ca", "issuance", "record", "limits", "metrics", "admin",
];

impl Reader {
    fn config(&mut self) -> Config {
        let top: Top = self.without(&SECTIONS).unwrap_or_default();
        let config = Config {
            trust_domain: top.trust_domain.map(|name| name.0),
            data_dir: top.data_dir,
            listen: top.listen,
            default_ttl: top.default_ttl,
            max_ttl: top.max_ttl,
            key_algorithm: top.key_algorithm.map(|name| match name {
                KeyAlgorithmName::EcdsaP256 => KeyAlgorithm::EcdsaP256,
                KeyAlgorithmName::Rsa2048 => KeyAlgorithm::Rsa2048,
            }),
            proofs: self.section("proofs").unwrap_or_default(),
            ca: self.section("ca").unwrap_or_default(),
            issuance: self.section("issuance").unwrap_or_default(),
            record: self.section("record").unwrap_or_default(),
            limits: self.section("limits").unwrap_or_default(),
            metrics: self.section("metrics").unwrap_or_default(),
            admin: self.section("admin").unwrap_or_default(),
        };
        for (field, problem) in config.proofs.problems(config.trust_domain.as_ref()) {
            self.problem(&field, problem);
        }
        config
    }

    /// The section `name`; `None` where it is missing or cannot be read.
    pub(crate) fn section<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let value = self.document.value().get(name)?.clone();
        // An empty section is one with nothing but defaults.
        if value.is_null() {
            return None;
        }
        self.read(vec![Step::Key(name.to_owned())], value)
    }

    /// The document without the fields `left_out`.
    fn without<T: DeserializeOwned>(&mut self, left_out: &[&str]) -> Option<T> {
        let mut value = self.document.value().clone();
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| !left_out.contains(&key.as_str()));
        }
        self.read(Vec::new(), value)
    }

    /// Notes a problem of the field at `path`, such as `proofs.oidc[0].issuer`.
    pub(crate) fn problem(&mut self, path: &str, problem: String) {
        let at = self.document.position(&document::steps(path));
        self.problems.push(Problem {
            at,
            field: path.to_owned(),
            problem,
        });
    }

    /// Reads `value`, which stands below `base`. A field with a problem is left out and the rest
    /// read again, until there is no new one.
    fn read<T: DeserializeOwned>(
        &mut self,
        base: Vec<Step>,
        value: serde_json::Value,
    ) -> Option<T> {
        let found_before = self.problems.len();
        let mut value = Pruned::new(value);
        for _ in 0..MAX_PROBLEMS {
            let error = match serde_path_to_error::deserialize::<_, T>(value.left().clone()) {
                Ok(read) if self.problems.len() == found_before => return Some(read),
                Ok(_) => return None,
                Err(error) => error,
            };
            let problem = error.inner().to_string();
            let mut steps = document::steps_of(error.path());
            if let Some(field) = unknown_field(&problem)
                && steps.last() != Some(&Step::Key(field.to_owned()))
            {
                steps.push(Step::Key(field.to_owned()));
            }
            let whole: Vec<Step> = base.iter().cloned().chain(value.original(&steps)).collect();
            // Missing for the only reason that it was left out a moment ago.
            let is_consequence = missing_field(&problem).is_some_and(|field| {
                let missing = document::text(&whole, Some(field));
                self.problems.iter().any(|known| known.field == missing)
            });
            if !is_consequence {
                self.problems.push(Problem {
                    at: self.document.position(&whole),
                    field: document::text(&whole, None),
                    problem,
                });
            }
            let goes_on = (!is_consequence && value.remove(&steps)) || value.remove_item(&steps);
            if !goes_on {
                return None;
            }
        }
        None
    }
}

fn unknown_field(problem: &str) -> Option<&str> {
    let rest = problem.strip_prefix("unknown field `")?;
    rest.split_once('`').map(|(field, _)| field)
}

fn missing_field(problem: &str) -> Option<&str> {
    let rest = problem.strip_prefix("missing field `")?;
    rest.split_once('`').map(|(field, _)| field)
}

/// Problems reported of one section; nobody reads more at a time.
const MAX_PROBLEMS: usize = 64;

#[cfg(test)]
mod tests;
