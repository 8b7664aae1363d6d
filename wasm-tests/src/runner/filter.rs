//! Cases through the built filter, in a VM as Envoy would have one.

mod attributes;

use std::collections::BTreeMap;
use std::path::Path;

use identity::UnixTime;
use policy::config::{AllowedLog, PluginConfig, TrustEntry};
use policy::corpus::{Case, Verdict};
use policy::{Protocol, json};
use serde_json::{Value, json};

use super::expect::Found;
use super::read::{TestCase, TestFile};
use super::report::FileReport;
use crate::artefact::{Artefact, ArtefactError};
use crate::host::{Headers, HostError, Outcome, Plugin, Properties, World};

/// The built filter.
#[derive(Debug)]
pub struct Filter {
    artefact: Artefact,
}

/// Why cases cannot be run through the filter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// There is no filter, or it is none.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// The filter does not run.
    #[error("{file}: {source}")]
    Host {
        /// The test file.
        file: String,
        /// What the host said.
        source: HostError,
    },
    /// The filter refuses the file's policies, which the engine takes.
    #[error("{file}: the filter refuses the configuration: {log}")]
    Refused {
        /// The test file.
        file: String,
        /// What the filter logged.
        log: String,
    },
    /// The configuration cannot be written.
    #[error("{file}: the configuration cannot be written: {problem}")]
    NotWritten {
        /// The test file.
        file: String,
        /// Why.
        problem: String,
    },
    /// The filter's deed and its log differ, or it logged nothing.
    #[error("{file}: {case}: the filter did {did} and logged {logged}")]
    NoDecision {
        /// The test file.
        file: String,
        /// The case.
        case: String,
        /// What became of the request.
        did: String,
        /// What was logged.
        logged: String,
    },
}

impl Filter {
    /// Reads and compiles the filter at `path`.
    ///
    /// # Errors
    /// [`FilterError::Artefact`].
    pub fn load(path: &Path) -> Result<Self, FilterError> {
        Ok(Self {
            artefact: Artefact::read(path)?,
        })
    }

    /// A VM with the policies of a test file, at the file's time.
    ///
    /// # Errors
    /// The filter does not run, or refuses the file's policies ([`FilterError::Refused`]).
    pub fn configure(&self, test: &TestFile) -> Result<Plugin, FilterError> {
        let host = |source| FilterError::Host {
            file: test.name().to_owned(),
            source,
        };
        let world = World::at(seconds(test.time()));
        let mut plugin = Plugin::start_module(&world, &self.artefact.module).map_err(host)?;
        if plugin.configure(config(test)?).map_err(host)? {
            return Ok(plugin);
        }
        let log = plugin.log().iter().map(|line| line.text.as_str());
        Err(FilterError::Refused {
            file: test.name().to_owned(),
            log: log.collect::<Vec<_>>().join("; "),
        })
    }

    /// Runs the cases of a test file, and notes in its report what the filter says. Cases that are not for the filter
    /// are left out, as [`CaseReport::not_in_filter`](super::CaseReport::not_in_filter) says.
    ///
    /// # Errors
    /// The filter does not run, or refuses the file's policies.
    pub fn run(&self, test: &TestFile, report: &mut FileReport) -> Result<(), FilterError> {
        if report.cases.iter().all(|case| case.not_in_filter.is_some()) {
            return Ok(());
        }
        let mut plugin = self.configure(test)?;
        for ((case, connection), reported) in test.cases().zip(1..).zip(&mut report.cases) {
            if reported.not_in_filter.is_none() {
                reported.filter = Some(run(&mut plugin, test, case, connection)?);
            }
        }
        Ok(())
    }
}

/// A time before 1970 is none that a certificate is good at; the host's clock cannot show it.
fn seconds(time: UnixTime) -> u64 {
    u64::try_from(time.as_secs()).unwrap_or_default()
}

/// One request or connection, to its end.
fn run(
    plugin: &mut Plugin,
    test: &TestFile,
    (case, own): (&Case, &TestCase),
    connection: u64,
) -> Result<Found, FilterError> {
    let host = |source| FilterError::Host {
        file: test.name().to_owned(),
        source,
    };
    let at = own
        .certificate
        .as_ref()
        .map_or_else(|| test.time(), |shown| shown.at);
    plugin.world().clock.set(seconds(at));
    let attributes = attributes::of(case, own, connection);
    let before = plugin.decisions().count();
    let outcome = match test.file().scope.protocol {
        Protocol::Http => request(plugin, case, attributes),
        Protocol::Tcp => plugin.connect_and_send(attributes),
    };
    let outcome = outcome.map_err(host)?;
    let logged = (plugin.decisions().count() > before)
        .then(|| plugin.decisions().next())
        .flatten()
        .unwrap_or(Value::Null);
    found(&outcome, &logged).ok_or_else(|| FilterError::NoDecision {
        file: test.name().to_owned(),
        case: case.name.clone(),
        did: format!("{outcome:?}"),
        logged: logged.to_string(),
    })
}

fn request(plugin: &mut Plugin, case: &Case, attributes: Properties) -> Result<Outcome, HostError> {
    let stream = plugin.open(attributes)?;
    let headers = Headers::new(&case.header_map());
    let outcome = plugin.request_headers(stream, &headers, true)?;
    plugin.close(stream)?;
    Ok(outcome)
}

fn found(outcome: &Outcome, logged: &Value) -> Option<Found> {
    let verdict = match (outcome, outcome.status()) {
        (Outcome::Continued, _) => Verdict::Allow,
        (Outcome::Reset, _) | (_, Some(403)) => Verdict::Deny,
        _ => return None,
    };
    let text = |field: &str| logged.get(field).and_then(Value::as_str).map(str::to_owned);
    if text("verdict")? != super::expect::word(verdict) {
        return None;
    }
    Some(Found {
        verdict,
        reason: text("reason")?,
        policy: text("policy"),
    })
}

/// The configuration of a test file, trusting the issuers of all its certificates.
fn config(test: &TestFile) -> Result<String, FilterError> {
    let not_written = |problem: String| FilterError::NotWritten {
        file: test.name().to_owned(),
        problem,
    };
    let trust = trust(test).map_err(not_written)?;
    let mut config: PluginConfig = test.file().plugin_config(trust);
    config.decision_log.allowed = AllowedLog::All;
    config.svid_profile = test.profile();
    config
        .to_json()
        .map_err(|error| not_written(error.to_string()))
}

fn trust(test: &TestFile) -> Result<BTreeMap<String, TrustEntry>, String> {
    let own = std::iter::once(test.file().scope.trust_domain.clone());
    let shown = test.cases().filter_map(|(_, own)| {
        let svid = own.certificate.as_ref()?.checked.as_ref().ok()?;
        Some(svid.id().trust_domain_name().to_owned())
    });
    let domains = own.chain(shown).chain(test.trust().keys().cloned());
    let mut trust = BTreeMap::new();
    for domain in domains {
        let mut issuers: Vec<String> = test.issuers().to_vec();
        issuers.extend(test.trust().get(&domain).cloned());
        let entry: TrustEntry =
            json::shape(&json!({"issuers": issuers})).map_err(|error| error.to_string())?;
        trust.insert(domain, entry);
    }
    Ok(trust)
}
