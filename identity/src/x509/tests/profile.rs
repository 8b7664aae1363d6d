//! Each rule of the profiles, its accept and its refuse case.

use super::*;

fn usage(error: UsageError) -> Result<X509Svid, SvidError> {
    Err(SvidError::Usage(error))
}

fn name(error: NameError) -> Result<X509Svid, SvidError> {
    Err(SvidError::Name(error))
}

fn extension(error: ExtensionError) -> Result<X509Svid, SvidError> {
    Err(SvidError::Extension(error))
}

#[test]
fn refuses_signing_certificates_as_leaves() {
    let leaf = Leaf::with(basic_constraints(true));
    assert_eq!(strict(&leaf), usage(UsageError::CertificateAuthority));
    assert_eq!(istio(&leaf), usage(UsageError::CertificateAuthority));
}

#[test]
fn basic_constraints_may_be_absent_in_the_istio_profile_only() {
    let leaf = Leaf::without(BASIC_CONSTRAINTS);
    assert_eq!(strict(&leaf), usage(UsageError::BasicConstraintsMissing));
    assert!(istio(&leaf).is_ok());
}

#[test]
fn key_usage_may_be_absent_or_not_critical_in_the_istio_profile_only() {
    let absent = Leaf::without(KEY_USAGE);
    assert_eq!(strict(&absent), usage(UsageError::KeyUsageMissing));
    assert!(istio(&absent).is_ok());
    let not_critical = Leaf::with(key_usage(&[DIGITAL_SIGNATURE]).not_critical());
    assert_eq!(
        strict(&not_critical),
        usage(UsageError::KeyUsageNotCritical)
    );
    assert!(istio(&not_critical).is_ok());
}

#[test]
fn key_encipherment_beside_digital_signature_is_fine() {
    let leaf = Leaf::with(key_usage(&[DIGITAL_SIGNATURE, KEY_ENCIPHERMENT]));
    assert!(strict(&leaf).is_ok());
    assert!(istio(&leaf).is_ok());
}

#[test]
fn refuses_key_usages_of_signers_and_those_without_digital_signature() {
    for (bits, refused) in [
        (vec![KEY_ENCIPHERMENT], UsageError::NoDigitalSignature),
        (
            vec![DIGITAL_SIGNATURE, KEY_CERT_SIGN],
            UsageError::KeyCertSign,
        ),
        (vec![DIGITAL_SIGNATURE, CRL_SIGN], UsageError::CrlSign),
    ] {
        let leaf = Leaf::with(key_usage(&bits));
        assert_eq!(strict(&leaf), usage(refused.clone()));
        assert_eq!(istio(&leaf), usage(refused));
    }
}

#[test]
fn extended_key_usage_may_be_absent() {
    let leaf = Leaf::without(EXTENDED_KEY_USAGE);
    assert!(strict(&leaf).is_ok());
    assert!(istio(&leaf).is_ok());
}

#[test]
fn extended_key_usage_needs_both_or_in_the_istio_profile_one() {
    let with = |purposes: &[u8]| Leaf::with(extended_key_usage(purposes));
    assert_eq!(
        strict(&with(&[SERVER_AUTH])),
        usage(UsageError::NoClientAuth)
    );
    assert_eq!(
        strict(&with(&[CLIENT_AUTH])),
        usage(UsageError::NoServerAuth)
    );
    assert!(istio(&with(&[SERVER_AUTH])).is_ok());
    assert!(istio(&with(&[CLIENT_AUTH])).is_ok());
    // id-kp-codeSigning
    assert_eq!(strict(&with(&[3])), usage(UsageError::NoServerAuth));
    assert_eq!(istio(&with(&[3])), usage(UsageError::NoTlsAuth));
}

#[test]
fn other_names_beside_the_one_uri_are_fine() {
    let names: [(u8, &[u8]); 2] = [(DNS, b"httpbin.default"), (URI, HTTPBIN.as_bytes())];
    let svid = strict(&Leaf::with(san_of(&names))).unwrap();
    assert_eq!(svid.id().to_string(), HTTPBIN);
}

#[test]
fn refuses_none_and_several_uris_in_either_profile() {
    for parse in [strict, istio] {
        assert_eq!(
            parse(&Leaf::without(SUBJECT_ALT_NAME)),
            name(NameError::NoSan)
        );
        assert_eq!(parse(&Leaf::with(san(&[]))), name(NameError::NoUri));
        let dns = Leaf::with(san_of(&[(DNS, b"httpbin.default")]));
        assert_eq!(parse(&dns), name(NameError::NoUri));
        for found in 2..4 {
            let uris = vec![HTTPBIN; found];
            assert_eq!(
                parse(&Leaf::with(san(&uris))),
                name(NameError::SeveralUris { found })
            );
        }
        // Not even when the others are no SPIFFE IDs.
        let web = Leaf::with(san(&["https://example.org/", HTTPBIN]));
        assert_eq!(parse(&web), name(NameError::SeveralUris { found: 2 }));
    }
}

#[test]
fn refuses_uris_that_are_no_spiffe_id() {
    for (uri, problem) in [
        ("", SpiffeIdError::Empty),
        (
            "https://cluster.local/ns/a/sa/b",
            SpiffeIdError::WrongScheme,
        ),
        ("spiffe:///ns/a", SpiffeIdError::MissingTrustDomain),
        (
            "spiffe://cluster.local:1/a",
            SpiffeIdError::BadTrustDomainChar,
        ),
        (
            "spiffe://user@cluster.local/a",
            SpiffeIdError::BadTrustDomainChar,
        ),
        ("spiffe://cluster.local/a/../b", SpiffeIdError::DotSegment),
        ("spiffe://cluster.local/a//b", SpiffeIdError::EmptySegment),
        ("spiffe://cluster.local/a/", SpiffeIdError::TrailingSlash),
        ("spiffe://cluster.local/", SpiffeIdError::TrailingSlash),
        (
            "spiffe://cluster.local/a%2Fb",
            SpiffeIdError::BadPathSegmentChar,
        ),
        (
            "spiffe://cluster.local/a?b",
            SpiffeIdError::BadPathSegmentChar,
        ),
        (
            "spiffe://cluster.local/a\0",
            SpiffeIdError::BadPathSegmentChar,
        ),
    ] {
        assert_eq!(
            strict(&Leaf::with(san(&[uri]))),
            name(NameError::InvalidId(problem)),
            "{uri}"
        );
    }
}

#[test]
fn refuses_ids_of_trust_domains_alone_and_ids_in_upper_case() {
    assert_eq!(
        strict(&Leaf::with(san(&["spiffe://cluster.local"]))),
        name(NameError::RootPath)
    );
    for uri in ["SPIFFE://cluster.local/a", "spiffe://Cluster.local/a"] {
        assert_eq!(
            strict(&Leaf::with(san(&[uri]))),
            name(NameError::NotCanonical)
        );
    }
}

#[test]
fn ids_may_take_2048_bytes_and_no_more() {
    let longest = format!("{HTTPBIN}{}", "a".repeat(MAX_ID_BYTES - HTTPBIN.len()));
    assert!(strict(&Leaf::with(san(&[&longest]))).is_ok());
    let longer = format!("{longest}a");
    assert_eq!(
        strict(&Leaf::with(san(&[&longer]))),
        name(NameError::IdTooLong { len: 2049 })
    );
}

#[test]
fn refuses_names_that_are_no_text() {
    let leaf = Leaf::with(san_of(&[(DNS, b"\xff"), (URI, HTTPBIN.as_bytes())]));
    assert_eq!(strict(&leaf), name(NameError::MalformedEntry));
}

#[test]
fn names_need_be_critical_only_with_an_empty_subject_in_the_strict_profile() {
    let mut leaf = Leaf::with(san(&[HTTPBIN]).not_critical());
    assert_eq!(strict(&leaf), name(NameError::SanNotCritical));
    assert!(istio(&leaf).is_ok());
    leaf.subject = "httpbin";
    assert!(strict(&leaf).is_ok());
}

#[test]
fn refuses_the_same_extension_twice() {
    let mut leaf = Leaf::good();
    leaf.extensions.push(san(&[HTTPBIN]));
    let oid = "2.5.29.17".to_owned();
    assert_eq!(strict(&leaf), extension(ExtensionError::Duplicate { oid }));
}

#[test]
fn refuses_malformed_extensions() {
    let good = Leaf::good();
    for at in 0..good.extensions.len() {
        let mut trailing = good.clone();
        trailing.extensions[at].content.push(0);
        let mut cut = good.clone();
        cut.extensions[at].content.pop();
        let mut other = good.clone();
        other.extensions[at].content = vec![5, 0];
        for leaf in [trailing, cut, other] {
            assert!(
                matches!(
                    strict(&leaf),
                    Err(SvidError::Extension(ExtensionError::Malformed { .. }))
                ),
                "extension {at}: {:?}",
                strict(&leaf)
            );
        }
    }
}

#[test]
fn unknown_extensions_must_not_be_critical() {
    let unknown = Extension {
        oid: &[1, 3, 6, 1, 4, 1, 99_999, 1],
        critical: true,
        content: vec![],
    };
    assert!(strict(&Leaf::with(unknown.clone().not_critical())).is_ok());
    let oid = "1.3.6.1.4.1.99999.1".to_owned();
    for parse in [strict, istio] {
        let refused = extension(ExtensionError::UnknownCritical { oid: oid.clone() });
        assert_eq!(parse(&Leaf::with(unknown.clone())), refused);
    }
}

#[test]
fn refuses_more_extensions_than_the_limit() {
    let arcs: Vec<[u64; 3]> = (0..40).map(|last| [1, 3, last]).collect();
    let arcs: &'static [[u64; 3]] = arcs.leak();
    let mut leaf = Leaf::good();
    let more = |count: usize| {
        arcs.iter().take(count).map(|oid| Extension {
            oid,
            critical: false,
            content: vec![5, 0],
        })
    };
    leaf.extensions.extend(more(MAX_EXTENSIONS - 4));
    assert!(strict(&leaf).is_ok());
    let mut leaf = Leaf::good();
    leaf.extensions.extend(more(MAX_EXTENSIONS - 3));
    let found = MAX_EXTENSIONS + 1;
    assert_eq!(strict(&leaf), extension(ExtensionError::TooMany { found }));
}
