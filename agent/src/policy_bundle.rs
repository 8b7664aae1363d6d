//! Signed policy bundles on their way from the authority to the filters.
//!
//! The agent does not know what policies say. It checks that a bundle is one that filters would verify, and hands it
//! on as it came.

use std::{collections::BTreeMap, sync::Arc};

use axum::body::Bytes;
use identity::{
    UnixTime,
    deny_list::{ListKey, ListSigners},
    policy_bundle::{Bundle, BundleName, Check, Head, PolicyBundleError, verify},
    signed::Proof,
};

use crate::deny_list::AwsLc;

/// A verified bundle as the filters get it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HeldBundle {
    head: Head,
    bytes: Bytes,
}

impl HeldBundle {
    /// Checks a bundle with the keys of the trust bundle, as every filter will with what it pins, so that one that no
    /// filter would take does not replace one they do.
    ///
    /// # Errors
    /// [`PolicyBundleError`]; the bundle held before stays.
    pub(crate) fn accept(
        bytes: Vec<u8>,
        keys: &[ListKey],
        held: &BTreeMap<BundleName, Arc<Self>>,
        now: UnixTime,
    ) -> Result<Self, PolicyBundleError> {
        let bundle = Bundle::parse(&bytes)?;
        let signers = ListSigners::Keys(keys.to_vec());
        let mut check = Check {
            proof: Proof {
                signers: &signers,
                verifier: &AwsLc,
                now,
                denied: None,
            },
            name: None,
            floor: None,
            at_least: 0,
        };
        let head = verify(bundle.head, &check)?;
        if let Some(held) = held.get(&head.name) {
            check.floor = Some(held.head.position());
            head.check(&check)?;
        }
        head.check_body(bundle.body)?;
        Ok(Self {
            head,
            bytes: bytes.into(),
        })
    }

    /// The signed part.
    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// The bundle as it travels.
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}
