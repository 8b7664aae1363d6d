//! The certificates that cases describe.

use policy::json::{self, ShapeError};
use serde_json::{Map, Value, json};

use super::super::certificate::{CertificateError, CertificateSpec, Presented};
use super::super::files;
use super::{CaseReader, Reader};

/// Stands in the corpus' form for the peer of a certificate that proves nothing; the run puts the real fault there.
const NO_IDENTITY: &str = "certificate-missing";

impl Reader<'_> {
    /// Takes the certificate out of a case, and names the peer that the corpus' reader asks for.
    pub(super) fn certificate(
        &mut self,
        case: &mut Map<String, Value>,
        path: &str,
        own: &mut CaseReader<'_>,
    ) -> Option<Presented> {
        let written = case.remove("certificate")?;
        let path = format!("{path}.certificate")
            .trim_start_matches('.')
            .to_owned();
        let named = case.get("peer").and_then(Value::as_str).map(str::to_owned);
        let presented = self.presented(&written, &path, named.as_deref(), own);
        let shown = match presented.as_ref().map(|presented| &presented.checked) {
            Some(Ok(svid)) => svid.id().to_string(),
            Some(Err(_)) | None => NO_IDENTITY.to_owned(),
        };
        if let (Some(named), Some(Ok(svid))) = (
            &named,
            presented.as_ref().map(|presented| &presented.checked),
        ) && *named != svid.id().to_string()
        {
            let problem = format!("is of {}, but peer says {named}", svid.id());
            self.problem(&path, problem);
        }
        case.insert("peer".to_owned(), json!(shown));
        presented
    }

    fn presented(
        &mut self,
        written: &Value,
        path: &str,
        named: Option<&str>,
        own: &mut CaseReader<'_>,
    ) -> Option<Presented> {
        let mut spec: CertificateSpec = match json::shape(written) {
            Ok(spec) => spec,
            Err(ShapeError { path: at, problem }) => {
                let whole = [path, at.as_str()].join(".");
                self.problem(whole.trim_end_matches('.'), problem);
                return None;
            }
        };
        if spec.file.is_none() && spec.id.is_none() && spec.uris.is_empty() {
            spec.id = named.map(str::to_owned);
        }
        match self.made(&spec, own) {
            Ok(presented) => Some(presented),
            Err(problem) => {
                self.problem(path, problem);
                None
            }
        }
    }

    fn made(&self, spec: &CertificateSpec, own: &mut CaseReader<'_>) -> Result<Presented, String> {
        let text = |error: CertificateError| error.to_string();
        let Some(file) = &spec.file else {
            return own.mint.make(spec, own.profile).map_err(text);
        };
        if !spec.is_file_only() {
            return Err(text(CertificateError::FileAndMore));
        }
        let file = self.folder.join(file);
        let pem = files::read_text(&file).map_err(|problem| problem.to_string())?;
        Presented::from_pem(&pem, own.profile, own.time)
            .map_err(|error| format!("{} {error}", file.display()))
    }
}
