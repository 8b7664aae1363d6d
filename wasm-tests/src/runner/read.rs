//! Test files.

mod case;
mod one;
mod presented;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use identity::UnixTime;
use identity::x509::SvidProfile;
use policy::corpus::{Case, File};
use policy::json::{self, ShapeError};
use policy::yaml::{self, SourceDocument};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::case::CaseReader;
use super::certificate::{Mint, Presented};
use super::expect::Expect;
use super::files::{self, Folders};
use policy::yaml::Problem;
use policy::yaml::{OtherKinds, Sources, WrittenResource as Written};

pub use self::one::{OneRequest, read_value};

/// The time of a test file that names none: 2027-01-15T08:00:00Z.
pub const DEFAULT_TIME: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A policy test: a file of the corpus' format ([`policy::corpus::File`]), with these differences.
///
/// - `policyFiles`: files and folders with policies, relative to the test file, beside `policies` or instead of it.
/// - `time`: RFC 3339; what certificates and their ages are judged at ([`DEFAULT_TIME`]).
/// - `svidProfile`: `strict` (default) or `istio`.
/// - `trust`: trust domain → PEM file with its issuers, for certificates from files that go through the filter.
/// - `about` may be left out.
/// - A case's `certificate` (a `CertificateSpec`) says what the peer shows; `peer` may then be left out.
/// - A case's `expect` may be `allow` or `deny`, and may leave out `reason`.
#[derive(Debug)]
pub struct TestFile {
    name: String,
    file: File,
    cases: Vec<TestCase>,
    policies: Vec<Written>,
    time: UnixTime,
    profile: SvidProfile,
    trust: BTreeMap<String, String>,
    issuers: Vec<String>,
}

/// What a case says beyond [`Case`].
#[derive(Debug, Default)]
pub struct TestCase {
    /// What becomes of the request.
    pub expect: Expect,
    /// The line its name is on.
    pub line: Option<u64>,
    /// The certificate it describes.
    pub certificate: Option<Presented>,
}

/// Fields of a test file that a corpus file does not have.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Extras {
    policy_files: Vec<PathBuf>,
    time: Option<String>,
    svid_profile: SvidProfile,
    trust: BTreeMap<String, PathBuf>,
}

const EXTRAS: [&str; 4] = ["policyFiles", "time", "svidProfile", "trust"];

impl TestFile {
    /// Reads a test file and the files it names.
    ///
    /// # Errors
    /// Every problem that can be found: what cannot be read, is no YAML, does not have the shape, has no cases or two
    /// of one name; policies of a wrong shape; certificates that cannot be.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let text = files::read_text(path).map_err(|problem| vec![problem])?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::parse(&files::name(path), &text, folder)
    }

    /// Whether a file of this content is meant as a policy test: it has `cases`, or is no Kubernetes resource.
    /// What is not YAML counts as one, so that somebody is told.
    #[must_use]
    pub fn is_meant_by(text: &str) -> bool {
        let Ok(documents) = yaml::documents("", text) else {
            return true;
        };
        let resource = |document: &SourceDocument| {
            let value = document.value();
            value.get("kind").is_some() && value.get("cases").is_none()
        };
        documents.is_empty() || !documents.iter().all(resource)
    }

    /// Reads a test file's text; paths in it are relative to `folder`.
    ///
    /// # Errors
    /// As [`TestFile::read`].
    pub fn parse(name: &str, text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        Reader {
            document: Rc::new(one::document(name, text)?),
            folder,
            problems: Vec::new(),
        }
        .read(name)
    }

    /// The same with those cases only that have `text` in their name.
    #[must_use]
    pub fn only(mut self, text: &str) -> Self {
        let cases = std::mem::take(&mut self.file.cases);
        let own = std::mem::take(&mut self.cases);
        (self.file.cases, self.cases) = cases
            .into_iter()
            .zip(own)
            .filter(|(case, _)| case.name.contains(text))
            .unzip();
        self
    }

    /// The file's name as given by the caller.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file in the corpus' form; expectations in it say nothing.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The cases, with what a test file says of them.
    pub fn cases(&self) -> impl Iterator<Item = (&Case, &TestCase)> {
        self.file.cases.iter().zip(&self.cases)
    }

    /// Where the file's policies were written, in the order of [`File::policies`].
    #[must_use]
    pub fn policies(&self) -> &[Written] {
        &self.policies
    }

    /// What certificates are judged at.
    #[must_use]
    pub fn time(&self) -> UnixTime {
        self.time
    }

    /// How strictly certificates are read.
    #[must_use]
    pub fn profile(&self) -> SvidProfile {
        self.profile
    }

    /// Trust domain → PEM of its issuers, as the file names them.
    #[must_use]
    pub fn trust(&self) -> &BTreeMap<String, String> {
        &self.trust
    }

    /// PEM of the issuers of certificates that were made.
    #[must_use]
    pub fn issuers(&self) -> &[String] {
        &self.issuers
    }

    /// A problem of the compiler, whose path begins with `policies[…]`, where it was written.
    #[must_use]
    pub fn locate(&self, error: &ShapeError) -> Problem {
        let policy = error
            .path
            .strip_prefix("policies[")
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(index, rest)| {
                Some((self.policies.get(index.parse::<usize>().ok()?)?, rest))
            });
        match policy {
            Some((written, rest)) => {
                written.error(rest.strip_prefix('.').unwrap_or(rest), &error.problem)
            }
            None => Problem {
                path: error.path.clone(),
                ..Problem::of_file(&self.name, error.problem.clone())
            },
        }
    }
}

struct Reader<'d> {
    document: Rc<SourceDocument>,
    folder: &'d Path,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn read(mut self, name: &str) -> Result<TestFile, Vec<Problem>> {
        let Value::Object(mut map) = self.document.value().clone() else {
            self.problem("", "is not a policy test: expected policies and cases");
            return Err(self.problems);
        };
        let extras = self.extras(&mut map);
        let time = self.time(&extras);
        let policies = self.policies(&mut map, &extras);
        let mut mint = Mint::new(time.unwrap_or(DEFAULT_TIME));
        let own = CaseReader {
            profile: extras.svid_profile,
            time,
            mint: &mut mint,
        };
        let cases = self.cases(&mut map, own);
        let trust = extras
            .trust
            .iter()
            .filter_map(|(domain, file)| Some((domain.clone(), self.pem(domain, file)?)))
            .collect();
        let file = self.corpus(Value::Object(map));
        match file {
            Some(file) if self.problems.is_empty() => Ok(TestFile {
                name: name.to_owned(),
                file,
                cases,
                policies,
                time: time.unwrap_or(DEFAULT_TIME),
                profile: extras.svid_profile,
                trust,
                issuers: mint.issuers(),
            }),
            _ => Err(self.problems),
        }
    }

    fn problem(&mut self, path: &str, problem: impl Into<String>) {
        self.problems
            .push(self.document.error(path, problem).into());
    }

    /// Takes the fields out that a corpus file does not have.
    fn extras(&mut self, map: &mut Map<String, Value>) -> Extras {
        map.entry("about").or_insert_with(|| json!(""));
        let own: Map<String, Value> = EXTRAS
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), map.remove(*field)?)))
            .collect();
        json::shape(&Value::Object(own)).unwrap_or_else(|error: ShapeError| {
            self.problem(&error.path, error.problem);
            Extras::default()
        })
    }

    fn time(&mut self, extras: &Extras) -> Option<UnixTime> {
        let text = extras.time.as_ref()?;
        match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(time) => Some(UnixTime::from_secs(time.unix_timestamp())),
            Err(_) => {
                let problem = format!("{text:?} is not a time such as 2027-01-15T08:00:00Z");
                self.problem("time", problem);
                None
            }
        }
    }

    /// The policies of the file, then those of the files it names; the latter are added to the former.
    fn policies(&mut self, map: &mut Map<String, Value>, extras: &Extras) -> Vec<Written> {
        let mut sources = Sources::default();
        let own = map.entry("policies").or_insert_with(|| {
            // Without any policy a test tests nothing; the corpus' reader asks for the field.
            if extras.policy_files.is_empty() {
                Value::Null
            } else {
                json!([])
            }
        });
        if own.is_null() {
            map.remove("policies");
            return Vec::new();
        }
        let Some(list) = own.as_array_mut() else {
            return Vec::new();
        };
        self.problems
            .extend(sources.add_parts(&self.document, "policies", list.len()));
        let written: Vec<PathBuf> = extras
            .policy_files
            .iter()
            .map(|path| self.folder.join(path))
            .collect();
        let (files, problems) = files::expand(&written, Folders::Flat);
        let problems = problems.iter().map(|problem| self.named(problem));
        let mut problems: Vec<_> = problems.collect();
        for file in files {
            problems.extend(files::add_file(&mut sources, &file, OtherKinds::Refuse));
        }
        self.problems.append(&mut problems);
        let policies = sources.into_policies();
        *list = policies
            .iter()
            .map(|written| written.value().clone())
            .collect();
        policies
    }

    /// A problem of a file that `policyFiles` names.
    fn named(&self, problem: &Problem) -> Problem {
        self.document
            .error("policyFiles", problem.to_string())
            .into()
    }

    fn pem(&mut self, domain: &str, file: &Path) -> Option<String> {
        match files::read_text(&self.folder.join(file)) {
            Ok(text) => Some(text),
            Err(problem) => {
                self.problem(&format!("trust.{domain}"), problem.to_string());
                None
            }
        }
    }

    /// The whole of it, by the corpus' reader.
    fn corpus(&mut self, value: Value) -> Option<File> {
        match json::shape::<File>(&value) {
            Ok(file) => Some(file),
            Err(ShapeError { path, problem }) => {
                let more = match path.as_str() {
                    _ if !problem.starts_with("unknown field") => String::new(),
                    path if path.starts_with("cases") => "; also `certificate`".to_owned(),
                    _ => format!("; also `{}`", EXTRAS.join("`, `")),
                };
                self.problem(&path, format!("{problem}{more}"));
                None
            }
        }
    }
}
