//! SIGKILL at any moment: every certificate a caller got is on record, no serial number and no
//! deny-list number is used twice, the audit log verifies, and the CA is the same.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use api::admin::admin_service_client::AdminServiceClient;
use api::admin::{GetStatusRequest, IssueCertificateRequest, ListCertificatesRequest};
use identity::TrustDomain;
use tempfile::TempDir;
use tonic::transport::Endpoint;

use crate::support::{SLEEP, admin, csr, key, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_caller_got_is_lost_when_the_authority_is_killed() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let socket = data.join("admin.sock");
    let mut held: BTreeSet<String> = BTreeSet::new();
    let mut root: Option<String> = None;
    let mut sequence = 0;
    for round in 0..6_u64 {
        let mut child = Authority::spawn(&data);
        let workers: Vec<_> = (0..8)
            .map(|_| tokio::spawn(issue_until_cut(socket.clone())))
            .collect();
        // A different moment each round, from the very start to the thick of it.
        tokio::time::sleep(Duration::from_millis(37 * round * round)).await;
        child.kill();
        for worker in workers {
            for serial in worker.await.unwrap() {
                assert!(held.insert(serial), "a serial number was given out twice");
            }
        }

        let mut child = Authority::spawn(&data);
        let mut client = admin(&socket).await;
        let status = client
            .get_status(GetStatusRequest {})
            .await
            .unwrap()
            .into_inner();
        let root_now = status.root.unwrap().sha256;
        assert_eq!(*root.get_or_insert_with(|| root_now.clone()), root_now);
        assert!(status.deny_list_sequence > sequence);
        sequence = status.deny_list_sequence;
        let request = ListCertificatesRequest {
            limit: 10_000,
            ..Default::default()
        };
        let recorded = client
            .list_certificates(request)
            .await
            .unwrap()
            .into_inner()
            .certificates;
        let recorded: BTreeSet<String> = recorded.into_iter().map(|c| c.serial).collect();
        let lost: Vec<_> = held.difference(&recorded).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        child.kill();
        crate::write_points::check_record(&data).await;
    }
    assert!(
        held.len() > 20,
        "only {} certificates were issued",
        held.len()
    );
}

#[tokio::test]
async fn a_ca_that_is_killed_while_being_made_is_whole_or_absent() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(CHILD)
            .env(FOLDER, &data)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(4 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let ca = data.join("ca");
        if ca.exists() {
            authority::ca::load(&ca, crate::support::real_now()).unwrap();
        }
    }
    // Whatever was left behind, the next one starts.
    Authority::spawn(&data).kill();
}

/// The serial numbers of all certificates that arrived before the connection was cut.
async fn issue_until_cut(socket: PathBuf) -> Vec<String> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    // In some rounds it is dead already.
    let Ok(channel) = endpoint.connect().await else {
        return Vec::new();
    };
    let mut client = AdminServiceClient::new(channel);
    let request = IssueCertificateRequest {
        csr_pem: csr(&key()),
        spiffe_id: SLEEP.to_owned(),
        ttl_seconds: 600,
    };
    let mut serials = Vec::new();
    while let Ok(reply) = client.issue_certificate(request.clone()).await {
        serials.push(reply.into_inner().certificate.unwrap().serial);
    }
    serials
}

/// An authority in a process of its own: this very test program, told to run the function below.
struct Authority(Child);

impl Authority {
    /// Returns once it listens.
    fn spawn(data: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(CHILD)
            .env(FOLDER, data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines
            .map(Result::unwrap)
            .any(|line| line.contains(LISTENING));
        assert!(listening, "the authority did not start");
        Self(child)
    }

    fn kill(&mut self) {
        // SIGKILL.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Not a test: the authority of the tests above. Without its variable it does nothing.
#[tokio::test]
#[ignore = "run as a child process by the tests of this file"]
async fn child_that_serves_until_killed() {
    let Some(data) = std::env::var_os(FOLDER) else {
        return;
    };
    let settings = settings(Path::new(&data));
    assert_eq!(
        settings.trust_domain,
        TrustDomain::new("cluster.local").unwrap()
    );
    authority::serve(
        settings,
        |_| println!("{LISTENING}"),
        std::future::pending(),
    )
    .await
    .unwrap();
}

pub(crate) const CHILD: [&str; 4] = [
    "--ignored",
    "--exact",
    "--nocapture",
    "crash::child_that_serves_until_killed",
];
pub(crate) const FOLDER: &str = "COUNTERSIGN_TEST_FOLDER";
pub(crate) const LISTENING: &str = "the authority listens";
