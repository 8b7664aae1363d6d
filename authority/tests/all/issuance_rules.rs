//! Issuance rules of a file, in a running authority.

use std::path::PathBuf;
use std::time::Duration;

use api::admin::IssueCertificateRequest;
use api::issuance::issuance_service_client::IssuanceServiceClient;
use api::issuance::{GetRulesRequest, GetRulesResponse, ListRequestsRequest, NotedRequest};
use authority::issuance::Facts;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::support::{AGENT, Ask, Authority, HTTPBIN, SLEEP, csr, key, key_of, parse};
use crate::verifiers::openssl;

const NO_SLEEP: &str = "\
schemaVersion: 1
rules:
- id: no-sleep
  effect: deny
  when: {requestedId: [\"spiffe://cluster.local/ns/*/sa/sleep\"]}
";

/// An authority with these rules, and their file.
async fn with_rules(rules: &str) -> (Authority, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rules.yaml");
    std::fs::write(&path, rules).unwrap();
    let file = path.clone();
    let authority = Authority::start_in(dir, move |settings| {
        settings.issuance.policy_file = Some(file);
        settings.issuance.poll_seconds = 1;
    })
    .await;
    (authority, path)
}

async fn client(authority: &Authority) -> IssuanceServiceClient<Channel> {
    let socket = &authority.running.ready().admin_socket;
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    IssuanceServiceClient::new(endpoint.connect().await.unwrap())
}

async fn in_force(authority: &Authority) -> GetRulesResponse {
    let mut client = client(authority).await;
    client
        .get_rules(GetRulesRequest {})
        .await
        .unwrap()
        .into_inner()
}

/// The last requests; noting one is nobody's business, so it may come a moment later.
async fn noted(authority: &Authority, count: usize) -> Vec<NotedRequest> {
    for _ in 0..100 {
        let mut client = client(authority).await;
        let answer = client.list_requests(ListRequestsRequest { limit: 0 }).await;
        let requests = answer.unwrap().into_inner().requests;
        if requests.len() >= count {
            return requests;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("less than {count} requests were noted");
}

/// What the operator is given for this CSR.
async fn issue(authority: &Authority, id: &str, csr_pem: String) -> Result<String, Status> {
    let request = IssueCertificateRequest {
        csr_pem,
        spiffe_id: id.to_owned(),
        ttl_seconds: 0,
    };
    let mut admin = authority.admin().await;
    let answer = admin.issue_certificate(request).await?;
    Ok(answer.into_inner().cert_chain[0].clone())
}

fn csr_for(names: &[&str], key: &KeyPair) -> String {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let params = CertificateParams::new(names).unwrap();
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn text(authority: &Authority, leaf_pem: &str) -> String {
    let leaf = authority.dir.path().join("rules-leaf.pem");
    std::fs::write(&leaf, leaf_pem).unwrap();
    openssl(&["x509", "-noout", "-text", "-in", leaf.to_str().unwrap()])
}

#[tokio::test]
async fn a_deny_rule_of_the_file_wins_over_an_entry_and_is_on_record() {
    let (authority, _) = with_rules(NO_SLEEP).await;
    let agent = authority.agent(AGENT).await;
    authority.entry(AGENT, SLEEP, 0).await;
    authority.entry(AGENT, HTTPBIN, 0).await;
    let refused = authority
        .ask(&agent, &key(), &Ask::id(SLEEP))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.message(), "denied_by_rule");
    let refusal = authority.refusal().await;
    assert_eq!(refusal.code, "denied_by_rule");
    assert!(refusal.detail.contains("no-sleep"), "{}", refusal.detail);
    // The built-in rules follow those of the file.
    authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap();
    let rules: Vec<(bool, String)> = noted(&authority, 3)
        .await
        .into_iter()
        .map(|noted| (noted.allowed, noted.rule))
        .collect();
    let wanted = [
        (true, "builtin/entry".to_owned()),
        (false, "no-sleep".to_owned()),
        (true, "builtin/join-token".to_owned()),
    ];
    assert_eq!(rules, wanted);
}

#[tokio::test]
async fn no_rule_of_a_file_gives_away_what_entries_and_tokens_decide() {
    let everybody = "schemaVersion: 1\nbuiltinRules: none\nrules:\n- id: all\n  effect: allow\n  when: {}\n  \
        spiffeId: \"{requested}\"\n- id: own\n  effect: allow\n  when: {}\n  spiffeId: \"{caller}\"\n";
    let fixed = everybody.replace(
        "{requested}",
        "spiffe://{trustDomain}/ns/default/sa/httpbin",
    );
    let (authority, _) = with_rules(&fixed).await;
    let token = authority.token(AGENT).await;
    let refused = authority
        .join(&token, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.message(), "token_bound_elsewhere");

    let (authority, _) = with_rules(&everybody.replace("{requested}", "{caller}")).await;
    let agent = authority.agent(AGENT).await;
    let refused = authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap_err();
    assert_eq!(refused.message(), "not_parented");
}

#[tokio::test]
async fn a_file_without_the_built_in_rules_allows_what_it_says_alone() {
    let rules = "schemaVersion: 1\nbuiltinRules: none\nrules: []\n";
    let (authority, _) = with_rules(rules).await;
    let token = authority.token(AGENT).await;
    let refused = authority
        .join(&token, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.message(), "no_rule");
    // The authority's own certificates need no rule: it serves, after all.
    let own = authority.certificates().await;
    assert!(
        own.iter()
            .all(|certificate| certificate.proof == "authority")
    );
}

#[tokio::test]
async fn gateways_get_their_names_and_one_purpose() {
    let rules = "\
schemaVersion: 1
rules:
- id: ingress
  effect: allow
  when: {proof: [operator], requestedId: [\"spiffe://cluster.local/ns/*/sa/ingress\"]}
  spiffeId: \"{requested}\"
  profile: ingress
  dnsSans: {allow: [shop.example.org, \"*.api.example.org\"]}
  ttl: {default: 10m, max: 1h, jitterPercent: 20}
- id: egress
  effect: allow
  when: {proof: [operator], requestedId: [\"spiffe://cluster.local/ns/*/sa/egress\"]}
  spiffeId: \"{requested}\"
  profile: egress
- id: files
  effect: allow
  when: {proof: [operator], requestedId: [\"spiffe://cluster.local/ns/*/sa/files\"]}
  spiffeId: \"{requested}\"
  keyAlgorithms: [ed25519]
  output: files
";
    let (authority, _) = with_rules(rules).await;
    let key = key();
    let (ingress, egress) = (
        "spiffe://cluster.local/ns/edge/sa/ingress",
        "spiffe://cluster.local/ns/edge/sa/egress",
    );
    let asked = csr_for(&["shop.example.org", "v1.api.example.org"], &key);
    let leaf = issue(&authority, ingress, asked).await.unwrap();
    let said = text(&authority, &leaf);
    for wanted in [
        "DNS:shop.example.org",
        "DNS:v1.api.example.org",
        "URI:spiffe://cluster.local/ns/edge/sa/ingress",
        "TLS Web Server Authentication",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
    assert!(!said.contains("Client Authentication"), "{said}");

    let refused = issue(&authority, ingress, csr_for(&["evil.example.org"], &key))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("evil.example.org"), "{refused}");
    let refused = issue(&authority, ingress, csr(&key)).await.unwrap_err();
    assert_eq!(
        authority.refusal().await.code,
        "dns_name_missing",
        "{refused}"
    );

    let leaf = issue(&authority, egress, csr_for(&["shop.example.org"], &key))
        .await
        .unwrap();
    let said = text(&authority, &leaf);
    assert!(
        said.contains("TLS Web Client Authentication") && !said.contains("Server Auth"),
        "{said}"
    );
    assert!(!said.contains("DNS:"), "{said}");

    let files = "spiffe://cluster.local/ns/edge/sa/files";
    let leaf = issue(&authority, files, csr(&key_of(&PKCS_ED25519)))
        .await
        .unwrap();
    assert!(text(&authority, &leaf).contains("ED25519"));
    assert_eq!(parse(&leaf).id().to_string(), files);
}

#[tokio::test]
async fn jitter_spreads_lifetimes_below_what_is_asked_for() {
    let rules = "\
schemaVersion: 1
rules:
- id: spread
  effect: allow
  when: {proof: [operator]}
  spiffeId: \"{requested}\"
  ttl: {default: 10h, jitterPercent: 20}
";
    let (authority, _) = with_rules(rules).await;
    let now = authority.now();
    let mut lives = std::collections::BTreeSet::new();
    for _ in 0..16 {
        let leaf = issue(&authority, HTTPBIN, csr(&key())).await.unwrap();
        lives.insert(parse(&leaf).validity().not_after.secs_since(now));
    }
    assert!(
        lives.iter().all(|life| (28_800..=36_000).contains(life)),
        "{lives:?}"
    );
    assert!(lives.len() > 8, "{lives:?}");
}

#[tokio::test]
async fn new_rules_are_taken_while_running_and_bad_ones_are_not() {
    let (authority, path) = with_rules(NO_SLEEP).await;
    let before = in_force(&authority).await;
    issue(&authority, SLEEP, csr(&key())).await.unwrap_err();
    std::fs::write(&path, "schemaVersion: 1\nrules: [{id: broken}]\n").unwrap();
    let until = |want: fn(&GetRulesResponse) -> bool| {
        let authority = &authority;
        async move {
            for _ in 0..100 {
                let found = in_force(authority).await;
                if want(&found) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("the rules did not change in five seconds");
        }
    };
    let refused = until(|rules| rules.refused == 1).await;
    assert_eq!((&refused.sha256, refused.reloads), (&before.sha256, 0));
    issue(&authority, SLEEP, csr(&key())).await.unwrap_err();

    std::fs::write(&path, NO_SLEEP.replace("sa/sleep", "sa/other")).unwrap();
    let taken = until(|rules| rules.reloads == 1).await;
    assert_ne!(taken.sha256, before.sha256);
    issue(&authority, SLEEP, csr(&key())).await.unwrap();
}

#[tokio::test]
async fn a_bad_file_keeps_the_authority_from_starting() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rules.yaml");
    std::fs::write(&path, NO_SLEEP.replace("deny", "dney")).unwrap();
    let mut settings = crate::support::settings(&dir.path().join("data"));
    settings.issuance.policy_file = Some(path);
    let failed = authority::start(settings).await.unwrap_err();
    assert!(failed.to_string().contains("rules.yaml:4"), "{failed}");
}

#[tokio::test]
async fn requests_are_noted_as_rules_saw_them_and_without_secrets() {
    let (authority, _) = with_rules(NO_SLEEP).await;
    let token = authority.token(AGENT).await;
    authority
        .join(&token, &key(), &Ask::default())
        .await
        .unwrap();
    let noted = noted(&authority, 1).await;
    assert!(!noted[0].facts_json.contains(&token));
    let facts: Facts = serde_json::from_str(&noted[0].facts_json).unwrap();
    assert_eq!(facts.proof, "join_token");
    assert_eq!(facts.selectors, [format!("join:id:{AGENT}")]);
}
