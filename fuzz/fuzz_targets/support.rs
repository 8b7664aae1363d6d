//! A signer whose signatures are all good, so that what they cover is reached.

use std::sync::LazyLock;

use identity::UnixTime;
use identity::deny_list::{ListKey, ListSigners};
use identity::x509::{BadSignature, SignatureAlgorithm, VerifySignature};

/// Every signature is good, so that what it covers is reached.
pub struct Accepts;

impl VerifySignature for Accepts {
    fn verify(
        &self,
        _: SignatureAlgorithm,
        _: &[u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), BadSignature> {
        Ok(())
    }
}

/// A key, never used: the generator of P-256.
pub static KEY: LazyLock<ListKey> = LazyLock::new(|| {
    let spki = hex::decode(
        "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f2\
         77037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb640\
         6837bf51f5",
    )
    .unwrap();
    ListKey::from_spki_der(&spki).unwrap()
});

pub static SIGNERS: LazyLock<ListSigners> = LazyLock::new(|| ListSigners::Keys(vec![KEY.clone()]));

/// 2026-01-01T00:00:00Z, the time of the seeds.
pub const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);
