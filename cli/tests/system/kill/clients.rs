//! Those who use an authority while it is killed. A request that fails is made again a moment later.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::admin::admin_service_client::AdminServiceClient;
use api::admin::change_state_request::Selector;
use api::admin::{
    Certificate, ChangeStateRequest, GetStatusRequest, IssueCertificateRequest, StateAction,
};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use crate::agents::Sds;
use crate::issued::{Received, csr};
use crate::kill::PAUSE;
use crate::kill::ledger::Ledger;
use crate::world::{HTTPBIN, Home, SLEEP, admin};

const VICTIM: &str = "spiffe://cluster.local/ns/default/sa/victim";

/// The clients, running.
pub(super) struct Clients {
    tasks: JoinSet<()>,
}

impl Clients {
    pub(super) fn start(home: &Arc<Home>, agent: &Path, ledger: &Arc<Ledger>) -> Self {
        let mut tasks = JoinSet::new();
        for name in ["operator 1", "operator 2", "operator 3"] {
            let client = admin(&home.admin_socket());
            tasks.spawn(operator(client, name, Arc::clone(ledger)));
        }
        let client = admin(&home.admin_socket());
        tasks.spawn(taker_back(client, Arc::clone(ledger)));
        tasks.spawn(envoy(agent.to_owned(), Arc::clone(ledger)));
        tasks.spawn(command_line(Arc::clone(home), Arc::clone(ledger)));
        Self { tasks }
    }

    /// Stops them; a panic in one of them is one of the test.
    pub(super) async fn stop(mut self) {
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            assert!(
                ended.is_err_and(|error| error.is_cancelled()),
                "a client ended by itself"
            );
        }
    }
}

async fn issue(
    client: &mut AdminServiceClient<Channel>,
    spiffe_id: &str,
) -> Result<Certificate, Status> {
    let request = IssueCertificateRequest {
        csr_pem: csr(),
        spiffe_id: spiffe_id.to_owned(),
        ttl_seconds: 600,
    };
    let answer = client.issue_certificate(request).await?.into_inner();
    let record = answer.certificate.unwrap();
    let received = Received::of_chain(&answer.cert_chain.concat());
    assert_eq!(received.serial, record.serial);
    assert_eq!(received.sha256, record.sha256);
    Ok(record)
}

fn received(record: &Certificate) -> Received {
    Received {
        serial: record.serial.clone(),
        sha256: record.sha256.clone(),
        spiffe_id: record.spiffe_id.clone(),
    }
}

/// Issues over the admin socket.
async fn operator(
    mut client: AdminServiceClient<Channel>,
    name: &'static str,
    ledger: Arc<Ledger>,
) {
    loop {
        if let Ok(record) = issue(&mut client, SLEEP).await {
            ledger.received(name, received(&record));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Suspends one, suspends and resumes the next, revokes the third.
async fn taker_back(mut client: AdminServiceClient<Channel>, ledger: Arc<Ledger>) {
    let plans: [&[(StateAction, &str)]; 3] = [
        &[(StateAction::Suspend, "suspended")],
        &[
            (StateAction::Suspend, "suspended"),
            (StateAction::Resume, "active"),
        ],
        &[
            (StateAction::Suspend, "suspended"),
            (StateAction::Revoke, "revoked"),
        ],
    ];
    for number in 0_usize.. {
        // An identity of its own: no more are issued to one that is suspended.
        let spiffe_id = format!("{VICTIM}-{number}");
        if let Ok(record) = issue(&mut client, &spiffe_id).await {
            ledger.received("taker back", received(&record));
            for (action, state) in plans[number % 3] {
                change(&mut client, &record.serial, *action, &ledger).await;
                ledger.changed(&record.serial, state);
            }
        }
        if let Ok(status) = client.get_status(GetStatusRequest {}).await {
            let status = status.into_inner();
            ledger.saw_list((status.deny_list_epoch, status.deny_list_sequence));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Changes a state, however often it takes. The ledger knows nothing meanwhile: either may be true.
async fn change(
    client: &mut AdminServiceClient<Channel>,
    serial: &str,
    action: StateAction,
    ledger: &Ledger,
) {
    ledger.unsure(serial);
    loop {
        let request = ChangeStateRequest {
            selector: Some(Selector::Serial(serial.to_owned())),
            action: action.into(),
            reason: "killed while it was done".to_owned(),
        };
        match client.change_state(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                ledger.saw_list((answer.deny_list_epoch, answer.deny_list_sequence));
                return;
            }
            Err(_again) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Takes what the agent gives to Envoy.
async fn envoy(agent: PathBuf, ledger: Arc<Ledger>) {
    loop {
        if let Ok(mut stream) = Sds::subscribe(&agent, HTTPBIN).await {
            while let Ok((chain, _key)) = stream.next().await {
                ledger.received("agent", Received::of_chain(&chain));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Issues with the command: all files or none, and a message if none.
async fn command_line(home: Arc<Home>, ledger: Arc<Ledger>) {
    for number in 0_u32.. {
        let folder = home.path(&format!("issued/{number}"));
        let out = folder.to_str().unwrap();
        let outcome = home.run(["cert", "issue", SLEEP, "--out", out]).await;
        if folder.exists() {
            outcome.done();
            ledger.received("command line", Received::of_files(&folder));
        } else {
            outcome.fails(&["authority"]);
        }
    }
}
