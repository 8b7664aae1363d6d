//! What of a request rules are found by: the keys a rule needs one of, and the keys a request has.

use std::net::IpAddr;

use identity::x509::{Sha256Digest, X509Svid};
use ipnet::IpNet;

use crate::{
    matcher::{
        CertificateTest, CidrSet, PathSet, PathTemplate, RequestPrincipalPattern, Running,
        ServiceAccountPattern, TextPattern, TextSet,
    },
    rule::{Test, View},
};

use super::hash::{Form, Key};

/// An attribute with keys. Of those that serve equally well the first is taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Attribute {
    Principal,
    /// Segments of the SPIFFE ID after a segment `sa`.
    Account,
    /// Segments of the SPIFFE ID after a segment `ns`.
    Namespace,
    Host,
    Path,
    SourceIp,
    RemoteIp,
    DestinationIp,
    Sni,
    TrustDomain,
    DestinationPort,
    Method,
    /// Digest of the peer's certificate.
    Sha256,
    /// Digest of its public key.
    Spki,
    Serial,
    Issuer,
    /// The name in lower case.
    Header(Box<str>),
    /// The path of names.
    Claim(Box<[Box<str>]>),
}

impl Attribute {
    /// Those that are worth looking at before any whose name is part of them.
    pub(super) const FIRST: [Self; 16] = [
        Self::Principal,
        Self::Account,
        Self::Namespace,
        Self::Host,
        Self::Path,
        Self::SourceIp,
        Self::RemoteIp,
        Self::DestinationIp,
        Self::Sni,
        Self::TrustDomain,
        Self::DestinationPort,
        Self::Method,
        Self::Sha256,
        Self::Spki,
        Self::Serial,
        Self::Issuer,
    ];
}

/// Calls `give` with each attribute of which a request must have one of the keys for `test` to hold.
/// A test that says nothing here is one that rules are not found by.
pub(super) fn keys_of(test: &Test, give: &mut dyn FnMut(Attribute, Vec<Key>)) {
    let mut text = |attribute, set: &TextSet| {
        if let Some(keys) = text_keys(set) {
            give(attribute, keys);
        }
    };
    match test {
        Test::Principal(set) => text(Attribute::Principal, set),
        Test::TrustDomain(set) => text(Attribute::TrustDomain, set),
        Test::Sni(set) => text(Attribute::Sni, set),
        Test::Host(set) => text(Attribute::Host, set),
        Test::Method(set) => text(Attribute::Method, set),
        Test::Header(name, set) => text(Attribute::Header(name.clone()), set),
        Test::Claim(path, set) => text(Attribute::Claim(path.clone()), set),
        Test::Certificate(test) => keys_of_certificate(test, give),
        Test::Path(set) => {
            if let Some(keys) = path_keys(set) {
                give(Attribute::Path, keys);
            }
        }
        Test::Namespace(set) => {
            if let Some(names) = set.only_exact() {
                give(Attribute::Namespace, names.map(Key::exact).collect());
            }
        }
        Test::ServiceAccount(patterns) => {
            let keys = |of: fn(&ServiceAccountPattern) -> &str| {
                patterns
                    .iter()
                    .map(|pattern| Key::exact(of(pattern).as_bytes()))
                    .collect()
            };
            give(Attribute::Account, keys(ServiceAccountPattern::account));
            give(Attribute::Namespace, keys(ServiceAccountPattern::namespace));
        }
        Test::RequestPrincipal(patterns, names) => {
            let keys = |of: fn(&RequestPrincipalPattern) -> Option<&[u8]>| {
                patterns
                    .iter()
                    .map(|pattern| of(pattern).map(Key::exact))
                    .collect::<Option<Vec<_>>>()
            };
            let both = [
                (keys(RequestPrincipalPattern::only_subject), &names.subject),
                (keys(RequestPrincipalPattern::only_issuer), &names.issuer),
            ];
            for (keys, path) in both {
                if let Some(keys) = keys {
                    give(Attribute::Claim(path.clone().into()), keys);
                }
            }
        }
        Test::SourceIp(set) => give(Attribute::SourceIp, range_keys(set)),
        Test::RemoteIp(set) => give(Attribute::RemoteIp, range_keys(set)),
        Test::DestinationIp(set) => give(Attribute::DestinationIp, range_keys(set)),
        Test::DestinationPort(ports) => {
            give(
                Attribute::DestinationPort,
                ports.iter().copied().map(Key::number).collect(),
            );
        }
        Test::Metadata(_) => {}
    }
}

fn keys_of_certificate(test: &CertificateTest, give: &mut dyn FnMut(Attribute, Vec<Key>)) {
    let digests = |digests: &[Sha256Digest]| {
        digests
            .iter()
            .map(|digest| Key::exact(digest.as_bytes()))
            .collect()
    };
    let (attribute, keys) = match test {
        CertificateTest::Sha256(all) => (Attribute::Sha256, Some(digests(all))),
        CertificateTest::Spki(all) => (Attribute::Spki, Some(digests(all))),
        CertificateTest::Serial(set) => (Attribute::Serial, text_keys(set)),
        CertificateTest::Issuer(set) => (Attribute::Issuer, text_keys(set)),
        // There are few of each, or they are ranges.
        CertificateTest::KeyType(_)
        | CertificateTest::KeyBits(_)
        | CertificateTest::ExtendedKeyUsage(_)
        | CertificateTest::PolicyOid(_)
        | CertificateTest::NotAfterWithin(_)
        | CertificateTest::AgeLessThan(_) => return,
    };
    if let Some(keys) = keys {
        give(attribute, keys);
    }
}

fn path_keys(set: &PathSet) -> Option<Vec<Key>> {
    let mut keys = text_keys(set.texts())?;
    let shapes = set.templates().iter().map(PathTemplate::shape);
    keys.extend(shapes.map(|(shape, hash)| Key::segments(shape, hash)));
    Some(keys)
}

fn text_keys(set: &TextSet) -> Option<Vec<Key>> {
    set.patterns()?
        .map(|pattern| match pattern {
            TextPattern::Exact(value) => Some(Key::exact(value)),
            TextPattern::Prefix(value) => Key::affix(Form::Prefix, value),
            TextPattern::Suffix(value) => Key::affix(Form::Suffix, value),
        })
        .collect()
}

fn range_keys(set: &CidrSet) -> Vec<Key> {
    set.ranges()
        .map(|range| match range {
            IpNet::V4(range) => v4_key(range.prefix_len(), range.network().into()),
            IpNet::V6(range) => v6_key(range.prefix_len(), range.network().into()),
        })
        .collect()
}

impl Attribute {
    /// Calls `visit` with each key of the request that has one of `forms`, which are in ascending order.
    pub(super) fn keys_in(&self, view: &View<'_>, forms: &[Form], visit: &mut dyn FnMut(Key)) {
        let request = view.request;
        let mut text = |value: Option<&[u8]>| {
            if let Some(value) = value {
                keys_of_text(value, forms, visit);
            }
        };
        let certificate = || view.certificate();
        match self {
            Self::Principal => text(view.principal()),
            Self::TrustDomain => text(view.trust_domain().map(str::as_bytes)),
            Self::Sni => text(request.sni),
            Self::Method => text(request.method),
            Self::Serial => text(certificate().map(|found| found.serial_hex().as_bytes())),
            Self::Issuer => text(certificate().map(|found| found.issuer().as_bytes())),
            Self::Header(name) => {
                view.any_header(name, &mut |value| {
                    text(Some(value));
                    // Every value is wanted.
                    false
                });
            }
            Self::Claim(path) => {
                if let Some(claims) = request.claims {
                    claims.any(path, &mut |value| {
                        text(Some(value));
                        // Every value is wanted.
                        false
                    });
                }
            }
            Self::Path => {
                if let Some(path) = view.path {
                    keys_of_text(path, forms, visit);
                    keys_of_segments(path, forms, visit);
                }
            }
            Self::Host => {
                if let Some(host) = request.host {
                    keys_of_host(host, forms, visit);
                }
            }
            Self::Namespace => {
                if let Some(peer) = view.slash_principal() {
                    peer.any_namespace(&mut |name| every(name.as_bytes(), visit));
                }
            }
            Self::Account => {
                if let Some(peer) = view.slash_principal() {
                    peer.any_account(&mut |name| every(name.as_bytes(), visit));
                }
            }
            Self::SourceIp => keys_of_address(request.source_ip, forms, visit),
            Self::RemoteIp => keys_of_address(request.remote_ip, forms, visit),
            Self::DestinationIp => keys_of_address(request.destination_ip, forms, visit),
            Self::DestinationPort => {
                if let Some(port) = request.destination_port {
                    visit(Key::number(port));
                }
            }
            Self::Sha256 => {
                let digests =
                    certificate().map(|found| [Some(found.sha256()), found.twin_sha256()]);
                digests
                    .into_iter()
                    .flatten()
                    .flatten()
                    .for_each(|digest| visit(Key::exact(digest.as_bytes())));
            }
            Self::Spki => {
                if let Some(found) = certificate().map(X509Svid::spki_sha256) {
                    visit(Key::exact(found.as_bytes()));
                }
            }
        }
    }
}

fn keys_of_segments(path: &[u8], forms: &[Form], visit: &mut dyn FnMut(Key)) {
    for form in forms {
        if let Form::Segments(shape) = form
            && let Some(hash) = shape.hash(path.split(|byte| *byte == b'/'))
        {
            visit(Key::segments(*shape, hash));
        }
    }
}

/// Visits the value and asks for the next.
fn every(value: &[u8], visit: &mut dyn FnMut(Key)) -> bool {
    visit(Key::exact(value));
    false
}

fn keys_of_text(value: &[u8], forms: &[Form], visit: &mut dyn FnMut(Key)) {
    affixes(value.iter().copied(), forms, visit);
    if forms.first() == Some(&Form::Exact) {
        visit(Key::exact(value));
    }
}

/// The same in ASCII lower case.
fn keys_of_host(value: &[u8], forms: &[Form], visit: &mut dyn FnMut(Key)) {
    affixes(value.iter().map(u8::to_ascii_lowercase), forms, visit);
    if forms.first() == Some(&Form::Exact) {
        visit(Key::exact_without_case(value));
    }
}

/// One pass from the beginning as far as the longest prefix asked for, and one from the end.
fn affixes(
    value: impl DoubleEndedIterator<Item = u8> + Clone,
    forms: &[Form],
    visit: &mut dyn FnMut(Key),
) {
    if forms == [Form::Exact] {
        return;
    }
    let (mut prefix, mut suffix) = (Reader::new(value.clone()), Reader::new(value.rev()));
    for form in forms {
        let key = match form {
            Form::Prefix(length) => prefix.upto(*length).map(|read| Key::read(*form, read)),
            Form::Suffix(length) => suffix.upto(*length).map(|read| Key::read(*form, read)),
            Form::Exact | Form::Segments(_) | Form::V4(_) | Form::V6(_) => None,
        };
        if let Some(key) = key {
            visit(key);
        }
    }
}

/// Bytes and the hash of those that were read.
struct Reader<I> {
    bytes: I,
    read: u32,
    hash: Running,
}

impl<I: Iterator<Item = u8>> Reader<I> {
    fn new(bytes: I) -> Self {
        Self {
            bytes,
            read: 0,
            hash: Running::default(),
        }
    }

    /// The hash of the first `length` bytes, at least as many as were asked for before; `None` if there are fewer.
    fn upto(&mut self, length: u32) -> Option<Running> {
        while self.read < length {
            self.hash = self.hash.with(self.bytes.next()?);
            self.read = self.read.saturating_add(1);
        }
        Some(self.hash)
    }
}

fn keys_of_address(address: Option<IpAddr>, forms: &[Form], visit: &mut dyn FnMut(Key)) {
    let Some(address) = address else { return };
    let address = address.to_canonical();
    for form in forms {
        match (form, address) {
            (Form::V4(length), IpAddr::V4(address)) => visit(v4_key(*length, address.into())),
            (Form::V6(length), IpAddr::V6(address)) => visit(v6_key(*length, address.into())),
            _ => {}
        }
    }
}

fn v4_key(length: u8, address: u32) -> Key {
    let host_bits = 32_u32.saturating_sub(length.into());
    let network = address & u32::MAX.checked_shl(host_bits).unwrap_or(0);
    Key::bits(Form::V4(length), network.into())
}

fn v6_key(length: u8, address: u128) -> Key {
    let host_bits = 128_u32.saturating_sub(length.into());
    let network = address & u128::MAX.checked_shl(host_bits).unwrap_or(0);
    Key::bits(Form::V6(length), network)
}
