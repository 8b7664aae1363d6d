//! Files in a folder that somebody else, or somebody's script, takes to the CA and back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

use crate::ca::files;
use crate::upstream::{SignedIntermediate, SigningRequest, Upstream, UpstreamError, answer};

/// A folder with `request.csr` going out and `certificate.pem` coming in.
#[derive(Debug)]
pub(super) struct FileExchange {
    folder: PathBuf,
}

impl FileExchange {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn exchange(&self, request: &SigningRequest) -> Result<SignedIntermediate, UpstreamError> {
        let request_path = self.folder.join("request.csr");
        let answer_path = self.folder.join("certificate.pem");
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| UpstreamError::File {
                action,
                path,
                source,
            }
        };
        if fs::read(&request_path).is_ok_and(|there| there == request.csr_pem.as_bytes()) {
            match fs::read_to_string(&answer_path) {
                Ok(text) => return answer::parse(&text, request),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("read", &answer_path)(error)),
            }
        } else {
            // An answer to an earlier request is none to this one.
            match fs::remove_file(&answer_path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &answer_path)(error));
                }
                _ => {}
            }
            files::replace_public(&request_path, request.csr_pem.as_bytes())
                .map_err(failed("write", &request_path))?;
        }
        Err(UpstreamError::Waiting {
            request: request_path,
            answer: answer_path,
        })
    }
}

impl Upstream for FileExchange {
    fn name(&self) -> String {
        format!("files in {}", self.folder.display())
    }

    fn sign<'a>(
        &'a self,
        request: &'a SigningRequest,
    ) -> BoxFuture<'a, Result<SignedIntermediate, UpstreamError>> {
        Box::pin(async move { self.exchange(request) })
    }
}
