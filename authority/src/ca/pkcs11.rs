//! Keys in a PKCS#11 token: an HSM, a smart card, SoftHSM. The key never leaves it.
//!
//! A key is named by a PKCS#11 URI (RFC 7512), which is all that its file in the CA folder holds:
//! `pkcs11:token=mesh;object=intermediate?module-path=/usr/lib/…/libsofthsm2.so&pin-source=/run/…`.
//! One thread keeps the session, since a session is for one thread at a time; it is opened anew,
//! once, when the token answers that it is gone. A refused PIN is never tried again by itself, for
//! tokens count wrong ones.

use std::fmt;
use std::path::PathBuf;

use cryptoki::error::Error as CryptokiError;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

pub use self::uri::{Pkcs11Uri, Pkcs11UriError};
use crate::ca::key::{CaKey, CaKeyError, Custody, KeyAlgorithm};
use crate::ca::secret::PassphraseError;

mod session;
mod uri;

/// Why a token gives no key or no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Pkcs11Error {
    /// The URI is none.
    #[error(transparent)]
    Uri(#[from] Pkcs11UriError),
    /// The module cannot be loaded.
    #[error("cannot load the PKCS#11 module {}", module.display())]
    Module {
        /// The module's file.
        module: PathBuf,
        /// What the loader says.
        #[source]
        source: Box<CryptokiError>,
    },
    /// No token has the label.
    #[error("no PKCS#11 token is labelled {token:?}")]
    NoToken {
        /// The label looked for.
        token: String,
    },
    /// The PIN cannot be read.
    #[error("the token's PIN cannot be read")]
    Pin(#[source] PassphraseError),
    /// The token refuses the PIN; it is not tried again.
    #[error("the token {token:?} refuses the PIN (further wrong ones may lock it)")]
    WrongPin {
        /// The token's label.
        token: String,
    },
    /// Not exactly one key has the label.
    #[error("the token {token:?} has {found} private keys labelled {object:?}, expected one")]
    Objects {
        /// The token's label.
        token: String,
        /// The key's label.
        object: String,
        /// How many there are.
        found: usize,
    },
    /// There is a key with the label of the one to make.
    #[error("the token {token:?} already has a key labelled {object:?}")]
    Exists {
        /// The token's label.
        token: String,
        /// The key's label.
        object: String,
    },
    /// The key is of another kind.
    #[error("the key {object:?} is {problem}")]
    Unsupported {
        /// The key's label.
        object: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An operation failed.
    #[error("the token failed to {action}")]
    Token {
        /// What was asked of it.
        action: &'static str,
        /// What it says.
        #[source]
        source: Box<CryptokiError>,
    },
    /// The thread that talks to the token has ended.
    #[error("the thread that talks to the token has ended")]
    Gone,
}

/// A key in a token.
pub struct Pkcs11Key {
    jobs: mpsc::Sender<Job>,
    algorithm: KeyAlgorithm,
    public_key: Vec<u8>,
    custody: Custody,
}

/// One signature to make.
struct Job {
    message: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<u8>, Pkcs11Error>>,
}

impl Pkcs11Key {
    /// Finds the key that `uri` names.
    ///
    /// # Errors
    /// [`Pkcs11Error`].
    pub fn open(uri: &Pkcs11Uri) -> Result<Self, Pkcs11Error> {
        Self::start(uri.clone(), session::Session::open)
    }

    /// Makes a key pair in the token that `uri` names, not extractable; there must be none of that
    /// label.
    ///
    /// # Errors
    /// [`Pkcs11Error`].
    pub fn generate(uri: &Pkcs11Uri, algorithm: KeyAlgorithm) -> Result<Self, Pkcs11Error> {
        Self::start(uri.clone(), move |uri| {
            session::Session::generate(uri, algorithm)
        })
    }

    /// Starts the thread; returns once it has the key.
    fn start(
        uri: Pkcs11Uri,
        open: impl FnOnce(&Pkcs11Uri) -> Result<session::Session, Pkcs11Error> + Send + 'static,
    ) -> Result<Self, Pkcs11Error> {
        let custody = Custody::Pkcs11 {
            token: uri.token().to_owned(),
            object: uri.object().to_owned(),
        };
        let (ready, opened) = std::sync::mpsc::sync_channel(1);
        let (jobs, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("pkcs11".to_owned())
            .spawn(move || match open(&uri) {
                Ok(session) => {
                    ready.send(Ok(session.facts())).ok();
                    serve(&uri, session, queue);
                }
                Err(error) => {
                    ready.send(Err(error)).ok();
                }
            })
            .map_err(|_system| Pkcs11Error::Gone)?;
        let (algorithm, public_key) = opened.recv().map_err(|_ended| Pkcs11Error::Gone)??;
        Ok(Self {
            jobs,
            algorithm,
            public_key,
            custody,
        })
    }
}

/// Signs until nobody holds the key any more.
fn serve(uri: &Pkcs11Uri, mut session: session::Session, mut jobs: mpsc::Receiver<Job>) {
    while let Some(Job { message, reply }) = jobs.blocking_recv() {
        let mut signed = session.sign(&message);
        if signed.is_err() {
            match session::Session::open(uri) {
                Ok(again) if again.facts() == session.facts() => {
                    tracing::warn!(key = %uri, "the token's session was opened anew");
                    session = again;
                    signed = session.sign(&message);
                }
                Ok(_other) => tracing::error!(key = %uri, "the token holds another key now"),
                Err(error) => {
                    let pin_refused = matches!(error, Pkcs11Error::WrongPin { .. });
                    signed = Err(error);
                    if pin_refused {
                        reply.send(signed).ok();
                        // Trying again would lock the token.
                        return;
                    }
                }
            }
        }
        reply.send(signed).ok();
    }
}

impl CaKey for Pkcs11Key {
    fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn custody(&self) -> Custody {
        self.custody.clone()
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, CaKeyError>> {
        Box::pin(async move {
            let (reply, signed) = oneshot::channel();
            let job = Job {
                message: message.to_vec(),
                reply,
            };
            self.jobs
                .send(job)
                .await
                .map_err(|_ended| Pkcs11Error::Gone)?;
            let signature = signed.await.map_err(|_ended| Pkcs11Error::Gone)??;
            Ok(signature)
        })
    }
}

impl fmt::Debug for Pkcs11Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Key")
            .field("algorithm", &self.algorithm)
            .field("custody", &self.custody)
            .finish_non_exhaustive()
    }
}

/// Signatures that wait for the token before callers do.
const QUEUE: usize = 64;
