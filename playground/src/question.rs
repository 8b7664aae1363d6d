//! Policies and a request, from texts.

use identity::UnixTime;
use identity::x509::{SvidProfile, X509Svid};
use policy::corpus::{Case, FileScope};
use policy::json::{self, ShapeError};
use policy::yaml::{self, OtherKinds, SourceDocument, Sources};
use policy::{Peer, PeerFault, PolicySet, Request, Scope};
use serde_json::{Map, Value, json};

use crate::MAX_TEXT_BYTES;
use crate::answer::{Checked, Place, Problem};

/// What is asked.
pub(crate) struct Question {
    sources: Sources,
    set: PolicySet,
    case: Case,
    peer: Peer,
    certificate: Option<X509Svid>,
    now: Option<UnixTime>,
}

/// Which policies there are. The compiler looks at all of them, whatever workload they are for.
pub(crate) fn check(policies: &str) -> Checked {
    match sources(policies) {
        Ok((sources, mut problems)) => {
            if let Ok(scope) = FileScope::default().resolve() {
                let scope = with_providers(scope, &sources);
                let found = sources.compile(&scope).err().unwrap_or_default();
                problems.extend(
                    found
                        .iter()
                        .map(|problem| Problem::of(Place::Policies, problem)),
                );
            }
            Checked::of(&sources, problems)
        }
        Err(problem) => Checked::of(&Sources::default(), vec![problem]),
    }
}

fn sources(policies: &str) -> Result<(Sources, Vec<Problem>), Problem> {
    bounded(Place::Policies, policies)?;
    let mut sources = Sources::default();
    let problems = sources.add("", policies, OtherKinds::Refuse);
    let problems = problems
        .iter()
        .map(|problem| Problem::of(Place::Policies, problem));
    Ok((sources, problems.collect()))
}

fn bounded(place: Place, text: &str) -> Result<(), Problem> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    let problem = format!("is {} bytes, the limit is {MAX_TEXT_BYTES}", text.len());
    Err(Problem::new(place, problem))
}

/// Providers are the proxy's business; here every one that is named is there.
fn with_providers(mut scope: Scope, sources: &Sources) -> Scope {
    let named = sources.policies().iter().filter_map(|written| {
        let name = written.part("spec.provider.name")?;
        name.as_str().map(str::to_owned)
    });
    scope.custom_providers.extend(named);
    scope
}

impl Question {
    pub(crate) fn read(policies: &str, request: &str) -> Result<Self, Vec<Problem>> {
        let (sources, mut problems) = sources(policies).map_err(|problem| vec![problem])?;
        let mut reader = RequestReader::new(request).map_err(|problem| vec![problem])?;
        let scope = reader.scope();
        let (peer, certificate, now) = reader.certificate();
        let case = reader.case();
        let set = scope.map(|scope| sources.compile(&with_providers(scope, &sources)));
        problems.append(&mut reader.problems);
        match (set, case) {
            (Some(Ok(set)), Some(case)) if problems.is_empty() => Ok(Self {
                sources,
                set,
                peer: peer.unwrap_or_else(|| case.peer.to_peer()),
                case,
                certificate,
                now,
            }),
            (Some(Err(found)), _) => {
                problems.extend(
                    found
                        .iter()
                        .map(|problem| Problem::of(Place::Policies, problem)),
                );
                Err(problems)
            }
            _ => Err(problems),
        }
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&PolicySet, &Request<'_>) -> T) -> T {
        let mut request = self.case.request(&self.peer);
        request.certificate = self.certificate.as_ref();
        request.now = self.now;
        ask(&self.set, &request)
    }
}

/// A request text: the fields of a case of a policy test, without name and expectation, beside `scope`.
struct RequestReader {
    document: SourceDocument,
    fields: Map<String, Value>,
    problems: Vec<Problem>,
}

impl RequestReader {
    fn new(text: &str) -> Result<Self, Problem> {
        bounded(Place::Request, text)?;
        let documents = yaml::documents("", text)
            .map_err(|error| Problem::of(Place::Request, &error.into()))?;
        let count = documents.len();
        let mut documents = documents.into_iter();
        let (Some(document), None) = (documents.next(), documents.next()) else {
            let problem = format!("has {count} documents, expected one");
            return Err(Problem::new(Place::Request, problem));
        };
        match document.value().clone() {
            Value::Object(fields) => Ok(Self {
                document,
                fields,
                problems: Vec::new(),
            }),
            _ => Err(Problem::new(
                Place::Request,
                "is not a request: expected its fields",
            )),
        }
    }

    fn problem(&mut self, path: &str, problem: impl Into<String>) {
        let error = self.document.error(path, problem);
        self.problems
            .push(Problem::of(Place::Request, &error.into()));
    }

    fn scope(&mut self) -> Option<Scope> {
        let written = self.fields.remove("scope").unwrap_or_else(|| json!({}));
        let read = json::shape::<FileScope>(&written).map_err(|error| {
            let path = ["scope", error.path.as_str()].join(".");
            (path.trim_end_matches('.').to_owned(), error.problem)
        });
        let resolved =
            read.and_then(|scope| scope.resolve().map_err(|error| (error.path, error.problem)));
        match resolved {
            Ok(scope) => Some(scope),
            Err((path, problem)) => {
                self.problem(&path, problem);
                None
            }
        }
    }

    /// A certificate in PEM. None can be made here, so one that is only described cannot be had.
    fn certificate(&mut self) -> (Option<Peer>, Option<X509Svid>, Option<UnixTime>) {
        let Some(written) = self.fields.remove("certificate") else {
            self.fields
                .entry("peer")
                .or_insert_with(|| json!("plaintext"));
            return (None, None, None);
        };
        let Some(pem) = written.as_str() else {
            self.problem(
                "certificate",
                "is not PEM; a certificate is not made here as it is described",
            );
            return (None, None, None);
        };
        // As one was issued: a page that is opened later says the same.
        let checked = X509Svid::parse_pem(pem.trim().as_bytes(), SvidProfile::default());
        match checked {
            Ok(svid) => {
                self.fields
                    .insert("peer".to_owned(), json!(svid.id().to_string()));
                let now = svid.validity().not_before.plus_secs(60);
                (None, Some(svid), now)
            }
            Err(error) => {
                self.fields
                    .insert("peer".to_owned(), json!("certificate-missing"));
                let fault = PeerFault::Svid {
                    code: error.code(),
                    detail: error.to_string(),
                };
                (Some(Peer::Unidentified(fault)), None, None)
            }
        }
    }

    fn case(&mut self) -> Option<Case> {
        for field in ["name", "expect"] {
            if self.fields.remove(field).is_some() {
                self.problem(field, "has no place in a request: only in a test");
            }
        }
        let mut fields = std::mem::take(&mut self.fields);
        fields.insert("name".to_owned(), json!("request"));
        fields.insert(
            "expect".to_owned(),
            json!({"verdict": "deny", "reason": ""}),
        );
        match json::shape(&Value::Object(fields)) {
            Ok(case) => Some(case),
            Err(ShapeError { path, problem }) => {
                self.problem(&path, problem);
                None
            }
        }
    }
}
