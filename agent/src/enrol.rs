//! The agent's first certificate: renewed from the one it kept, or bought with a join token.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use identity::{SpiffeId, chain};
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::{
    clock,
    data_dir::{DataDir, DataDirError},
    key::{KeyError, PrivateKey},
    link::{CallError, JoinToken, Link, LinkError, Request, create_certificate},
    schedule::Backoff,
    settings::Settings,
    svid::{ChainError, Svid},
    upkeep::new_key,
};

/// Gets the agent its certificate and keeps it. Waits for the authority for ever; a refusal ends it.
///
/// # Errors
/// [`EnrolError`].
pub(crate) async fn enrol(
    settings: &Settings,
    link: &Link,
    data_dir: &DataDir,
) -> Result<Svid, EnrolError> {
    let Some(kept) = data_dir.load(settings.svid_profile)? else {
        return join(settings, link, data_dir).await;
    };
    // The file of a token that was spent is gone; what is there is a token for this case.
    let can_join = settings
        .join_token_file
        .as_deref()
        .is_some_and(Path::exists);
    if !link.vouches_for(&kept, clock::now()) {
        warn!(
            spiffe_id = %kept.id(),
            "the certificate kept from last time has expired or is of another authority than the \
             trust bundle's"
        );
        // An authority that does not know the certificate's issuer may just hang up, which looks
        // like an authority that is away: without a token there is nothing better than to try.
        if can_join {
            return join(settings, link, data_dir).await;
        }
    }
    match renew(settings, link, &kept).await {
        Ok(renewed) => {
            // Killed between keeping what the token bought and tidying up.
            if data_dir.join_was_answered(&kept)? {
                tidy_up(settings.join_token_file.as_deref(), data_dir)?;
            }
            data_dir.store(&renewed)?;
            Ok(renewed)
        }
        Err(error) if can_join => {
            warn!(error = %chain(&error), "the kept certificate is not renewed; joining anew");
            join(settings, link, data_dir).await
        }
        Err(error) => Err(error),
    }
}

/// Renews the kept certificate, which is the proof, for a new key.
async fn renew(settings: &Settings, link: &Link, kept: &Svid) -> Result<Svid, EnrolError> {
    if let Some(expected) = settings.spiffe_id.as_ref().filter(|id| *id != kept.id()) {
        return Err(EnrolError::Chain(ChainError::OtherIdentity {
            wanted: expected.clone(),
            found: kept.id().clone(),
        }));
    }
    let not_after = kept.not_after();
    if kept.has_expired(clock::now()) {
        return Err(EnrolError::KeptExpired {
            not_after: not_after.as_secs(),
        });
    }
    let channel = link.authenticated(kept)?;
    let key = new_key(settings.key_algorithm).await?;
    let chain = tokio::select! {
        chain = insist(channel, &key, Some(kept.id()), None) => chain?,
        () = clock::sleep_until(not_after) => {
            return Err(EnrolError::KeptExpired { not_after: not_after.as_secs() });
        }
    };
    info!(spiffe_id = %kept.id(), "renewed the certificate kept from last time");
    Ok(Svid::from_answer(key, &chain, settings.svid_profile)?
        .expect(Some(kept.id()), clock::now())?)
}

/// Spends the join token. The key is kept before the token is shown: if the answer is lost, the
/// authority repeats it for the same key only.
async fn join(settings: &Settings, link: &Link, data_dir: &DataDir) -> Result<Svid, EnrolError> {
    let path = settings
        .join_token_file
        .as_deref()
        .ok_or(EnrolError::NoProof)?;
    let token = read_token(path)?;
    let key = data_dir.join_key(settings.key_algorithm)?;
    let id = settings.spiffe_id.as_ref();
    let chain = insist(link.anonymous()?, &key, id, Some(&token)).await?;
    let svid = Svid::from_answer(key, &chain, settings.svid_profile)?.expect(id, clock::now())?;
    data_dir.store(&svid)?;
    tidy_up(Some(path), data_dir)?;
    info!(spiffe_id = %svid.id(), "joined");
    Ok(svid)
}

/// Deletes a spent token and then the key it was spent with, which tells that this is still to be done.
fn tidy_up(token: Option<&Path>, data_dir: &DataDir) -> Result<(), EnrolError> {
    if let Some(path) = token {
        match fs::remove_file(path) {
            Ok(()) => info!(path = %path.display(), "join token used and its file deleted"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!(
                path = %path.display(),
                %error,
                "join token used, but its file cannot be deleted; it is worthless now"
            ),
        }
    }
    Ok(data_dir.forget_join_key()?)
}

/// Asks until there is an answer or a refusal.
async fn insist(
    channel: Channel,
    key: &PrivateKey,
    id: Option<&SpiffeId>,
    token: Option<&JoinToken>,
) -> Result<Vec<String>, EnrolError> {
    let csr_pem = key.csr(id)?;
    let mut backoff = Backoff::default();
    loop {
        let request = Request {
            csr_pem: csr_pem.clone(),
            ttl_seconds: 0,
            workload: None,
            token,
        };
        match create_certificate(channel.clone(), request).await {
            Ok(chain) => return Ok(chain),
            Err(error) if error.is_permanent() => return Err(EnrolError::Call(error)),
            Err(error) => {
                let pause = backoff.next(clock::jitter());
                warn!(error = %chain(&error), retry_in = ?pause, "waiting for the authority");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

fn read_token(path: &Path) -> Result<JoinToken, EnrolError> {
    let text = fs::read_to_string(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|source| EnrolError::TokenFile {
            path: path.to_owned(),
            source,
        })?;
    JoinToken::new(&text).ok_or_else(|| EnrolError::EmptyToken {
        path: path.to_owned(),
    })
}

/// Why the agent has no certificate to start with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// It has neither a certificate nor a token.
    #[error(
        "nothing to prove this agent's identity with: no certificate from an earlier run and no \
         join token file"
    )]
    NoProof,
    /// Its certificate is over and it has no token.
    #[error(
        "the agent's kept certificate expired at {not_after} (seconds since 1970); join with a \
         new token"
    )]
    KeptExpired {
        /// End of validity, seconds since the epoch.
        not_after: i64,
    },
    /// The token cannot be read.
    #[error("cannot read the join token file {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no token in the file.
    #[error("the join token file {} is empty", path.display())]
    EmptyToken {
        /// The file.
        path: PathBuf,
    },
    /// The authority refuses, or is not the authority.
    #[error(transparent)]
    Call(CallError),
    /// The authority cannot be called.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// No key or request.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What the authority gave (or what was kept) is not used.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}
