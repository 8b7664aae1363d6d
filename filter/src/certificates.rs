//! Certificates seen, by their digest, so that each is parsed and its signature verified once.
//!
//! What is kept is about the certificate alone: its facts, or what is wrong with it. Dates, deny list
//! and policies are looked at on every request. Each configuration has a store of its own: what was found
//! out with the issuers of one must not count in another.

use std::rc::Rc;

use identity::x509::{Sha256Digest, X509Svid};
use policy::PeerFault;

use crate::recent::Recent;

/// What is known of one certificate.
pub type Known = Result<Rc<X509Svid>, PeerFault>;

/// Most certificates kept: about 1 MB at 2 KB each.
pub const MAX_CERTIFICATES: usize = 512;

/// The certificates used lately.
pub type Certificates = Recent<Sha256Digest, Known>;
