//! A proxy, an authority and a configuration to test with.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING};
use aws_lc_rs::signature::{EcdsaKeyPair, UnparsedPublicKey};
use identity::UnixTime;
use identity::deny_list::{Entries, Entry, Head, ListKey, State, Update, assemble, signing_input};
use identity::policy_bundle::{self, Bundle};
use identity::x509::Sha256Digest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::host::fake::FakeHost;
use crate::host::{Action, Buffer, HeaderMap};
use crate::vm::Vm;

/// The second at which everything happens.
pub(crate) const NOW: i64 = 1_790_000_000;
/// The root context.
pub(crate) const ROOT: u32 = 1;
/// A request's context.
pub(crate) const REQUEST: u32 = 7;

pub(crate) const SLEEP: &str = "spiffe://cluster.local/ns/default/sa/sleep";
pub(crate) const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

/// An authority that signs leaves.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A leaf.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) sha256: Sha256Digest,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "issuer");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params.not_before, params.not_after) = (at(-1000), at(100_000));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(crate) fn leaf(&self, id: &str) -> Leaf {
        self.leaf_valid(id, -60, 3600)
    }

    pub(crate) fn leaf_valid(&self, id: &str, from: i64, to: i64) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        (params.not_before, params.not_after) = (at(from), at(to));
        let certificate = params
            .signed_by(&KeyPair::generate().unwrap(), &self.issuer)
            .unwrap();
        Leaf {
            pem: certificate.pem(),
            sha256: Sha256Digest::of(certificate.der()),
        }
    }
}

fn at(offset: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW + offset).unwrap()
}

/// The signer of deny lists.
pub(crate) struct Signer(KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(KeyPair::generate().unwrap())
    }

    pub(crate) fn public_pem(&self) -> String {
        ListKey::from_spki_der(&self.0.subject_public_key_info())
            .unwrap()
            .to_pem()
    }

    /// A list of all entries, as it travels.
    pub(crate) fn list(
        &self,
        epoch: u64,
        sequence: u64,
        issued: i64,
        entries: &[(Sha256Digest, State)],
    ) -> Vec<u8> {
        let entries = denied(entries);
        let head = self.head((epoch, sequence), issued, &entries, None);
        Update::full(&head, &entries)
    }

    /// The signed head of a list, with a certificate in it or without.
    pub(crate) fn head(
        &self,
        position: (u64, u64),
        issued: i64,
        entries: &Entries,
        certificate: Option<&[u8]>,
    ) -> Vec<u8> {
        let head = Head::of(entries, position, UnixTime::from_secs(issued), 60).unwrap();
        self.sign(&signing_input(&head, &self.kid(), certificate))
    }

    fn kid(&self) -> String {
        let key = ListKey::from_spki_der(&self.0.subject_public_key_info());
        key.unwrap().kid().to_owned()
    }

    fn sign(&self, input: &[u8]) -> Vec<u8> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0.serialize_der())
                .unwrap();
        let signature = pair
            .sign(&aws_lc_rs::rand::SystemRandom::new(), input)
            .unwrap();
        assemble(input, signature.as_ref().try_into().unwrap())
    }

    /// A policy bundle, as it travels.
    pub(crate) fn bundle(&self, name: &str, position: (u64, u64), policies: &Value) -> Vec<u8> {
        let body = policies.to_string();
        let head = self.bundle_head(name, position, body.as_bytes());
        Bundle {
            head: &head,
            body: body.as_bytes(),
        }
        .to_bytes()
    }

    /// The signed head of a policy bundle.
    pub(crate) fn bundle_head(&self, name: &str, position: (u64, u64), body: &[u8]) -> Vec<u8> {
        let issued = UnixTime::from_secs(NOW);
        let head = policy_bundle::Head::of(name.parse().unwrap(), position, issued, body).unwrap();
        self.sign(&policy_bundle::signing_input(&head, &self.kid(), None))
    }
}

/// Entries since [`NOW`].
pub(crate) fn denied(entries: &[(Sha256Digest, State)]) -> Entries {
    let since = UnixTime::from_secs(NOW);
    let entry = |&(sha256, state)| Entry {
        sha256,
        state,
        since,
    };
    Entries::new(entries.iter().map(entry).collect()).unwrap()
}

/// Envoy's `verify_signature`, for ECDSA on P-256 with SHA-256.
pub(crate) fn verify_signature(arguments: &[u8]) -> Vec<u8> {
    let mut fields: [&[u8]; 5] = [&[]; 5];
    let mut rest = arguments;
    while let [tag, tail @ ..] = rest {
        let mut len = 0_usize;
        let mut tail = tail;
        for shift in 0.. {
            let (&byte, next) = tail.split_first().unwrap();
            tail = next;
            len |= usize::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                break;
            }
        }
        assert_eq!(tag & 7, 2, "length-delimited");
        (fields[usize::from(tag >> 3)], rest) = tail.split_at(len);
    }
    let [_, hash, spki, signature, text] = fields;
    assert_eq!(hash, b"sha256");
    let point = &spki[spki.len() - 65..];
    let good = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(text, signature)
        .is_ok();
    if good {
        vec![8, 1]
    } else {
        b"\x12\x03bad".to_vec()
    }
}

/// A configured filter in a proxy.
pub(crate) struct World {
    pub(crate) host: FakeHost,
    pub(crate) vm: Vm<FakeHost>,
    pub(crate) authority: Authority,
    pub(crate) signer: Signer,
}

impl World {
    /// Without configuration.
    pub(crate) fn bare() -> Self {
        let host = FakeHost::new();
        host.set_now(u64::try_from(NOW).unwrap());
        host.set_foreign_function(verify_signature);
        let vm = Vm::new(host.clone());
        host.enter(ROOT);
        vm.on_context_create(ROOT, 0);
        Self {
            host,
            vm,
            authority: Authority::new(),
            signer: Signer::new(),
        }
    }

    /// With one ALLOW policy: `sleep` may `GET /get*`.
    pub(crate) fn inbound() -> Self {
        let world = Self::bare();
        assert!(world.configure(&world.inbound_config()));
        world
    }

    /// With cluster `httpbin` being `httpbin`, cluster `nobody` being nobody.
    pub(crate) fn outbound() -> Self {
        let world = Self::bare();
        assert!(world.configure(&world.outbound_config()));
        world
    }

    pub(crate) fn inbound_config(&self) -> Value {
        json!({
            "schemaVersion": 1,
            "direction": "inbound",
            "workload": {"namespace": "default"},
            "trustDomain": "cluster.local",
            "trust": {"cluster.local": {"issuers": [self.authority.pem]}},
            "policies": [{
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": "gets", "namespace": "default"},
                "spec": {"action": "ALLOW", "rules": [{
                    "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
                    "to": [{"operation": {"methods": ["GET"], "paths": ["/get*"]}}],
                }]},
            }],
        })
    }

    pub(crate) fn outbound_config(&self) -> Value {
        json!({
            "schemaVersion": 1,
            "direction": "outbound",
            "workload": {"namespace": "default"},
            "trustDomain": "cluster.local",
            "trust": {"cluster.local": {"issuers": [self.authority.pem]}},
            "secureNaming": {
                "clusters": {"httpbin": [HTTPBIN], "nobody": []},
                "hold": {"milliseconds": 200, "maxHeld": 3},
            },
        })
    }

    /// Adds a deny list to a configuration.
    pub(crate) fn with_deny_list(&self, mut config: Value) -> Value {
        config["denyList"] = json!({
            "cluster": "agent",
            "pollMilliseconds": 500,
            "keys": [self.signer.public_pem()],
        });
        config
    }

    pub(crate) fn configure(&self, config: &Value) -> bool {
        self.configure_root(ROOT, config.to_string().as_bytes())
    }

    pub(crate) fn configure_root(&self, root: u32, bytes: &[u8]) -> bool {
        self.host.enter(root);
        self.host.set_buffer(Buffer::PluginConfiguration, bytes);
        self.vm.on_configure(root, bytes.len())
    }

    /// Begins a request of a peer with this certificate.
    pub(crate) fn arrive(&self, leaf: &Leaf, method: &str, path: &str) {
        self.begin(REQUEST, method, path);
        self.show(leaf);
    }

    /// Begins a request of a peer without one.
    pub(crate) fn begin(&self, context: u32, method: &str, path: &str) {
        self.host.delete(context);
        self.host.enter(context);
        self.vm.on_context_create(context, ROOT);
        self.host.set_property("connection.mtls", &[0]);
        self.host.set_headers(
            HeaderMap::Request,
            &[
                (":method", method),
                (":path", path),
                (":authority", "httpbin"),
            ],
        );
    }

    /// Shows the client's certificate as Envoy 1.40 does.
    pub(crate) fn show(&self, leaf: &Leaf) {
        let host = &self.host;
        host.set_property("connection.mtls", &[1]);
        host.set_property("connection.peer_certificate_valid", &[1]);
        host.set_property("connection.peer_certificate", leaf.pem.as_bytes());
        let digest = leaf.sha256.to_string();
        host.set_property(
            "connection.sha256_peer_certificate_digest",
            digest.as_bytes(),
        );
    }

    /// Begins a request to a cluster.
    pub(crate) fn send_to(&self, context: u32, cluster: &str) {
        self.begin(context, "GET", "/get");
        self.host
            .set_property("xds.cluster_name", cluster.as_bytes());
    }

    /// Shows the server's certificate as Envoy 1.40 does.
    pub(crate) fn connect(&self, leaf: &Leaf) {
        let host = &self.host;
        host.set_property("upstream.local_address", b"127.0.0.1:1");
        host.set_property("upstream.tls_version", b"TLSv1.3");
        host.set_property("upstream.peer_certificate", leaf.pem.as_bytes());
        let digest = leaf.sha256.to_string();
        host.set_property("upstream.sha256_peer_certificate_digest", digest.as_bytes());
    }

    /// Decides the request; the reason where it is denied.
    pub(crate) fn decide(&self) -> Result<(), String> {
        self.decide_context(REQUEST)
    }

    pub(crate) fn decide_context(&self, context: u32) -> Result<(), String> {
        self.host.enter(context);
        let action = self.vm.on_request_headers(context);
        let sent = self.host.take_sent();
        match (action, sent.as_slice()) {
            (Action::Continue, []) => {
                assert_eq!(self.vm.on_request_rest(context), Action::Continue);
                Ok(())
            }
            (Action::Pause, [sent]) => {
                assert_eq!(sent.context, context);
                assert_eq!(self.vm.on_request_rest(context), Action::Pause);
                Err(sent
                    .details
                    .strip_prefix("countersign_denied_")
                    .unwrap()
                    .to_owned())
            }
            other => panic!("neither allowed nor denied: {other:?}"),
        }
    }

    /// Lets the timer fire when it is due.
    pub(crate) fn tick(&self) {
        let period = self.host.tick();
        assert_ne!(period, 0, "no tick was asked for");
        self.host.advance(u64::from(period));
        self.host.enter(ROOT);
        self.vm.on_tick(ROOT);
    }

    /// Answers the call with this token.
    pub(crate) fn answer(&self, token: u32, status: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.host.enter(ROOT);
        self.host
            .set_headers(HeaderMap::HttpCallResponse, &[(":status", status)]);
        self.host.set_buffer(Buffer::HttpCallResponseBody, body);
        self.vm.on_http_call_response(ROOT, token, 1, body.len());
    }

    /// Polls once and answers with this list.
    pub(crate) fn deliver(&self, list: impl AsRef<[u8]>) {
        // Other things may be due before the poll.
        let called = (0..8).find_map(|_| {
            self.tick();
            Some(self.host.take_called()).filter(|called| !called.is_empty())
        });
        let called = called.unwrap_or_default();
        let [call] = called.as_slice() else {
            panic!("one call, not {called:?}")
        };
        self.answer(call.token, "200", list);
    }
}
