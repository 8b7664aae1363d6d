//! The few calls to a cluster's API server.

use std::time::Duration;

use http::{Method, StatusCode};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use crate::proof::Unavailable;
use crate::proof::https::{Answer, FetchError, HttpsClient};
use crate::proof::settings::{ApiServerConfig, HttpsUrl};

/// A cluster's API server.
#[derive(Clone, Debug)]
pub(crate) struct ApiServer {
    cluster: String,
    client: HttpsClient,
    url: HttpsUrl,
}

impl ApiServer {
    pub(crate) fn new(cluster: &str, config: &ApiServerConfig) -> Self {
        let seconds = u64::try_from(config.timeout.get()).unwrap_or(1);
        let timeout = Duration::from_secs(seconds);
        let token = Some(config.token_file.clone());
        Self {
            cluster: cluster.to_owned(),
            client: HttpsClient::new(config.ca_file.clone(), token, timeout),
            url: config.url.clone(),
        }
    }

    /// Which cluster's.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Asks for a review of `token` (`authentication.k8s.io/v1`): its `status`.
    ///
    /// # Errors
    /// [`Unavailable`]: no answer, or none that could be used. That our own token is refused is one.
    pub(crate) async fn review(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Map<String, Value>, Unavailable> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": audiences },
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let answer = self
            .call(Method::POST, path, body.to_string().into())
            .await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => {
                let Value::Object(mut review) = self.json(&answer)? else {
                    return Err(self.malformed());
                };
                match review.remove("status") {
                    Some(Value::Object(status)) => Ok(status),
                    _ => Err(self.malformed()),
                }
            }
            status => Err(self.status(status)),
        }
    }

    /// Gets what is at `path`; `None` if there is nothing.
    ///
    /// # Errors
    /// [`Unavailable`] as for [`review`](Self::review).
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, Unavailable> {
        let answer = self.call(Method::GET, path, Bytes::new()).await?;
        match answer.status {
            StatusCode::OK => self.json(&answer).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.status(status)),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Unavailable> {
        let uri = self.url.at(path).ok_or_else(|| {
            self.failed(FetchError::Url {
                url: path.to_owned(),
            })
        })?;
        self.client
            .send(method, uri, body, MAX_ANSWER_BYTES)
            .await
            .map_err(|error| self.failed(error))
    }

    fn json(&self, answer: &Answer) -> Result<Value, Unavailable> {
        serde_json::from_slice(&answer.body).map_err(|_not_json| self.malformed())
    }

    fn failed(&self, source: FetchError) -> Unavailable {
        Unavailable::ApiServer {
            cluster: self.cluster.clone(),
            source,
        }
    }

    fn status(&self, status: StatusCode) -> Unavailable {
        self.failed(FetchError::Status {
            host: self
                .url
                .uri()
                .authority()
                .map(ToString::to_string)
                .unwrap_or_default(),
            status: status.as_u16(),
        })
    }

    fn malformed(&self) -> Unavailable {
        Unavailable::Malformed {
            cluster: self.cluster.clone(),
        }
    }
}

/// Largest answer read. A hundred pods with all that is in them are below it.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
