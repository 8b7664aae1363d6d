//! For each lint a certificate that fails it, beside the one that passes them all.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SanType, SerialNumber,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::*;
use crate::ca::CaCertificate;

const ID: &str = "spiffe://example.org/ns/a/sa/b";

struct World {
    root: CaCertificate,
    intermediate: CaCertificate,
    key: KeyPair,
    params: CertificateParams,
}

impl World {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// A root and an intermediate, whose parameters `change` may change.
    fn with(change: impl Fn(&str, &mut CertificateParams)) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut root = ca("root", 1);
        change("root", &mut root);
        let root_certificate = root.self_signed(&root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = ca("intermediate", 0);
        change("intermediate", &mut params);
        let issuer = Issuer::new(root, &root_key);
        let intermediate = params.signed_by(&key, &issuer).unwrap();
        Self {
            root: CaCertificate::from_der(root_certificate.der().to_vec()).unwrap(),
            intermediate: CaCertificate::from_der(intermediate.der().to_vec()).unwrap(),
            key,
            params,
        }
    }

    fn chain(&self) -> ChainFacts {
        ChainFacts::read(&[&self.intermediate, &self.root])
    }

    fn sign(&self, leaf: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        let issuer = Issuer::new(self.params.clone(), &self.key);
        leaf.signed_by(key, &issuer).unwrap().der().to_vec()
    }

    fn failed(&self, der: &[u8]) -> Vec<Lint> {
        let found = findings(der, Purpose::Tls, &self.chain());
        assert_eq!(
            check(der, Purpose::Tls, &self.chain()).err(),
            found.first().cloned()
        );
        found.into_iter().map(|error| error.lint).collect()
    }

    /// What fails of a leaf that was changed so.
    fn changed(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<Lint> {
        let mut params = leaf();
        change(&mut params);
        self.failed(&self.sign(&params, &KeyPair::generate().unwrap()))
    }

    /// What fails of a leaf in whose DER these bytes were replaced.
    fn patched(&self, from: &[u8], to: &[u8]) -> Vec<Lint> {
        let mut der = self.sign(&leaf(), &KeyPair::generate().unwrap());
        let at = der
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        der[at..at + to.len()].copy_from_slice(to);
        self.failed(&der)
    }
}

fn ca(name: &str, path_length: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = at("2026-01-01T00:00:00Z");
    params.not_after = at("2060-01-01T00:00:00Z");
    params
}

/// One that passes.
fn leaf() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&[0x40; 16]));
    params.not_before = at("2027-01-01T00:00:00Z");
    params.not_after = at("2027-01-02T00:00:00Z");
    params.subject_alt_names = vec![uri(ID)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn at(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().unwrap())
}

fn dns_name(text: &str) -> SanType {
    SanType::DnsName(text.to_owned().try_into().unwrap())
}

fn names(params: &mut CertificateParams, names: Vec<SanType>) {
    params.subject_alt_names = names;
}

#[test]
fn a_good_leaf_passes_with_every_kind_of_key() {
    let world = World::new();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        assert_eq!(world.failed(&world.sign(&leaf(), &key)), []);
    }
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    assert_eq!(world.failed(&world.sign(&leaf(), &rsa)), [Lint::KeyUsage]);
    let mut params = leaf();
    params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    assert_eq!(world.failed(&world.sign(&params, &rsa)), []);
    // RFC 5280 §4.2.1.12: not for a client alone.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = |params: &CertificateParams| {
        let found = findings(
            &world.sign(params, &rsa),
            Purpose::TlsClient,
            &world.chain(),
        );
        found
            .into_iter()
            .map(|error| error.lint)
            .collect::<Vec<_>>()
    };
    assert_eq!(client(&params), [Lint::KeyUsage]);
    params.key_usages.pop();
    assert_eq!(client(&params), []);
    let mut params = leaf();
    params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    // RFC 8813 §3: not for an EC key.
    let ec = KeyPair::generate().unwrap();
    assert_eq!(world.failed(&world.sign(&params, &ec)), [Lint::KeyUsage]);
}

#[test]
fn encoding() {
    let world = World::new();
    let der = world.sign(&leaf(), &KeyPair::generate().unwrap());
    assert_eq!(world.failed(&[&der[..], &[0]].concat()), [Lint::Encoding]);
    assert_eq!(world.failed(&der[..der.len() - 1]), [Lint::Encoding]);
    assert_eq!(world.failed(&[]), [Lint::Encoding]);
}

#[test]
fn version() {
    assert_eq!(
        World::new().patched(&[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1]),
        [Lint::Version]
    );
}

#[test]
fn serial_number() {
    let world = World::new();
    for bad in [vec![0x7f; 7], vec![0x01], vec![0x40; 21]] {
        let failed =
            world.changed(|leaf| leaf.serial_number = Some(SerialNumber::from_slice(&bad)));
        assert_eq!(failed, [Lint::SerialNumber], "{bad:?}");
    }
    for good in [vec![0x80; 8], vec![0x7f; 19]] {
        let failed =
            world.changed(|leaf| leaf.serial_number = Some(SerialNumber::from_slice(&good)));
        assert_eq!(failed, [], "{good:?}");
    }
    assert_eq!(
        world.patched(&[2, 16, 0x40], &[2, 16, 0xc0]),
        [Lint::SerialNumber]
    );
}

#[test]
fn signature_algorithm() {
    let world = World::new();
    // ecdsa-with-SHA256 to SHA384 in the part that is signed, and not outside.
    let identifier = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let other = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    assert_eq!(
        world.patched(&identifier, &other),
        [Lint::SignatureAlgorithm]
    );
    // Another kind of key signs than the issuer's certificate has.
    let mut forged = World::new();
    forged.key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let der = forged.sign(&leaf(), &KeyPair::generate().unwrap());
    assert_eq!(forged.failed(&der)[0], Lint::SignatureAlgorithm);
}

#[test]
fn issuer_name() {
    let mut world = World::new();
    world
        .params
        .distinguished_name
        .push(DnType::CommonName, "somebody");
    let der = world.sign(&leaf(), &KeyPair::generate().unwrap());
    assert_eq!(world.failed(&der), [Lint::IssuerName]);
    world.params.distinguished_name = DistinguishedName::new();
    let der = world.sign(&leaf(), &KeyPair::generate().unwrap());
    assert_eq!(world.failed(&der), [Lint::IssuerName]);
}

#[test]
fn validity_order_and_lifetimes() {
    let world = World::new();
    let failed = world.changed(|leaf| leaf.not_after = at("2026-12-31T00:00:00Z"));
    assert_eq!(failed, [Lint::ValidityOrder]);
    let failed = world.changed(|leaf| leaf.not_before = at("2025-12-31T23:59:59Z"));
    assert_eq!(failed, [Lint::Lifetimes]);
    let failed = world.changed(|leaf| leaf.not_after = at("2060-01-01T00:00:01Z"));
    assert_eq!(failed, [Lint::Lifetimes]);
    // The root's end counts, too.
    let short = World::with(|name, params| {
        if name == "root" {
            params.not_after = at("2027-01-01T12:00:00Z");
        }
    });
    assert_eq!(short.changed(|_| {}), [Lint::Lifetimes]);
}

#[test]
fn time_encoding() {
    let world = World::new();
    assert_eq!(
        world.changed(|leaf| leaf.not_after = at("2055-01-01T00:00:00Z")),
        []
    );
    // GeneralizedTime 2055 made 2045: a year that UTCTime is for.
    let mut params = leaf();
    params.not_after = at("2055-01-01T00:00:00Z");
    let mut der = world.sign(&params, &KeyPair::generate().unwrap());
    let at = der
        .windows(5)
        .position(|window| window == b"\x0f2055")
        .unwrap();
    der[at + 3] = b'4';
    assert_eq!(world.failed(&der), [Lint::TimeEncoding]);
}

#[test]
fn subject_key() {
    let world = World::new();
    let der = world.sign(&leaf(), &world.key);
    assert_eq!(world.failed(&der), [Lint::SubjectKey]);
}

#[test]
fn extension_set() {
    let world = World::new();
    let extension =
        |oid: &[u64], content: &[u8]| CustomExtension::from_oid_content(oid, content.to_vec());
    // Netscape comment.
    let failed = world.changed(|leaf| {
        let oid = [2, 16, 840, 1, 113_730, 1, 13];
        leaf.custom_extensions
            .push(extension(&oid, &[0x16, 1, b'x']));
    });
    assert_eq!(failed, [Lint::ExtensionSet]);
    let failed = world.changed(|leaf| {
        leaf.custom_extensions
            .push(extension(&[2, 5, 29, 14], &[4, 1, 1]));
    });
    assert!(failed.contains(&Lint::ExtensionSet), "{failed:?}");
}

#[test]
fn criticality() {
    let world = World::new();
    // keyUsage, critical, to not critical: the BOOLEAN is FALSE, which DER leaves out, but parses.
    let failed = world.patched(
        &[6, 3, 0x55, 0x1d, 15, 1, 1, 0xff],
        &[6, 3, 0x55, 0x1d, 15, 1, 1, 0],
    );
    assert_eq!(failed, [Lint::Criticality]);
}

#[test]
fn one_uri() {
    let world = World::new();
    for bad in [
        vec![uri(ID), uri("spiffe://example.org/ns/a/sa/c")],
        vec![dns_name("a.example.org")],
        vec![uri("https://example.org/a")],
        vec![uri("spiffe://example.org")],
        vec![uri("spiffe://example.org/a/../b")],
        vec![uri("spiffe://EXAMPLE.org/a")],
    ] {
        let shown = format!("{bad:?}");
        assert_eq!(
            world.changed(|leaf| names(leaf, bad)),
            [Lint::OneUri],
            "{shown}"
        );
    }
    let without = world.changed(|leaf| names(leaf, Vec::new()));
    assert!(without.contains(&Lint::OneUri), "{without:?}");
}

#[test]
fn san_criticality() {
    let world = World::new();
    // rcgen makes the names critical if the subject is empty; so make the other one of it.
    let failed = world.patched(
        &[6, 3, 0x55, 0x1d, 17, 1, 1, 0xff],
        &[6, 3, 0x55, 0x1d, 17, 1, 1, 0],
    );
    assert_eq!(failed, [Lint::SanCriticality]);
    let named = world.changed(|leaf| {
        leaf.distinguished_name.push(DnType::CommonName, "web");
    });
    assert_eq!(named, [], "a subject, and names that are not critical");
}

#[test]
fn other_names() {
    let world = World::new();
    for bad in [
        vec![
            uri(ID),
            dns_name("a.example.org"),
            dns_name("a.example.org"),
        ],
        vec![uri(ID), dns_name("A.example.org")],
        vec![uri(ID), dns_name("*.org")],
        vec![
            uri(ID),
            SanType::Rfc822Name("a@example.org".to_owned().try_into().unwrap()),
        ],
    ] {
        let shown = format!("{bad:?}");
        assert_eq!(
            world.changed(|leaf| names(leaf, bad)),
            [Lint::OtherNames],
            "{shown}"
        );
    }
    let good = vec![
        uri(ID),
        dns_name("*.shop.example.org"),
        dns_name("shop.example.org"),
    ];
    assert_eq!(world.changed(|leaf| names(leaf, good)), []);
}

#[test]
fn basic_constraints() {
    let world = World::new();
    // rcgen leaves the subject key identifier out with them.
    let failed = world.changed(|leaf| leaf.is_ca = IsCa::NoCa);
    assert_eq!(failed, [Lint::BasicConstraints, Lint::KeyIdentifiers]);
    let failed = world.changed(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(failed, [Lint::BasicConstraints]);
}

#[test]
fn key_usage() {
    let world = World::new();
    for bad in [
        vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ],
        vec![KeyUsagePurpose::KeyAgreement],
        vec![],
    ] {
        let shown = format!("{bad:?}");
        assert_eq!(
            world.changed(|leaf| leaf.key_usages = bad),
            [Lint::KeyUsage],
            "{shown}"
        );
    }
}

#[test]
fn extended_key_usage() {
    let world = World::new();
    let (server, client) = (
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    let leaf_for = |purposes: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = leaf();
        params.extended_key_usages = purposes;
        world.sign(&params, &KeyPair::generate().unwrap())
    };
    let both = vec![server.clone(), client.clone()];
    for (purpose, good) in [
        (Purpose::Tls, both.clone()),
        (Purpose::TlsServer, vec![server.clone()]),
        (Purpose::TlsClient, vec![client.clone()]),
        (Purpose::ListSigning, vec![]),
    ] {
        for purposes in [
            both.clone(),
            vec![server.clone()],
            vec![client.clone()],
            vec![],
            vec![
                server.clone(),
                client.clone(),
                ExtendedKeyUsagePurpose::CodeSigning,
            ],
            vec![ExtendedKeyUsagePurpose::Any],
        ] {
            let found = findings(&leaf_for(purposes.clone()), purpose, &world.chain());
            let failed: Vec<Lint> = found.into_iter().map(|error| error.lint).collect();
            let wanted: &[Lint] = if purposes == good {
                &[]
            } else {
                &[Lint::ExtendedKeyUsage]
            };
            assert_eq!(failed, wanted, "{purpose:?} {purposes:?}");
        }
    }
}

#[test]
fn key_identifiers() {
    let world = World::new();
    let failed = world.changed(|leaf| leaf.use_authority_key_identifier_extension = false);
    assert_eq!(failed, [Lint::KeyIdentifiers]);
    // Another authority key identifier than the issuer's subject key identifier.
    let id = world.intermediate.key_id().to_vec();
    let mut other = id.clone();
    other[0] ^= 1;
    assert_eq!(world.patched(&id, &other), [Lint::KeyIdentifiers]);
}

#[test]
fn chain() {
    let world = World::new();
    let stranger = World::new();
    let broken = ChainFacts::read(&[&world.intermediate, &stranger.root]);
    let der = world.sign(&leaf(), &KeyPair::generate().unwrap());
    let failed = |chain: &ChainFacts| {
        let found = findings(&der, Purpose::Tls, chain);
        found
            .into_iter()
            .map(|error| error.lint)
            .collect::<Vec<_>>()
    };
    assert_eq!(failed(&broken), [Lint::Chain]);
    assert!(failed(&ChainFacts::read(&[])).contains(&Lint::Chain));
    assert_eq!(failed(&ChainFacts::read(&[&world.intermediate])), []);
}

#[test]
fn path_length() {
    let none_below = World::with(|name, params| {
        if name == "root" {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }
    });
    assert_eq!(none_below.changed(|_| {}), [Lint::PathLength]);
    let any = World::with(|_, params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(any.changed(|_| {}), []);
}

#[test]
fn name_constraints() {
    let constrained = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        World::with(move |name, params| {
            if name == "root" {
                params.name_constraints = Some(NameConstraints {
                    permitted_subtrees: permitted.clone(),
                    excluded_subtrees: excluded.clone(),
                });
            }
        })
    };
    let dns = |text: &str| GeneralSubtree::DnsName(text.to_owned());
    let with_dns = |leaf: &mut CertificateParams| {
        names(leaf, vec![uri(ID), dns_name("a.example.org")]);
    };
    assert_eq!(
        constrained(vec![dns("example.org")], vec![]).changed(with_dns),
        []
    );
    assert_eq!(
        constrained(vec![dns("example.com")], vec![]).changed(with_dns),
        [Lint::NameConstraints]
    );
    assert_eq!(
        constrained(vec![dns("ample.org")], vec![]).changed(with_dns),
        [Lint::NameConstraints],
        "only whole labels count"
    );
    assert_eq!(
        constrained(vec![], vec![dns("a.example.org")]).changed(with_dns),
        [Lint::NameConstraints]
    );
    // A leaf without DNS names is not touched by constraints on them.
    assert_eq!(
        constrained(vec![dns("example.com")], vec![]).changed(|_| {}),
        []
    );
}

#[test]
fn uri_constraints_name_a_host_or_all_below_one() {
    // rcgen writes no URI constraints: the DER of one, critical, for these hosts.
    let permitted = |host: &str| {
        let host = host.as_bytes();
        let length = u8::try_from(host.len()).unwrap();
        let name = [&[0x86, length], host].concat();
        let content = [
            &[0x30, length + 6, 0xa0, length + 4, 0x30, length + 2],
            &name[..],
        ]
        .concat();
        World::with(move |name, params| {
            if name == "intermediate" {
                let mut extension =
                    CustomExtension::from_oid_content(&[2, 5, 29, 30], content.clone());
                extension.set_criticality(true);
                params.custom_extensions.push(extension);
            }
        })
    };
    for (host, id, fits) in [
        ("example.org", ID, true),
        (".example.org", ID, false),
        (".example.org", "spiffe://east.example.org/a", true),
        ("example.org", "spiffe://east.example.org/a", false),
        ("example.com", ID, false),
    ] {
        let failed = permitted(host).changed(|leaf| names(leaf, vec![uri(id)]));
        let wanted: &[Lint] = if fits { &[] } else { &[Lint::NameConstraints] };
        assert_eq!(failed, wanted, "{host} {id}");
    }
}

#[test]
fn every_lint_has_a_name_and_a_section_of_its_own() {
    let mut ids: Vec<&str> = Lint::ALL.iter().map(|lint| lint.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), Lint::ALL.len());
    assert!(Lint::ALL.iter().all(|lint| lint.section().contains('§')));
}

#[test]
fn a_rehearsal_is_a_signature_in_form_and_the_same_for_a_process() {
    for algorithm in [
        crate::ca::KeyAlgorithm::EcdsaP256,
        crate::ca::KeyAlgorithm::Rsa2048,
    ] {
        let one = rehearsal_signature(algorithm).unwrap();
        assert_eq!(one, rehearsal_signature(algorithm).unwrap());
        assert!(one.len() >= 64);
    }
}
