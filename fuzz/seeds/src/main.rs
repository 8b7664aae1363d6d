//! Writes the first inputs of the fuzz targets to `corpus/<target>/`: certificates made now, with
//! keys that are thrown away, and texts. Run it in `fuzz/`: `cargo run -p countersign-fuzz-seeds`.

use std::error::Error;
use std::fs;
use std::path::Path;

use identity::UnixTime;
use identity::deny_list::{Changes, Entries, Entry, Head, State, Update, assemble, signing_input};
use identity::policy_bundle::{self, Bundle};
use identity::x509::Sha256Digest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SignatureAlgorithm,
};

const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

fn main() -> Result<(), Box<dyn Error>> {
    let algorithms: [(&str, &'static SignatureAlgorithm); 4] = [
        ("p256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("p384", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("rsa", &rcgen::PKCS_RSA_SHA256),
        ("ed25519", &rcgen::PKCS_ED25519),
    ];
    for (name, algorithm) in algorithms {
        let key = KeyPair::generate_for(algorithm)?;
        let params = authority();
        let root = params.self_signed(&key)?;
        let issuer = Issuer::new(params, &key);
        let leaf = leaf(&[HTTPBIN])?.signed_by(&KeyPair::generate()?, &issuer)?;
        let two = leaf_pair(&issuer)?;
        write("certificate", &format!("root-{name}"), root.der())?;
        write("certificate", &format!("leaf-{name}"), leaf.der())?;
        write("certificate", &format!("two-uris-{name}"), &two)?;
        write("csr", name, request(&key)?.der())?;
        write("pem", &format!("leaf-{name}"), leaf.pem().as_bytes())?;
        let encoded = leaf
            .pem()
            .replace('+', "%2B")
            .replace('\n', "%0A")
            .replace(' ', "%20");
        write("pem", &format!("url-{name}"), encoded.as_bytes())?;
        write(
            "pem",
            &format!("key-{name}"),
            key.public_key_pem().as_bytes(),
        )?;
    }
    csr_bodies()?;
    deny_lists()?;
    policy_bundles()?;
    tokens()?;
    for (name, path) in [
        ("plain", "/ip"),
        ("dots", "/a/../b/./c"),
        ("escaped", "/a%2f..%2Fb%41%"),
        ("slashes", "//a///b/"),
        ("backslash", "/a\\..\\b"),
        ("query", "/a?b=/../c#d"),
    ] {
        write("path", name, path.as_bytes())?;
    }
    for (name, policy) in POLICIES {
        write("policy_yaml", name, policy.as_bytes())?;
    }
    copy_policies(Path::new("../policy/corpus"))?;
    write("plugin_config", "inbound", inbound()?.as_bytes())?;
    write("plugin_config", "outbound", OUTBOUND.as_bytes())?;
    for (name, id) in [
        ("istio", HTTPBIN),
        ("root", "spiffe://example.org"),
        ("upper", UPPER),
    ] {
        write("spiffe_id", name, id.as_bytes())?;
    }
    Ok(())
}

/// Header, claims and key set, a line each; see the target `token`.
fn tokens() -> Result<(), Box<dyn Error>> {
    let point = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    let keys = format!(
        r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"1","use":"sig","x":"{point}","y":"{point}"}}]}}"#
    );
    let claims = concat!(
        r#"{"iss":"https://i.example","aud":["istio-ca"],"exp":1767229200,"iat":1767225600,"#,
        r#""nbf":1767225600,"sub":"system:serviceaccount:payments:api","kubernetes.io":{"#,
        r#""namespace":"payments","serviceaccount":{"name":"api","uid":"u"},"#,
        r#""pod":{"name":"api-0","uid":"p"},"node":{"name":"n1","uid":"n"}}}"#
    );
    let text = format!("{{\"alg\":\"ES256\",\"kid\":\"1\"}}\n{claims}\n{keys}");
    write("token", "projected", text.as_bytes())?;
    let none = format!("{{\"alg\":\"none\"}}\n{claims}");
    write("token", "none", none.as_bytes())?;
    write(
        "token",
        "compact",
        b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJpIn0.AAAA",
    )
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "fuzz authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(uris: &[&str]) -> Result<CertificateParams, Box<dyn Error>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    for uri in uris {
        params
            .subject_alt_names
            .push(SanType::URI((*uri).try_into()?));
    }
    Ok(params)
}

fn leaf_pair(issuer: &Issuer<'_, &KeyPair>) -> Result<Vec<u8>, Box<dyn Error>> {
    let params = leaf(&[HTTPBIN, UPPER])?;
    Ok(params
        .signed_by(&KeyPair::generate()?, issuer)?
        .der()
        .to_vec())
}

/// Requests to certify the target's key without their signature, which the target makes itself.
fn csr_bodies() -> Result<(), Box<dyn Error>> {
    let der = hex::decode(include_str!("../csr.key.hex").trim())?;
    let key = KeyPair::try_from(der.as_slice())?;
    let whole = request(&key)?;
    // Behind the outer header, of four bytes at this length, stands the part that is signed.
    let body = whole.der().get(4..).unwrap_or_default();
    let length = match body {
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        [0x30, 0x81, length, ..] => 3 + usize::from(*length),
        _ => body.len(),
    };
    write("csr", "body", body.get(..length).unwrap_or(body))
}

/// A request that asks for names and usages of its own.
fn request(key: &KeyPair) -> Result<rcgen::CertificateSigningRequest, Box<dyn Error>> {
    let mut params = CertificateParams::new(vec!["gateway.example.org".to_owned()])?;
    params
        .subject_alt_names
        .push(SanType::URI(HTTPBIN.to_owned().try_into()?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params.serialize_request(key)?)
}

fn write(target: &str, name: &str, content: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder = Path::new("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), content)?;
    Ok(())
}

const UPPER: &str = "SPIFFE://Example.ORG/A/b";
const POLICIES: [(&str, &str); 3] = [
    (
        "allow",
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: default}\n\
         spec:\n  selector: {matchLabels: {app: httpbin}}\n  action: ALLOW\n  rules:\n\
         - from: [{source: {principals: [cluster.local/ns/default/sa/sleep], notNamespaces: [x-*]}}]\n\
         \u{20} to: [{operation: {methods: [GET], paths: [/admin/*], hosts: ['*.default'], ports: ['80']}}]\n\
         \u{20} when: [{key: 'request.headers[x-role]', values: [admin]}]\n",
    ),
    (
        "deny",
        "kind: AuthorizationPolicy\napiVersion: security.istio.io/v1\nmetadata: {name: d}\nspec: {action: DENY, rules: [{from: \
         [{source: {ipBlocks: [10.0.0.0/8], notRemoteIpBlocks: ['::1']}}]}]}\n---\n",
    ),
    (
        "mtls",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: default}\n\
         spec: {mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: PERMISSIVE}}}\n",
    ),
];
const OUTBOUND: &str = r#"{"schemaVersion":1,"direction":"outbound","workload":{"namespace":"default"},"trustDomain":"cluster.local","trust":{"cluster.local":{"issuers":[]}},"secureNaming":{"clusters":{"a":["spiffe://cluster.local/b"]},"hold":{"milliseconds":5}},"denyList":{"cluster":"agent","authority":"spiffe://cluster.local/countersign/authority/deny-list","stale":{"graceSeconds":30}}}"#;

fn deny_lists() -> Result<(), Box<dyn Error>> {
    let now = UnixTime::from_secs(1_767_225_600);
    let entry = |of: &[u8], state| Entry {
        sha256: Sha256Digest::of(of),
        state,
        since: now,
    };
    // Those that the fuzz target holds, and others.
    let held = Entries::new(vec![
        entry(b"1", State::Revoked),
        entry(b"2", State::Suspended),
        entry(b"3", State::Revoked),
    ])?;
    let next = Entries::new(vec![
        entry(b"2", State::Revoked),
        entry(b"4", State::Revoked),
    ])?;
    let head = Head::of(&next, (1, 2), now, 60).ok_or("no head")?;
    let jws = assemble(&signing_input(&head, KID, None), &[1; 64]);
    let changes = Changes::between(&held, &next);
    for (name, which, bytes) in [
        ("full", 0, Update::full(&jws, &next)),
        ("delta", 0, Update::delta(&jws, (1, 1), &changes)),
        ("head", 1, HEAD.as_bytes().to_vec()),
        ("entries", 2, next.as_bytes().to_vec()),
        ("changes", 3, changes.as_bytes().to_vec()),
    ] {
        write("deny_list", name, &[&[which], bytes.as_slice()].concat())?;
    }
    Ok(())
}

fn policy_bundles() -> Result<(), Box<dyn Error>> {
    let now = UnixTime::from_secs(1_767_225_600);
    let head = policy_bundle::Head::of("shop".parse()?, (1, 7), now, BODY).ok_or("no head")?;
    let jws = assemble(&policy_bundle::signing_input(&head, KID, None), &[1; 64]);
    let bundle = Bundle {
        head: &jws,
        body: BODY,
    };
    let document = format!(
        r#"{{"schemaVersion":1,"name":"shop","epoch":1,"sequence":7,"issued":1767225600,"size":{},"sha256":"{}"}}"#,
        head.size, head.sha256
    );
    for (name, which, bytes) in [
        ("bundle", 0, bundle.to_bytes()),
        ("head", 1, document.into_bytes()),
        ("policies", 2, BODY.to_vec()),
    ] {
        write(
            "policy_bundle",
            name,
            &[&[which], bytes.as_slice()].concat(),
        )?;
    }
    Ok(())
}

const BODY: &[u8] = br#"[{"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{"name":"a","namespace":"default"},"spec":{"action":"DENY","rules":[{"from":[{"source":{"principals":["cluster.local/ns/*"]}}],"to":[{"operation":{"paths":["/a*"]}}]}]}}]"#;

fn inbound() -> Result<String, Box<dyn Error>> {
    let params = authority();
    let issuer = params
        .self_signed(&KeyPair::generate()?)?
        .pem()
        .replace('\n', "\\n");
    Ok(format!(
        r#"{{"schemaVersion":1,"direction":"inbound","workload":{{"namespace":"default"}},"trustDomain":"cluster.local","trust":{{"cluster.local":{{"issuers":["{issuer}"]}}}},"policies":[{{"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{{"name":"a","namespace":"default"}},"spec":{{"rules":[{{"to":[{{"operation":{{"paths":["/a*"]}}}}]}}]}}}}],"decisionLog":{{"allowed":"all"}}}}"#
    ))
}

/// Each policy of the policy crate's own corpus is a document of its own.
fn copy_policies(folder: &Path) -> Result<(), Box<dyn Error>> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name().into_string().map_err(|_bytes| "a name")?;
        if name.ends_with(".yaml") {
            write("policy_yaml", &name, &fs::read(file.path())?)?;
        }
    }
    Ok(())
}

/// The key id of the fuzz target's key.
const KID: &str = "5cd252fb0ce8932436faf8ccd1040981b89ee4ad6b9fe9e2a2b7e71aacb27cd3";
const HEAD: &str = r#"{"schemaVersion":2,"epoch":1,"sequence":7,"issued":1767225600,"expires":1767225660,"count":2,"entriesSha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}"#;
