//! Nobody can tell now whether a proof holds.

use std::sync::Arc;

use crate::proof::https::FetchError;
use crate::proof::source::KeySourceError;

/// Why nobody can tell now whether a proof holds. The caller may come again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// An issuer's keys cannot be read.
    #[error("the keys of {issuer} cannot be read")]
    Keys {
        /// The issuer.
        issuer: String,
        /// Why not.
        #[source]
        source: KeySourceError,
    },
    /// An API server gives no answer.
    #[error("the API server of cluster {cluster} gives no answer")]
    ApiServer {
        /// The cluster.
        cluster: String,
        /// Why not.
        #[source]
        source: FetchError,
    },
    /// An API server's answer makes no sense.
    #[error("the API server of cluster {cluster} gives an answer that is none")]
    Malformed {
        /// The cluster.
        cluster: String,
    },
    /// Too much is asked of an API server already, or it takes too long.
    #[error("too many tokens of cluster {cluster} wait for their review")]
    Busy {
        /// The cluster.
        cluster: String,
    },
    /// The same token was under review for another request.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl Unavailable {
    /// Whether there is too much to do, rather than nobody to do it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Shared(inner) => inner.is_busy(),
            _ => false,
        }
    }
}
