use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::app::Parts;
use crate::revoke::ListKeys;
use crate::settings::{Settings, names};

const AGENT: &str = "spiffe://cluster.local/countersign/agent/one";
const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

async fn api(dir: &TempDir) -> AdminApi {
    let trust_domain = identity::TrustDomain::new("cluster.local").unwrap();
    let settings = Settings::new(trust_domain, dir.path().join("data"));
    let parts = Parts::open(&settings).await.unwrap();
    let issuance = parts.issuance;
    let report = CaReport::of(&parts.ca, String::new(), 60);
    let keys = ListKeys::open(
        settings.path(names::DENY_LIST_KEY),
        settings.path(names::DENY_LIST_NEXT_KEY),
    );
    let publisher = Publisher::start(keys.unwrap(), issuance.clone(), 60);
    let publisher = Arc::new(publisher.await.unwrap());
    let bundles = Bundles::start(issuance.clone(), Arc::clone(&publisher));
    let own = crate::serve::own_certificate::issue(&issuance)
        .await
        .unwrap();
    let telemetry = Arc::clone(issuance.telemetry());
    let health = Health {
        issuance: issuance.clone(),
        publisher: Arc::clone(&publisher),
        attendance: crate::serve::attendance::Attendance::default(),
        front: crate::serve::front::Front::new(&settings.limits, telemetry),
        peers: crate::limits::peers::Peers::new(1, 1),
        serving: Arc::new(crate::serve::tls::ServingCertificate::new(own.key)),
        data_dir: settings.data_dir.clone(),
        metrics_listen: None,
        started: (tokio::time::Instant::now(), 0),
        probed: tokio::sync::Mutex::default(),
    };
    AdminApi {
        health: Arc::new(health),
        bundles: Arc::new(bundles.await.unwrap()),
        publisher,
        issuance,
        ca: watch::channel(Arc::new(report)).1,
        entries: watch::channel(0).0,
        bundle: watch::channel(Arc::default()).0,
        listen_address: String::new(),
        admin_socket: PathBuf::new(),
    }
}

fn entry() -> Request<CreateEntryRequest> {
    let entry = Entry {
        parent_id: AGENT.to_owned(),
        spiffe_id: HTTPBIN.to_owned(),
        selectors: vec!["unix:uid:0".to_owned()],
        ..Entry::default()
    };
    Request::new(CreateEntryRequest { entry: Some(entry) })
}

/// Lets a call begin and drops it, as happens to the call of an operator who hangs up.
fn hang_up_on<T>(call: impl Future<Output = Result<T, Status>> + Send) {
    use futures::FutureExt as _;
    assert!(call.now_or_never().is_none(), "it was done at once");
}

#[tokio::test]
async fn entries_are_announced_also_when_the_operator_hangs_up() {
    let dir = TempDir::new().unwrap();
    let api = api(&dir).await;
    let mut announced = api.entries.subscribe();
    hang_up_on(api.create_entry(entry()));
    timeout(Duration::from_secs(5), announced.changed())
        .await
        .expect("the new entry is announced")
        .unwrap();
    let id = api.issuance.inventory().entries(None, None).await.unwrap()[0]
        .id
        .clone();
    hang_up_on(api.delete_entry(Request::new(DeleteEntryRequest { id })));
    timeout(Duration::from_secs(5), announced.changed())
        .await
        .expect("that it is gone is announced")
        .unwrap();
}

#[tokio::test]
async fn a_revocation_is_published_also_when_the_operator_hangs_up() {
    let dir = TempDir::new().unwrap();
    let api = api(&dir).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key);
    let issued = api
        .issue_certificate(Request::new(IssueCertificateRequest {
            csr_pem: csr.unwrap().pem().unwrap(),
            spiffe_id: HTTPBIN.to_owned(),
            ttl_seconds: 60,
        }))
        .await
        .unwrap()
        .into_inner()
        .certificate
        .unwrap();
    let mut lists = api.publisher.watch();
    let request = Request::new(ChangeStateRequest {
        selector: Some(WireSelector::Serial(issued.serial)),
        action: admin::StateAction::Revoke.into(),
        reason: String::new(),
    });
    hang_up_on(api.change_state(request));
    timeout(Duration::from_secs(5), lists.changed())
        .await
        .expect("a new list is published")
        .unwrap();
    let digest = issued.sha256.parse().unwrap();
    assert!(lists.borrow().denies(&digest));
}
