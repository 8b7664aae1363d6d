//! Envoy's administration interface.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use envoy_config::address::Admin;

use crate::http::{self, Answer, HttpError, Target};

/// A client of one Envoy's administration interface.
#[derive(Clone, Debug)]
pub struct AdminClient {
    target: Target,
}

/// Why the administration interface is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// No answer.
    #[error("administration interface does not answer {path}")]
    Http {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// An answer that is not 200.
    #[error("administration interface answers {status} to {path}: {body}")]
    Refused {
        /// What was asked.
        path: String,
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// An answer that is not what was asked for.
    #[error("administration interface answers {path} with something else than {expected}")]
    Unexpected {
        /// What was asked.
        path: String,
        /// What should have come.
        expected: &'static str,
    },
}

impl AdminClient {
    /// For this interface; `None` when there is none or its port is not known.
    #[must_use]
    pub fn new(admin: &Admin) -> Option<Self> {
        let target = match admin {
            Admin::None | Admin::Loopback(0) => return None,
            Admin::Loopback(port) => Target::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))),
            Admin::Unix(path) => Target::Unix(path.clone()),
        };
        Some(Self { target })
    }

    /// Where it listens.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// `GET path`, an answer of 200.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn get(&self, path: &str) -> Result<Answer, AdminError> {
        Self::checked(path, http::get(&self.target, path).await)
    }

    /// `POST path` without a body, an answer of 200. What changes something has to be posted.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn post(&self, path: &str) -> Result<Answer, AdminError> {
        Self::checked(path, http::post(&self.target, path, "").await)
    }

    fn checked(path: &str, answer: Result<Answer, HttpError>) -> Result<Answer, AdminError> {
        let path = path.to_owned();
        match answer {
            Err(source) => Err(AdminError::Http { path, source }),
            Ok(answer) if answer.status == 200 => Ok(answer),
            Ok(answer) => Err(AdminError::Refused {
                path,
                status: answer.status,
                body: answer.text(),
            }),
        }
    }

    async fn json(&self, path: &str) -> Result<serde_json::Value, AdminError> {
        match self.get(path).await?.json() {
            serde_json::Value::Null => Err(AdminError::Unexpected {
                path: path.to_owned(),
                expected: "JSON",
            }),
            json => Ok(json),
        }
    }

    /// Whether it is ready to serve.
    ///
    /// # Errors
    /// [`AdminError::Http`]; not being ready is no error.
    pub async fn is_ready(&self) -> Result<bool, AdminError> {
        match self.get("/ready").await {
            Ok(_) => Ok(true),
            Err(AdminError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Counters and gauges whose name contains a match of the regular expression.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn stats(&self, regex: &str) -> Result<BTreeMap<String, u64>, AdminError> {
        let answer = self
            .get(&format!("/stats?filter={}", escape(regex)))
            .await?;
        let lines = answer.text();
        // Histograms and text read-outs have no plain number and are left out.
        let number = |line: &str| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(lines.lines().filter_map(number).collect())
    }

    /// One counter or gauge by its exact name; 0 when it does not exist, as Envoy makes many on first use.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn stat(&self, name: &str) -> Result<u64, AdminError> {
        let quoted = name.replace('.', "\\.").replace('|', "\\|");
        Ok(self
            .stats(&format!("^{quoted}$"))
            .await?
            .get(name)
            .copied()
            .unwrap_or(0))
    }

    /// Certificates in use, as `/certs` gives them.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn certs(&self) -> Result<serde_json::Value, AdminError> {
        self.json("/certs").await
    }

    /// Serial numbers (lower-case hexadecimal) of the leaf certificates in use, without repetition.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn leaf_serials(&self) -> Result<Vec<String>, AdminError> {
        let certs = self.certs().await?;
        let contexts = certs.get("certificates").and_then(|list| list.as_array());
        let leaves = contexts
            .into_iter()
            .flatten()
            .filter_map(|context| context.get("cert_chain"));
        let mut serials: Vec<String> = leaves
            .filter_map(|chain| chain.get(0)?.get("serial_number")?.as_str())
            .map(str::to_lowercase)
            .collect();
        serials.sort();
        serials.dedup();
        Ok(serials)
    }

    /// The configuration in force, as `/config_dump` gives it.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn config_dump(&self) -> Result<serde_json::Value, AdminError> {
        self.json("/config_dump").await
    }

    /// Starts draining the listeners: answers ask for the connection's end, new connections still come in.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn drain(&self) -> Result<(), AdminError> {
        self.post("/drain_listeners?graceful&skip_exit")
            .await
            .map(|_| ())
    }

    /// Sets the level of one logger (`wasm`, `connection`, …) or of all.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn logging(&self, logger: Option<&str>, level: &str) -> Result<(), AdminError> {
        let path = match logger {
            Some(logger) => format!("/logging?{}={}", escape(logger), escape(level)),
            None => format!("/logging?level={}", escape(level)),
        };
        self.post(&path).await.map(|_| ())
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
