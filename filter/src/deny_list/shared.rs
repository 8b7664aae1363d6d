//! The deny list as the proxy's threads share it.
//!
//! One of them fetches for all, by a [lease](crate::deny_list::lease). It puts the last changes, the records and
//! then the signed head into shared data, so that what a head stands for is there before it. Any plug-in of the same VM id can write there: what is read is verified like what the
//! agent sends, and what does not verify makes its reader fetch by itself.

use std::collections::BTreeSet;

use identity::UnixTime;
use identity::deny_list::{
    Check, DenyList, DenyListError, Entries, ListSigners, MAX_HEAD_BYTES, Update, verify,
};
use identity::x509::Sha256Digest;

use crate::deny_list::floor::Floor;
use crate::deny_list::poller::Held;
use crate::deny_list::settings::DenyListSettings;
use crate::host::{Host, HostError};
use crate::signature::ProxyVerifier;

/// Longest update that is shared as it came, in bytes; beyond it readers take the records whole.
const MAX_SHARED_UPDATE_BYTES: usize = 64 * 1024;

/// Names of the shared values. They differ by trust domain and signers: shared data outlives every
/// configuration, and an authority that was made anew counts from the beginning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    /// Oldest list accepted; see [`floor`](crate::deny_list::floor).
    pub floor: String,
    /// Who fetches, and until when.
    pub lease: String,
    /// The newest signed head.
    pub head: String,
    /// The records of its entries.
    pub entries: String,
    /// The update that brought it.
    pub update: String,
    /// What the names differ by: the trust domain, and the digest of the signers.
    pub signers: String,
}

impl Keys {
    /// The names for the lists of a trust domain that these may sign.
    #[must_use]
    pub fn of(trust_domain: &str, signers: &ListSigners) -> Self {
        let signers = match signers {
            ListSigners::Keys(keys) => {
                let kids: BTreeSet<_> = keys.iter().map(|key| key.kid().to_owned()).collect();
                kids.into_iter().collect::<Vec<_>>().join(",")
            }
            ListSigners::Authority { id, issuers } => {
                let issuers: BTreeSet<_> = issuers
                    .iter()
                    .map(|issuer| Sha256Digest::of(issuer.spki_der()).to_string())
                    .collect();
                let issuers = issuers.into_iter().collect::<Vec<_>>().join(",");
                format!("{id} {issuers}")
            }
        };
        let signers = format!("{trust_domain}/{}", Sha256Digest::of(signers.as_bytes()));
        let key = |what: &str| format!("countersign.deny_list.{what}/{signers}");
        Self {
            floor: key("floor"),
            lease: key("lease"),
            head: key("head"),
            entries: key("entries"),
            update: key("update"),
            signers,
        }
    }
}

/// What a head is held against: `lowest` is the shared floor, `own` the list in hand.
#[must_use]
pub fn check<'a>(
    settings: &'a DenyListSettings,
    verifier: &'a ProxyVerifier<'_, impl Host>,
    now: UnixTime,
    lowest: Option<Floor>,
    own: Option<&'a DenyList>,
) -> Check<'a> {
    let floors = [settings.floor, lowest, own.map(DenyList::position)];
    Check {
        signers: &settings.signers,
        verifier,
        now,
        floor: floors.into_iter().flatten().max(),
        held: own,
    }
}

/// Why there is no newer list to be had from shared data.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The proxy did not answer.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What is there does not verify.
    #[error(transparent)]
    Refused(#[from] DenyListError),
}

/// Reads the shared head, as it is.
///
/// # Errors
/// The proxy did not answer, or the head is too long.
pub fn head<H: Host>(host: &H, keys: &Keys) -> Result<Option<Vec<u8>>, Unusable> {
    let Some((head, _version)) = host.shared_data(&keys.head)? else {
        return Ok(None);
    };
    if head.len() > MAX_HEAD_BYTES {
        return Err(DenyListError::HeadTooLarge { len: head.len() }.into());
    }
    Ok(Some(head))
}

/// Verifies a shared head and, where it is newer than what is held, finds its entries: those in hand,
/// those in hand with the shared changes, or the shared records. `None` where it is not newer.
///
/// # Errors
/// [`Unusable`]: a signature, a number or the entries are not right, or the proxy did not answer.
pub fn list<H: Host>(
    host: &H,
    keys: &Keys,
    head: &[u8],
    check: &Check<'_>,
) -> Result<Option<Held>, Unusable> {
    let held = check.held;
    let verified = match verify(head, check) {
        Err(DenyListError::RolledBack {
            epoch, sequence, ..
        }) if held.is_some_and(|held| (epoch, sequence) <= held.position()) => return Ok(None),
        verified => verified?,
    };
    if held.is_some_and(|held| verified.position() <= held.position()) {
        return Ok(None);
    }
    let same = held.filter(|held| held.entries().digest() == verified.entries_sha256);
    let list = match same {
        Some(held) => DenyList::new(verified, held.entries().clone())?,
        None => match changed(host, keys, head, check)? {
            Some(list) => list,
            None => {
                let records = host.shared_data(&keys.entries)?.unwrap_or_default().0;
                let entries = Entries::from_records(records).map_err(DenyListError::from)?;
                DenyList::new(verified, entries.into())?
            }
        },
    };
    Ok(Some(Held {
        list: list.into(),
        head: head.into(),
    }))
}

/// The list by the shared changes, where these lead from the list in hand to the head.
fn changed<H: Host>(
    host: &H,
    keys: &Keys,
    head: &[u8],
    check: &Check<'_>,
) -> Result<Option<DenyList>, Unusable> {
    let Some(held) = check.held else {
        return Ok(None);
    };
    let (bytes, _version) = host.shared_data(&keys.update)?.unwrap_or_default();
    let update = Update::parse(bytes).ok();
    let update =
        update.filter(|update| update.head() == head && update.base() == Some(held.position()));
    // Where they do not lead there after all, the records are there still.
    Ok(update.and_then(|update| update.verify(check).ok()))
}

/// Hands a list on to the proxy's other threads; `update` is what it came in, `before` what was held.
///
/// # Errors
/// The proxy did not take it: the others then fetch by themselves.
pub fn publish<H: Host>(
    host: &H,
    keys: &Keys,
    held: &Held,
    update: Option<&[u8]>,
    before: Option<&DenyList>,
) -> Result<(), HostError> {
    let entries = held.list.entries();
    if before.is_none_or(|before| before.entries().digest() != entries.digest()) {
        host.set_shared_data(&keys.update, update.unwrap_or_default(), 0)?;
        host.set_shared_data(&keys.entries, entries.as_bytes(), 0)?;
    }
    host.set_shared_data(&keys.head, &held.head, 0)
}

/// The update to share, where it is short enough.
#[must_use]
pub fn short_enough(update: &[u8]) -> Option<Vec<u8>> {
    (update.len() <= MAX_SHARED_UPDATE_BYTES).then(|| update.to_vec())
}
