//! One request on its own.

use std::path::Path;
use std::rc::Rc;

use identity::UnixTime;
use identity::x509::SvidProfile;
use policy::corpus::Case;
use policy::json::{self, ShapeError};
use policy::yaml::{self, SourceDocument};
use policy::{Decision, Explanation, PolicySet};
use serde_json::{Map, Value, json};

use super::super::certificate::Mint;
use super::super::files;
use super::super::native;
use super::{CaseReader, DEFAULT_TIME, Reader, TestCase};
use policy::yaml::Problem;

/// A request that is asked about, without an expectation.
#[derive(Debug)]
pub struct OneRequest {
    case: Case,
    own: TestCase,
}

impl OneRequest {
    /// The request of a file (in the form of a case, without `name` and `expect`), with `more` fields that win over
    /// those of the file; or of those alone.
    ///
    /// # Errors
    /// Every problem of the file and the fields.
    pub fn read(
        file: Option<&Path>,
        more: Map<String, Value>,
        time: Option<UnixTime>,
        profile: SvidProfile,
    ) -> Result<Self, Vec<Problem>> {
        let (document, folder) = match file {
            Some(path) => (read(path)?, path.parent().unwrap_or_else(|| Path::new(""))),
            None => (document("the request", "{}")?, Path::new("")),
        };
        let Value::Object(mut fields) = document.value().clone() else {
            let error = document.error("", "is not a request: expected fields of a case");
            return Err(vec![error.into()]);
        };
        for field in ["name", "expect"] {
            if fields.contains_key(field) {
                let error = document.error(field, "has no place in a request: only in a test");
                return Err(vec![error.into()]);
            }
        }
        fields.extend(more);
        let mut reader = Reader {
            document: Rc::new(document),
            folder,
            problems: Vec::new(),
        };
        let mut mint = Mint::new(time.unwrap_or(DEFAULT_TIME));
        let mut own = CaseReader {
            profile,
            time,
            mint: &mut mint,
        };
        if !fields.contains_key("certificate") {
            fields.entry("peer").or_insert_with(|| json!("plaintext"));
        }
        let certificate = reader
            .certificate(&mut fields, "", &mut own)
            .or_else(|| own.usual(&fields));
        fields.insert("name".to_owned(), json!("request"));
        let nothing = json!({"verdict": "deny", "reason": ""});
        fields.insert("expect".to_owned(), nothing);
        let case: Option<Case> = match json::shape(&Value::Object(fields)) {
            Ok(case) => Some(case),
            Err(ShapeError { path, problem }) => {
                reader.problem(&path, problem);
                None
            }
        };
        match case {
            Some(case) if reader.problems.is_empty() => Ok(Self {
                case,
                own: TestCase {
                    certificate,
                    ..TestCase::default()
                },
            }),
            _ => Err(reader.problems),
        }
    }

    /// The request in the corpus' form.
    #[must_use]
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// What becomes of it.
    pub fn decide(&self, set: &PolicySet) -> Decision {
        native::with_request(&self.case, &self.own, |request| set.decide(request))
    }

    /// What becomes of it, and what each rule has to say.
    #[must_use]
    pub fn explain(&self, set: &PolicySet) -> Explanation {
        native::with_request(&self.case, &self.own, |request| set.explain(request))
    }
}

fn read(path: &Path) -> Result<SourceDocument, Vec<Problem>> {
    let text = files::read_text(path).map_err(|problem| vec![problem])?;
    document(&files::name(path), &text)
}

pub(super) fn document(name: &str, text: &str) -> Result<SourceDocument, Vec<Problem>> {
    let documents = yaml::documents(name, text).map_err(|error| vec![error.into()])?;
    let count = documents.len();
    let mut documents = documents.into_iter();
    match (documents.next(), documents.next()) {
        (Some(document), None) => Ok(document),
        _ => {
            let problem = format!("has {count} documents, expected one");
            Err(vec![Problem::of_file(name, problem)])
        }
    }
}

/// A structured value from a file: the claims of a token.
///
/// # Errors
/// It cannot be read, or is not one YAML or JSON document.
pub fn read_value(path: &Path) -> Result<Value, Vec<Problem>> {
    read(path).map(|document| document.value().clone())
}
