use super::*;

fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, Path::new("authority.yaml")) {
        Err(ConfigError::Problems { problems, .. }) => {
            problems.iter().map(ToString::to_string).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in ["", "# nothing\n", "{}", "proofs:\n"] {
        let config = Config::parse(text, Path::new("authority.yaml")).unwrap();
        assert!(
            config.listen.is_none() && config.proofs.join_tokens.enabled,
            "{text:?}"
        );
        assert_eq!(config.proofs.renewal.max_proof_age.get(), 365 * 86_400);
    }
}

#[test]
fn a_whole_file_is_read() {
    let text = "\
trustDomain: example.org
dataDir: /var/lib/countersign
listen: 0.0.0.0:15012
defaultTtl: 1h
maxTtl: 86400
keyAlgorithm: rsa2048
proofs:
  joinTokens: { enabled: false }
  renewal: { maxProofAge: 30d }
  csrNames: mustMatch
  kubernetes:
  - name: east
    default: true
    issuer: https://kubernetes.default.svc
    keys: { url: 'https://10.0.0.1:6443/openid/v1/jwks', caFile: /ca.crt, tokenFile: /token }
    apiServer: { url: 'https://10.0.0.1:6443', caFile: /ca.crt, tokenFile: /token, timeout: 2s }
    tokenReview: { cacheFor: 30s }
    trustedNodeAccounts: [istio-system/ztunnel]
  oidc:
  - issuer: https://token.example.com
    audiences: [countersign]
    keys: { caFile: /etc/ssl/certs/ca-certificates.crt }
    claims: [repository]
    spiffeId: 'spiffe://example.org/ci/{+claim:repository}'
  x509pop:
  - name: old
    caFile: /old.pem
    spiffeId: 'spiffe://example.org/old/{subject:cn}'
";
    let config = Config::parse(text, Path::new("authority.yaml")).unwrap();
    let mut settings = Settings::new(TrustDomain::new("example.org").unwrap(), "/x");
    config.apply(&mut settings);
    assert_eq!(settings.listen.port(), 15012);
    assert_eq!(
        (settings.default_ttl_seconds, settings.max_ttl_seconds),
        (3600, 86_400)
    );
    assert_eq!(settings.key_algorithm, KeyAlgorithm::Rsa2048);
    assert!(!settings.proofs.join_tokens.enabled);
    assert_eq!(settings.proofs.renewal.max_proof_age.get(), 30 * 86_400);
    assert_eq!(
        settings.proofs.kubernetes[0].audiences.as_slice(),
        ["istio-ca"]
    );
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let text = "\
trustDomain: Not A Domain
listen: nowhere
defaultTTL: 1h
proofs:
  renewal:
    maxProofAge: soon
    forever: true
  kubernetes:
  - name: east/west
    issuer: https://kubernetes.default.svc
  - name: two
    issuer: https://kubernetes.default.svc
    tokenreview: {}
  oidc:
  - issuer: https://token.example.com
    audiences: []
";
    let found = problems(text);
    for expected in [
        ":1:1: trustDomain: ",
        ":2:1: listen: ",
        ":3:1: defaultTTL: unknown field `defaultTTL`",
        ":6:5: proofs.renewal.maxProofAge: \"soon\" is not a duration",
        ":7:5: proofs.renewal.forever: unknown field `forever`",
        ":9:5: proofs.kubernetes[0].name: \"east/west\" is not a name",
        ":13:5: proofs.kubernetes[1].tokenreview: unknown field `tokenreview`",
        ":16:5: proofs.oidc[0].audiences: audiences are 1 to 16 texts",
    ] {
        let there = found.iter().any(|problem| problem.starts_with(expected));
        assert!(there, "{expected:?} is not in {found:#?}");
    }
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn what_is_wrong_between_fields_is_reported_too() {
    let text = "\
trustDomain: example.org
proofs:
  kubernetes:
  - name: east
    default: true
    issuer: https://kubernetes.default.svc
  - name: east
    default: true
    issuer: not an address
    keys: {}
    trustedNodeAccounts: [istio-system/ztunnel]
    spiffeId: 'spiffe://other.org/x/{ns}/{claim:x}'
  oidc:
  - issuer: https://kubernetes.default.svc
    audiences: [a]
    keys: { file: /keys.json, caFile: /ca.pem }
";
    let found = problems(text);
    for expected in [
        ":3:3: proofs.kubernetes: more than one cluster is the default",
        ":4:5: proofs.kubernetes[0]: neither keys nor tokenReview",
        ":7:5: proofs.kubernetes[1].name: another cluster has this name",
        ":11:5: proofs.kubernetes[1].trustedNodeAccounts: there is no apiServer",
        ":10:5: proofs.kubernetes[1].keys.caFile: missing",
        ":10:5: proofs.kubernetes[1].keys: neither file nor url",
        ":12:5: proofs.kubernetes[1].spiffeId: it is not in the authority's trust domain",
        ":12:5: proofs.kubernetes[1].spiffeId: unknown variable \"claim:x\"",
        ":14:5: proofs.oidc[0].issuer: another proof has this issuer",
        ":16:13: proofs.oidc[0].keys.file: with a file there is no url",
    ] {
        let there = found.iter().any(|problem| problem.starts_with(expected));
        assert!(there, "{expected:?} is not in {found:#?}");
    }
    assert_eq!(found.len(), 10, "{found:#?}");
}

#[test]
fn what_is_no_yaml_or_too_large_is_refused_whole() {
    for text in [
        "- a",
        "a: [",
        "proofs: {}\nproofs: {}",
        "a: &x [*x]",
        "\u{0}",
    ] {
        assert_eq!(problems(text).len(), 1, "{text:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("authority.yaml");
    assert!(matches!(Config::read(&path), Err(ConfigError::Read { .. })));
    std::fs::write(&path, "#".repeat(MAX_CONFIG_BYTES + 1)).unwrap();
    assert!(matches!(Config::read(&path), Err(ConfigError::Read { .. })));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(Config::read(&path), Err(ConfigError::Read { .. })));
}

/// The file says of itself that it shows the defaults.
#[test]
fn the_example_is_sound_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/authority/authority.yaml");
    let config = Config::read(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.limits, Limits::default());
    let record = RecordSettings::default();
    assert_eq!(
        config.record.head_period_seconds,
        record.head_period_seconds
    );
    let ca = CaSettings::default();
    assert_eq!(config.ca.reload_seconds, ca.reload_seconds);
    assert_eq!(config.ca.intermediate_seconds, ca.intermediate_seconds);
    assert_eq!(config.ca.announce_seconds, ca.announce_seconds);
    let issuance = IssuanceSettings::default();
    assert_eq!(config.issuance.poll_seconds, issuance.poll_seconds);
    assert_eq!(config.admin.viewers.len(), 1);
}
