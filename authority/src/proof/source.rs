//! An issuer's keys: where they come from, how long they are kept, when they are read again.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::Uri;
use identity::UnixTime;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::issue::attest::AttestError;
use crate::proof::Unavailable;
use crate::proof::https::{FetchError, HttpsClient};
use crate::proof::jwt::{Signed, TokenFault, Unverified};
use crate::proof::keys::{KeySet, KeySetError, MAX_KEY_SET_BYTES};
use crate::proof::settings::{HttpsUrl, Issuer, KeysConfig};
use crate::proof::strict_json;

/// How often keys are read again without need, in seconds.
pub(crate) const REFRESH_SECONDS: i64 = 300;
/// How soon they are read again because a token names one that is not among them, in seconds.
/// Anybody can name one, so this bounds what strangers make us ask an issuer.
pub(crate) const PAUSE_SECONDS: i64 = 10;
/// The same as long as there are none at all, in seconds.
pub(crate) const FIRST_PAUSE_SECONDS: i64 = 1;
/// How long keys are used when they cannot be read again, in seconds.
pub(crate) const MAX_STALE_SECONDS: i64 = 86_400;

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct KeySource {
    issuer: Issuer,
    origin: Origin,
    state: RwLock<State>,
    reading: Mutex<()>,
}

#[derive(Debug)]
enum Origin {
    File(PathBuf),
    Url(HttpsClient, Uri),
    /// What the issuer's discovery document points to.
    Discovery(HttpsClient, HttpsUrl),
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, UnixTime)>,
    /// When they were last read, or should have been.
    tried: Option<UnixTime>,
    /// How many times that came to an end.
    finished: u64,
    /// Why they were not.
    problem: String,
}

/// Why keys cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// The file or the server gives nothing.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What they give is no key set.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// The discovery document is not one of this issuer.
    #[error("the discovery document {problem}")]
    Discovery {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It was tried a moment ago.
    #[error("they could not be read a moment ago: {problem}")]
    Paused {
        /// What went wrong then.
        problem: String,
    },
}

impl KeySource {
    /// The keys of `issuer`, from where `config` says. Nothing is read yet.
    ///
    /// # Errors
    /// [`KeySourceError::Discovery`] if there is nothing to read them from.
    pub(crate) fn new(issuer: &Issuer, config: &KeysConfig) -> Result<Self, KeySourceError> {
        let nothing = KeySourceError::Discovery {
            problem: "has no https address, and neither file nor url is given",
        };
        let client = || {
            let roots = config.ca_file.clone().unwrap_or_default();
            HttpsClient::new(roots, config.token_file.clone(), TIMEOUT)
        };
        let origin = match (&config.file, &config.url) {
            (Some(file), _) => Origin::File(file.clone()),
            (None, Some(url)) => Origin::Url(client(), url.uri().clone()),
            (None, None) => {
                let url = HttpsUrl::try_from(issuer.as_str().to_owned()).map_err(|_bad| nothing)?;
                Origin::Discovery(client(), url)
            }
        };
        Ok(Self {
            issuer: issuer.clone(),
            origin,
            state: RwLock::default(),
            reading: Mutex::default(),
        })
    }

    /// Verifies a token's signature. An unknown key makes the keys be read again, if that was not
    /// done a moment ago: the issuer may have a new one.
    pub(crate) async fn verify(
        &self,
        token: &Unverified<'_>,
        now: UnixTime,
    ) -> Result<Signed, AttestError> {
        let keys = self.current(now).await?;
        match token.verify(&keys) {
            Err(TokenFault::UnknownKey) if self.may_try(now) => {
                let newer = self
                    .read(now)
                    .await
                    .map_err(|error| self.unavailable(error))?;
                Ok(token.verify(&newer)?)
            }
            verified => Ok(verified?),
        }
    }

    /// Reads the keys now, to notice at the start what would be noticed at the first token.
    pub(crate) async fn warm_up(&self, now: UnixTime) -> Result<usize, KeySourceError> {
        self.read(now).await.map(|keys| keys.len())
    }

    async fn current(&self, now: UnixTime) -> Result<Arc<KeySet>, AttestError> {
        let State { keys, .. } = self.state();
        let Some((keys, read)) = keys else {
            return self
                .read(now)
                .await
                .map_err(|error| self.unavailable(error));
        };
        let age = now.secs_since(read);
        if age < REFRESH_SECONDS || !self.may_try(now) {
            return self.unless_stale(keys, age);
        }
        // One reads; the others go on with what there is.
        let Ok(_reading) = self.reading.try_lock() else {
            return self.unless_stale(keys, age);
        };
        match self.read_locked(now).await {
            Ok(newer) => Ok(newer),
            Err(error) => {
                tracing::warn!(
                    issuer = self.issuer.as_str(),
                    error = identity::chain(&error),
                    age,
                    "keys could not be read again"
                );
                self.unless_stale(keys, age)
            }
        }
    }

    fn unless_stale(&self, keys: Arc<KeySet>, age: i64) -> Result<Arc<KeySet>, AttestError> {
        if age <= MAX_STALE_SECONDS {
            Ok(keys)
        } else {
            Err(self.unavailable(self.paused()))
        }
    }

    fn may_try(&self, now: UnixTime) -> bool {
        let State { keys, tried, .. } = self.state();
        let pause = if keys.is_some() {
            PAUSE_SECONDS
        } else {
            FIRST_PAUSE_SECONDS
        };
        tried.is_none_or(|tried| now.secs_since(tried).abs() >= pause)
    }

    async fn read(&self, now: UnixTime) -> Result<Arc<KeySet>, KeySourceError> {
        let finished = self.state().finished;
        let _reading = self.reading.lock().await;
        // Whoever had the lock before has read them, or waited in vain for all who came meanwhile: an issuer that
        // hangs must not be waited for by one after the other.
        let state = self.state();
        match state.keys {
            Some((keys, _)) if state.finished != finished => Ok(keys),
            None if state.finished != finished => Err(self.paused()),
            Some((keys, _)) if !self.may_try(now) => Ok(keys),
            None if !self.may_try(now) => Err(self.paused()),
            _ => self.read_locked(now).await,
        }
    }

    async fn read_locked(&self, now: UnixTime) -> Result<Arc<KeySet>, KeySourceError> {
        self.write(|state| state.tried = Some(now));
        let read = self
            .fetch()
            .await
            .and_then(|json| Ok(Arc::new(KeySet::parse(&json)?)));
        match &read {
            Ok(keys) => {
                self.write(|state| state.keys = Some((Arc::clone(keys), now)));
                tracing::debug!(
                    issuer = self.issuer.as_str(),
                    keys = keys.len(),
                    "read keys"
                );
            }
            Err(error) => self.write(|state| state.problem = identity::chain(error)),
        }
        self.write(|state| state.finished = state.finished.wrapping_add(1));
        read
    }

    fn paused(&self) -> KeySourceError {
        KeySourceError::Paused {
            problem: self.state().problem,
        }
    }

    async fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        match &self.origin {
            Origin::File(path) => read_file(path).await.map_err(KeySourceError::Fetch),
            Origin::Url(client, url) => {
                Ok(client.get(url.clone(), MAX_KEY_SET_BYTES).await?.to_vec())
            }
            Origin::Discovery(client, issuer) => {
                let url = self.discover(client, issuer).await?;
                Ok(client.get(url, MAX_KEY_SET_BYTES).await?.to_vec())
            }
        }
    }

    /// OpenID Connect Discovery 1.0 §4. The keys are taken from the issuer's own host only: what
    /// stands in a document of somebody else's must not choose whom we connect to.
    async fn discover(
        &self,
        client: &HttpsClient,
        issuer: &HttpsUrl,
    ) -> Result<Uri, KeySourceError> {
        let wrong = |problem| KeySourceError::Discovery { problem };
        let at = issuer
            .at("/.well-known/openid-configuration")
            .ok_or_else(|| wrong("has no address"))?;
        let json = client.get(at, MAX_KEY_SET_BYTES).await?;
        let document = strict_json::object(&json).map_err(|_bad| wrong("is not JSON"))?;
        // §4.3: "MUST exactly match".
        if document.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(wrong("names another issuer"));
        }
        let keys = document
            .get("jwks_uri")
            .and_then(Value::as_str)
            .and_then(|uri| HttpsUrl::try_from(uri.to_owned()).ok())
            .ok_or_else(|| wrong("has no jwks_uri that starts with https"))?;
        if keys.uri().host() != issuer.uri().host() {
            return Err(wrong(
                "points to keys on another host: give their address as keys.url",
            ));
        }
        Ok(keys.uri().clone())
    }

    fn unavailable(&self, error: KeySourceError) -> AttestError {
        Unavailable::Keys {
            issuer: self.issuer.as_str().to_owned(),
            source: error,
        }
        .into()
    }

    fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn read_file(path: &PathBuf) -> Result<Vec<u8>, FetchError> {
    let failed = |source| FetchError::File {
        path: path.clone(),
        source,
    };
    // One byte more than is allowed, so that a larger file is noticed and not read.
    let limit = u64::try_from(MAX_KEY_SET_BYTES).unwrap_or(u64::MAX) + 1;
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut json = Vec::new();
    let mut file = tokio::io::AsyncReadExt::take(file, limit);
    tokio::io::AsyncReadExt::read_to_end(&mut file, &mut json)
        .await
        .map_err(failed)?;
    Ok(json)
}

/// Time for one request to an issuer.
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_issuer_that_hangs_is_asked_once_for_all_who_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        // Takes connections and says nothing.
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for connection in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                held.push(connection);
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let ca_file = dir.path().join("roots.pem");
        let root = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&ca_file, root.cert.pem()).unwrap();
        let config = KeysConfig {
            url: Some(HttpsUrl::try_from(format!("https://{address}/keys")).unwrap()),
            ca_file: Some(ca_file),
            ..KeysConfig::default()
        };
        let issuer = Issuer::try_from("https://issuer.example".to_owned()).unwrap();
        let source = Arc::new(KeySource::new(&issuer, &config).unwrap());
        // Each at another time, as tokens come in.
        let waiting = (0..4).map(|number| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.read(UnixTime::from_secs(100 + 10 * number)).await })
        });
        for waited in futures::future::join_all(waiting).await {
            assert!(waited.unwrap().is_err());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
