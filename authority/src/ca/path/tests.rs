//! The rules on a chain that is made for each.

use identity::UnixTime;

use super::*;
use crate::ca::key::{CaKey as _, FileKey, KeyAlgorithm};
use crate::ca::make::{CaProfile, Signer, Unsigned, spki};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn at(seconds: i64) -> UnixTime {
    NOW.plus_secs(seconds).unwrap()
}

struct Ca {
    key: FileKey,
    certificate: CaCertificate,
}

/// A CA below `issuer`, whatever that allows: what is checked here is what comes below.
fn ca(issuer: Option<&Ca>, name: &str, path_length: u8, life: i64, hosts: &[&str]) -> Ca {
    let key = FileKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let profile = CaProfile {
        trust_domain: "example.org".parse().unwrap(),
        organization: "Test".to_owned(),
        common_name: name.to_owned(),
        path_length,
        not_before: at(-100),
        not_after: at(life),
        uri_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
    };
    let (signer, signing) = match issuer {
        Some(issuer) => (Signer::Ca(&issuer.certificate), &issuer.key),
        None => (Signer::Itself, &key),
    };
    let unsigned = Unsigned::certificate(&profile, &spki(&key), signer, signing).unwrap();
    let der = unsigned.signed(&signing.sign_now(unsigned.bytes()).unwrap());
    let certificate = CaCertificate::from_der(der).unwrap();
    assert_eq!(certificate.public_key(), key.public_key());
    Ca { key, certificate }
}

fn leaf(uri: &str) -> Candidate<'_> {
    Candidate {
        uris: vec![uri],
        dns: Vec::new(),
        ips: Vec::new(),
        ca: None,
        not_before: at(-10),
        not_after: at(100),
    }
}

const WEB: &str = "spiffe://example.org/ns/a/sa/web";

#[test]
fn a_leaf_is_confined_to_the_lives_of_all_above() {
    let root = ca(None, "root", 1, 1000, &[]);
    let own = ca(Some(&root), "own", 0, 500, &[]);
    let chain = [&own.certificate, &root.certificate];
    check(&chain, &leaf(WEB), NOW).unwrap();
    assert_eq!(check(&[], &leaf(WEB), NOW), Err(PathError::NoIssuer));
    let mut late = leaf(WEB);
    late.not_after = at(501);
    assert!(matches!(
        check(&chain, &late, NOW),
        Err(PathError::OutlivesIssuer { limit, .. }) if limit == at(500)
    ));
    late.not_after = at(500);
    check(&chain, &late, NOW).unwrap();
    let mut early = leaf(WEB);
    early.not_before = at(-101);
    assert!(matches!(
        check(&chain, &early, NOW),
        Err(PathError::BeginsBeforeIssuer { .. })
    ));
    let mut never = leaf(WEB);
    never.not_before = at(101);
    assert!(matches!(
        check(&chain, &never, NOW),
        Err(PathError::NoLifetime { .. })
    ));
    for now in [at(501), at(-101)] {
        assert!(matches!(
            check(&chain, &leaf(WEB), now),
            Err(PathError::IssuerNotValid { .. })
        ));
    }
    // A root that ends before what it signed ends the chain.
    let long = ca(Some(&root), "long", 0, 2000, &[]);
    let chain = [&long.certificate, &root.certificate];
    assert_eq!(validity(&chain).unwrap().not_after, at(1000));
    late.not_after = at(1500);
    assert!(matches!(
        check(&chain, &late, NOW),
        Err(PathError::OutlivesIssuer { issuer, .. }) if issuer.contains("root")
    ));
}

#[test]
fn path_lengths_are_counted_from_each_ca_above() {
    let root = ca(None, "root", 1, 1000, &[]);
    let upper = ca(Some(&root), "upper", 1, 900, &[]);
    let own = ca(Some(&upper), "own", 0, 800, &[]);
    let below = |path_length| Candidate {
        ca: Some(CaCandidate { path_length }),
        ..leaf("spiffe://example.org")
    };
    // root(1) → upper → own → leaf: two CAs follow the root.
    assert!(matches!(
        check(
            &[&own.certificate, &upper.certificate, &root.certificate],
            &leaf(WEB),
            NOW
        ),
        Err(PathError::PathTooLong {
            limit: 1,
            found: 2,
            ..
        })
    ));
    check(&[&upper.certificate, &root.certificate], &leaf(WEB), NOW).unwrap();
    check(&[&root.certificate], &below(Some(0)), NOW).unwrap();
    for asked in [Some(1), None] {
        assert!(matches!(
            check(&[&root.certificate], &below(asked), NOW),
            Err(PathError::PathLengthWidened { limit: 0, .. })
        ));
    }
    assert!(matches!(
        check(
            &[&upper.certificate, &root.certificate],
            &below(Some(0)),
            NOW
        ),
        Err(PathError::PathTooLong {
            limit: 1,
            found: 2,
            ..
        })
    ));
}

#[test]
fn uri_constraints_are_exact_hosts_or_what_is_below_them() {
    let root = ca(None, "root", 1, 1000, &[]);
    let cases = [
        ("example.org", WEB, true),
        ("example.org", "spiffe://EXAMPLE.org/x", true),
        ("example.org", "spiffe://sub.example.org/x", false),
        ("example.org", "spiffe://xexample.org/x", false),
        ("example.org", "spiffe://example.org.evil/x", false),
        ("example.org", "spiffe:example.org", false),
        ("example.org", "", false),
        (".example.org", "spiffe://sub.example.org/x", true),
        (".example.org", "spiffe://a.b.example.org/x", true),
        (".example.org", WEB, false),
        (".example.org", "spiffe://.example.org/x", false),
    ];
    for (host, uri, permitted) in cases {
        let own = ca(Some(&root), "own", 0, 500, &[host]);
        assert!(own.certificate.limits().constrains_uris());
        let outcome = check(&[&own.certificate, &root.certificate], &leaf(uri), NOW);
        if permitted {
            outcome.unwrap();
        } else {
            assert!(
                matches!(outcome, Err(PathError::NotPermitted { .. })),
                "{host} {uri}"
            );
        }
    }
    // Names of another kind are free.
    let own = ca(Some(&root), "own", 0, 500, &["example.org"]);
    let mut served = leaf(WEB);
    served.dns = vec!["db.internal"];
    served.ips = vec!["127.0.0.1".parse().unwrap()];
    check(&[&own.certificate, &root.certificate], &served, NOW).unwrap();
}

#[test]
fn other_constraints_permit_exclude_or_are_refused_for_cas() {
    let mut root = ca(None, "root", 1, 1000, &[]);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let constrain = |root: &mut Ca, permitted: Vec<NameConstraint>, excluded| {
        root.certificate.set_constraints(permitted, excluded);
    };
    let dns = |name: &str| NameConstraint::Dns(name.to_owned());
    constrain(
        &mut root,
        vec![
            dns("internal"),
            NameConstraint::Ip(vec![10, 0, 0, 0], vec![255, 0, 0, 0]),
        ],
        vec![
            dns("secret.internal"),
            NameConstraint::Uri("bad.org".to_owned()),
        ],
    );
    let chain = [&root.certificate];
    let with = |names: &[&'static str], ips: &[&str]| Candidate {
        dns: names.to_vec(),
        ips: ips.iter().map(|text| ip(text)).collect(),
        ..leaf(WEB)
    };
    check(
        &chain,
        &with(&["internal", "db.INTERNAL"], &["10.1.2.3"]),
        NOW,
    )
    .unwrap();
    for (names, ips) in [
        (vec!["xinternal"], vec![]),
        (vec![], vec!["11.0.0.1"]),
        (vec![], vec!["::1"]),
    ] {
        assert!(matches!(
            check(&chain, &with(&names, &ips), NOW),
            Err(PathError::NotPermitted { .. })
        ));
    }
    for bad in [
        with(&["a.secret.internal"], &[]),
        leaf("spiffe://bad.org/x"),
    ] {
        assert!(matches!(
            check(&chain, &bad, NOW),
            Err(PathError::Excluded { .. })
        ));
    }
    constrain(
        &mut root,
        vec![NameConstraint::Other("directory names")],
        Vec::new(),
    );
    check(&[&root.certificate], &leaf(WEB), NOW).unwrap();
    let below = Candidate {
        ca: Some(CaCandidate {
            path_length: Some(0),
        }),
        ..leaf("spiffe://example.org")
    };
    assert!(matches!(
        check(&[&root.certificate], &below, NOW),
        Err(PathError::UnknownConstraint { .. })
    ));
}

#[test]
fn hosts_that_no_verifier_matches_cannot_constrain() {
    for good in ["example.org", ".example.org", "a-b.Example.ORG"] {
        good.parse::<UriHost>().unwrap();
    }
    for bad in [
        "",
        ".",
        "example",
        "my_td.example",
        "a..b",
        "-a.org",
        "10.0.0.1",
        "a b.org",
        "spiffe://a.org",
        "*.a.org",
    ] {
        assert!(bad.parse::<UriHost>().is_err(), "{bad}");
    }
}
