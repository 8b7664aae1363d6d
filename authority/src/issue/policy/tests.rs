use proptest::prelude::*;

use super::*;
use crate::inventory::{CertificateRecord, CertificateState, Origin, SpentToken, TokenRecord};

const NOW: i64 = 1_800_000_000;
const AGENT: &str = "spiffe://cluster.local/countersign/agent/one";
const OTHER: &str = "spiffe://cluster.local/countersign/agent/two";
const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::from_secs(seconds)
}

fn csr() -> VerifiedCsr {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    VerifiedCsr::parse(request.der()).unwrap()
}

fn policy(lifetimes: Lifetimes) -> IssuancePolicy {
    IssuancePolicy::new(
        TrustDomain::new("cluster.local").unwrap(),
        id("spiffe://cluster.local/countersign/authority"),
        id("spiffe://cluster.local/countersign/authority/deny-list"),
        lifetimes,
        ServerNames {
            dns: vec!["localhost".to_owned()],
            ip: vec![],
        },
    )
}

fn usual() -> IssuancePolicy {
    policy(Lifetimes {
        default_ttl: 3600,
        max_ttl: 86_400,
        backdate: 120,
    })
}

fn certificate(spiffe_id: &str, entry_id: Option<&str>) -> Caller {
    Caller::Certificate(CertificateRecord {
        serial: "40".to_owned(),
        sha256: "00".repeat(32),
        spiffe_id: id(spiffe_id),
        issuer_sha256: String::new(),
        key_type: String::new(),
        spki_sha256: String::new(),
        not_before: at(NOW),
        not_after: at(NOW + 60),
        issued_at: at(NOW),
        caller: String::new(),
        proof: String::new(),
        entry_id: entry_id.map(str::to_owned),
        state: CertificateState::Good,
        state_since: at(NOW),
        reason: String::new(),
        key_bits: None,
        signature_algorithm: None,
        location: crate::inventory::Location::default(),
        metadata: crate::inventory::Metadata::default(),
        der: vec![],
        origin: Origin {
            proven_at: at(NOW),
            proven_by: "join_token".to_owned(),
            evidence_sha256: String::new(),
            selectors: vec![],
        },
        rule: String::new(),
    })
}

fn entry(entry_id: &str, parent: &str, spiffe_id: &str, ttl_seconds: i64) -> EntryRecord {
    EntryRecord {
        id: entry_id.to_owned(),
        parent_id: id(parent),
        spiffe_id: id(spiffe_id),
        selectors: vec![],
        ttl_seconds,
        created_at: at(NOW),
    }
}

fn always() -> Validity {
    Validity {
        not_before: at(0),
        not_after: at(NOW * 2),
    }
}

fn decide(by: &Caller, subject: &str, entry: Option<EntryRecord>) -> Result<Grant, Refusal> {
    let standing = Standing {
        entry,
        suspended: false,
    };
    let application = Application {
        by,
        csr: csr(),
        subject: id(subject),
        wish: &Wish::default(),
        standing,
        jitter: 0,
    };
    usual().authorize(application, always(), at(NOW))
}

#[test]
fn an_entry_counts_only_for_its_parent_and_its_identity() {
    let agent = certificate(AGENT, None);
    decide(&agent, HTTPBIN, Some(entry("e", AGENT, HTTPBIN, 0))).unwrap();
    for wrong in [
        None,
        Some(entry("e", OTHER, HTTPBIN, 0)),
        Some(entry("e", AGENT, OTHER, 0)),
    ] {
        let refused = decide(&agent, HTTPBIN, wrong).unwrap_err();
        let wanted = Refusal::NotParented {
            caller: id(AGENT),
            wanted: id(HTTPBIN),
        };
        assert_eq!(refused, wanted);
    }
}

#[test]
fn no_entry_makes_an_agent_of_another_however_it_came_to_be() {
    let agent = certificate(AGENT, None);
    for ours in [OTHER, "spiffe://cluster.local/countersign/authority"] {
        let refused = decide(&agent, ours, Some(entry("e", AGENT, ours, 0))).unwrap_err();
        assert_eq!(refused, Refusal::Reserved { wanted: id(ours) });
        usual().check_workload(&id(ours)).unwrap_err();
    }
    usual().check_workload(&id(HTTPBIN)).unwrap();
}

#[test]
fn what_the_operator_issued_is_not_renewed_and_what_a_token_bought_is() {
    for (proof, renewable) in [("operator", false), ("join_token", true)] {
        let mut by = certificate(AGENT, None);
        if let Caller::Certificate(record) = &mut by {
            record.proof = proof.to_owned();
        }
        assert_eq!(decide(&by, AGENT, None).is_ok(), renewable, "{proof}");
    }
}

#[test]
fn a_renewal_needs_the_entry_its_certificate_lives_on() {
    decide(&certificate(AGENT, None), AGENT, None).unwrap();
    let workload = certificate(HTTPBIN, Some("e"));
    let granted = decide(&workload, HTTPBIN, Some(entry("e", AGENT, HTTPBIN, 0))).unwrap();
    assert_eq!(granted.entry_id(), Some("e"));
    for wrong in [None, Some(entry("f", AGENT, HTTPBIN, 0))] {
        let refused = decide(&workload, HTTPBIN, wrong).unwrap_err();
        assert_eq!(
            refused,
            Refusal::EntryGone {
                wanted: id(HTTPBIN)
            }
        );
    }
}

#[test]
fn a_renewal_is_good_for_no_more_than_what_it_renews() {
    use rcgen::ExtendedKeyUsagePurpose as Purpose;
    for (purposes, renewed) in [
        (vec![Purpose::ServerAuth, Purpose::ClientAuth], true),
        (vec![Purpose::ClientAuth], false),
    ] {
        let mut params = rcgen::CertificateParams::default();
        let uri = HTTPBIN.to_owned().try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        let key = rcgen::KeyPair::generate().unwrap();
        let mut by = certificate(HTTPBIN, None);
        if let Caller::Certificate(record) = &mut by {
            record.der = params.self_signed(&key).unwrap().der().to_vec();
        }
        let decided = decide(&by, HTTPBIN, None);
        assert_eq!(decided.is_ok(), renewed);
        if let Err(refusal) = decided {
            assert_eq!(refusal.code(), "other_purpose");
            assert_eq!(refusal.rule(), Some("builtin/renewal"));
        }
    }
}

#[test]
fn a_suspended_identity_is_refused_to_everybody() {
    for by in [
        certificate(AGENT, None),
        Caller::Operator {
            uid: None,
            id: None,
        },
        Caller::Authority,
    ] {
        let standing = Standing {
            entry: None,
            suspended: true,
        };
        let application = Application {
            by: &by,
            csr: csr(),
            subject: id(AGENT),
            wish: &Wish::default(),
            standing,
            jitter: 0,
        };
        let refused = usual()
            .authorize(application, always(), at(NOW))
            .unwrap_err();
        assert_eq!(refused, Refusal::IdentitySuspended { wanted: id(AGENT) });
    }
}

#[test]
fn only_the_authority_gets_server_names() {
    let authority = decide(&Caller::Authority, AGENT, None).unwrap();
    assert_eq!(authority.server_names().dns, ["localhost"]);
    let operator = decide(
        &Caller::Operator {
            uid: None,
            id: None,
        },
        AGENT,
        None,
    )
    .unwrap();
    assert_eq!(*operator.server_names(), ServerNames::default());
}

#[test]
fn a_spent_token_repeats_for_its_own_key_within_a_minute_and_never_for_another() {
    let token = |spent: Option<i64>| TokenRecord {
        hash: String::new(),
        spiffe_id: id(AGENT),
        expires_at: at(NOW + 600),
        spent: spent.map(|when| SpentToken {
            at: at(when),
            spki_sha256: "mine".to_owned(),
            serial: "40".to_owned(),
        }),
    };
    assert_eq!(
        token_use(&token(None), "any", at(NOW + 600)),
        Ok(TokenUse::Fresh)
    );
    assert_eq!(
        token_use(&token(None), "any", at(NOW + 601)),
        Err(ProofFault::TokenExpired)
    );
    let repeat = Ok(TokenUse::Repeat {
        serial: "40".to_owned(),
    });
    assert_eq!(token_use(&token(Some(NOW)), "mine", at(NOW + 60)), repeat);
    assert_eq!(
        token_use(&token(Some(NOW)), "mine", at(NOW + 61)),
        Err(ProofFault::TokenSpent)
    );
    let other = token_use(&token(Some(NOW)), "theirs", at(NOW));
    assert_eq!(other, Err(ProofFault::TokenSpentByOther));
    // A repeat is possible just after the token itself expired: the reply may have been lost then.
    assert_eq!(
        token_use(&token(Some(NOW + 600)), "mine", at(NOW + 650)),
        repeat
    );
}

proptest! {
    #[test]
    fn a_leaf_lies_within_its_issuer_and_its_limits(
        asked in -10_i64..100_000,
        limit in prop::option::of(0_i64..100_000),
        default_ttl in 1_i64..5000,
        max_ttl in 5000_i64..90_000,
        backdate in 0_i64..3600,
        before in 0_i64..5000,
        left in 0_i64..200_000,
    ) {
        let policy = policy(Lifetimes { default_ttl, max_ttl, backdate });
        let issuer = Validity { not_before: at(NOW - before), not_after: at(NOW + left) };
        let by = certificate(AGENT, None);
        let standing = Standing {
            entry: limit.map(|ttl| entry("e", AGENT, HTTPBIN, ttl)),
            suspended: false,
        };
        let wish = Wish { spiffe_id: None, ttl_seconds: asked, ..Wish::default() };
        let subject = if limit.is_some() { HTTPBIN } else { AGENT };
        let application = Application { by: &by, csr: csr(), subject: id(subject), wish: &wish, standing, jitter: 0 };
        match policy.authorize(application, issuer, at(NOW)) {
            Err(refused) => {
                prop_assert!(asked > max_ttl);
                prop_assert_eq!(refused, Refusal::TtlTooLong { asked, max: max_ttl });
            }
            Ok(grant) => {
                prop_assert!(asked <= max_ttl);
                prop_assert!(grant.not_after() <= issuer.not_after);
                prop_assert!(grant.not_before() >= issuer.not_before);
                prop_assert!(grant.not_before() <= at(NOW) && at(NOW) <= grant.not_after());
                let life = grant.not_after().secs_since(at(NOW));
                prop_assert!(life <= max_ttl);
                if asked > 0 {
                    prop_assert!(life <= asked);
                }
                if let Some(limit @ 1..) = limit {
                    prop_assert!(life <= limit);
                }
                let back = at(NOW).secs_since(grant.not_before());
                prop_assert!(back <= backdate);
            }
        }
    }
}

/// A certificate that a pod of `namespace` had by the rules, for an hour.
fn pods(namespace: &str) -> Caller {
    let Caller::Certificate(mut record) = certificate(AGENT, None) else {
        panic!("a certificate")
    };
    record.not_after = at(NOW + 3600);
    record.origin.proven_by = Proof::Kubernetes.as_str().to_owned();
    record.origin.selectors = vec![format!("k8s:ns:{namespace}")];
    Caller::Certificate(record)
}

fn renewed(by: &Caller, rules: &str, ttl_seconds: i64) -> Result<Grant, Refusal> {
    let rules = LoadedRules::compile("rules.yaml", rules.to_owned()).unwrap();
    let wish = Wish {
        ttl_seconds,
        ..Wish::default()
    };
    let application = Application {
        by,
        csr: csr(),
        subject: id(AGENT),
        wish: &wish,
        standing: Standing::default(),
        jitter: 0,
    };
    usual()
        .with_rules(LiveRules::new(rules))
        .authorize(application, always(), at(NOW))
}

const QUARANTINE: &str = "schemaVersion: 1\nrules:\n- id: quarantine\n  effect: deny\n  \
     when: {selectors: [\"k8s:ns:quarantine-*\"]}\n";

#[test]
fn what_is_denied_to_a_proof_is_denied_to_renewals_that_go_back_to_it() {
    let refused = renewed(&pods("quarantine-7"), QUARANTINE, 0).unwrap_err();
    assert_eq!(refused.rule(), Some("quarantine"), "{refused}");
    renewed(&pods("shop"), QUARANTINE, 0).unwrap();
}

#[test]
fn a_renewal_lives_no_longer_than_what_a_rule_gave_first() {
    let grant = renewed(&pods("shop"), QUARANTINE, 80_000).unwrap();
    assert_eq!(grant.not_after(), at(NOW + 3600));
    // The operator has said of no join token how long its certificates live.
    let by = certificate(AGENT, None);
    let grant = renewed(&by, QUARANTINE, 80_000).unwrap();
    assert_eq!(grant.not_after(), at(NOW + 80_000));
}
