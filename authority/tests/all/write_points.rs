//! The process ends, or the disk is full, at each of many points of writing: at a limit on the size
//! of files, which the kernel enforces within a write and which moves on from run to run. Whatever a
//! caller got is on record and in the audit log, nothing is there by half, and who got nothing was
//! told so.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use api::admin::admin_service_client::AdminServiceClient;
use api::admin::{
    ChangeStateRequest, CreateEntryRequest, CreateJoinTokenRequest, Entry, IssueCertificateRequest,
    ListCertificatesRequest, StateAction, change_state_request::Selector,
};
use authority::audit::key::LogPublicKey;
use authority::audit::position::Position;
use authority::audit::verify::{Expected, verify};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::crash::{CHILD, FOLDER, LISTENING};
use crate::support::{AGENT, HTTPBIN, SLEEP, admin, csr, key};

/// The record in a data folder nobody runs on is sound, and no older than its position.
pub(crate) async fn check_record(data: &Path) {
    let expected = Expected {
        public_key: LogPublicKey::read(&data.join("audit.pub")).unwrap(),
        position: Position::read(&data.join("position.json")).unwrap(),
    };
    let report = verify(&data.join("countersign.db"), &expected, |_| {}).await;
    assert_eq!(report.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_within_any_write_nothing_is_there_by_half() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut held = BTreeSet::new();
    serve(&data, None).unwrap().stop();
    let mut killed = 0;
    for run in 0..40_u64 {
        // Blocks of 512 bytes; frames of the write-ahead log have 4,120, so that each limit is at
        // another point within one.
        fold_log(&data).await;
        let got = run_until_limit(&data, 60 + run * 97, false).await;
        killed += u32::from(got.ended);
        for serial in got.serials {
            assert!(held.insert(serial), "a serial number was given out twice");
        }
        check_record(&data).await;
    }
    assert!(killed > 30, "{killed}");
    assert!(held.len() > 40, "{}", held.len());
    recorded(&data, &held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_callers_are_told_and_nothing_is_there_by_half() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut held = BTreeSet::new();
    serve(&data, None).unwrap().stop();
    let mut told = 0;
    for run in 0..6_u64 {
        fold_log(&data).await;
        let got = run_until_limit(&data, 1000 + run * 700, true).await;
        told += u32::from(got.unavailable);
        held.extend(got.serials);
        check_record(&data).await;
    }
    assert!(told >= 5, "{told}");
    assert!(held.len() > 20, "{}", held.len());
    recorded(&data, &held).await;
}

/// Has SQLite begin its write-ahead log anew, so that a limit is as far from its begin in each run.
async fn fold_log(data: &Path) {
    let options = SqliteConnectOptions::new().filename(data.join("countersign.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// Everything that callers got is on record.
async fn recorded(data: &Path, held: &BTreeSet<String>) {
    let running = serve(data, None).unwrap();
    let request = ListCertificatesRequest {
        limit: 10_000,
        ..Default::default()
    };
    let found = admin(&data.join("admin.sock"))
        .await
        .list_certificates(request)
        .await;
    let found: BTreeSet<String> = found
        .unwrap()
        .into_inner()
        .certificates
        .into_iter()
        .map(|certificate| certificate.serial)
        .collect();
    let lost: Vec<_> = held.difference(&found).collect();
    assert!(lost.is_empty(), "{lost:?}");
    running.stop();
}

/// What callers saw.
#[derive(Default)]
struct Got {
    serials: Vec<String>,
    /// Whether one was told that the record could not be written.
    unavailable: bool,
    /// Whether the process ended by itself.
    ended: bool,
}

/// Runs an authority whose files may have so many blocks, with callers of all kinds.
async fn run_until_limit(data: &Path, blocks: u64, survives: bool) -> Got {
    // With too few it does not even start.
    let Some(mut running) = serve(data, Some((blocks, survives))) else {
        return Got {
            ended: true,
            ..Got::default()
        };
    };
    let socket = data.join("admin.sock");
    let callers: Vec<_> = (0..4).map(|_| tokio::spawn(call(socket.clone()))).collect();
    let mut all = Got::default();
    for caller in callers {
        let got = caller.await.unwrap();
        all.serials.extend(got.serials);
        all.unavailable |= got.unavailable;
    }
    if !survives {
        all.ended = running.ends().await;
    }
    running.stop();
    all
}

/// Issues, makes entries and tokens, and revokes, until something fails.
async fn call(socket: PathBuf) -> Got {
    let mut got = Got::default();
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    let Ok(channel) = endpoint.timeout(Duration::from_secs(20)).connect().await else {
        return got;
    };
    let mut client = AdminServiceClient::new(channel);
    let request = IssueCertificateRequest {
        csr_pem: csr(&key()),
        spiffe_id: SLEEP.to_owned(),
        ttl_seconds: 600,
    };
    for round in 0..400_u64 {
        match client.issue_certificate(request.clone()).await {
            Ok(reply) => got
                .serials
                .push(reply.into_inner().certificate.unwrap().serial),
            Err(status) => {
                got.unavailable = is_told(&status);
                break;
            }
        }
        if round % 3 == 0
            && let Err(status) = others(&mut client, got.serials.last(), round).await
        {
            got.unavailable = is_told(&status);
            break;
        }
    }
    got
}

fn is_told(status: &tonic::Status) -> bool {
    status.code() == Code::Unavailable && status.message() == "the record could not be written"
}

async fn others(
    client: &mut AdminServiceClient<Channel>,
    serial: Option<&String>,
    round: u64,
) -> Result<(), tonic::Status> {
    let token = CreateJoinTokenRequest {
        spiffe_id: AGENT.to_owned(),
        ttl_seconds: 60,
    };
    client.create_join_token(token).await?;
    let random = key().serialize_pem();
    let entry = Entry {
        parent_id: AGENT.to_owned(),
        spiffe_id: HTTPBIN.to_owned(),
        selectors: vec![format!("unix:sha256:{}", &random[40..80].replace('\n', ""))],
        ..Entry::default()
    };
    client
        .create_entry(CreateEntryRequest { entry: Some(entry) })
        .await?;
    let refused = IssueCertificateRequest {
        csr_pem: "no CSR".to_owned(),
        spiffe_id: SLEEP.to_owned(),
        ttl_seconds: round.try_into().unwrap_or(0),
    };
    match client.issue_certificate(refused).await {
        Err(status) if status.code() == Code::InvalidArgument => {}
        Err(status) => return Err(status),
        Ok(_) => panic!("a CSR that is none was signed"),
    }
    if let Some(serial) = serial {
        let change = ChangeStateRequest {
            selector: Some(Selector::Serial(serial.clone())),
            action: StateAction::Revoke.into(),
            reason: "a test".to_owned(),
        };
        client.change_state(change).await?;
    }
    Ok(())
}

/// An authority in a process of its own.
struct Running(Child);

/// Starts one and waits until it listens; none if it ends before. With a limit on the size of files,
/// in blocks of 512 bytes: a write beyond it ends the process, or fails if it survives.
fn serve(data: &Path, limit: Option<(u64, bool)>) -> Option<Running> {
    let mut script = "ulimit -c 0; ".to_owned();
    if let Some((blocks, survives)) = limit {
        // Whatever the signal does here is passed on, and a shell cannot change an ignored one.
        let signal = if survives { "ignore" } else { "default" };
        script.push_str(&format!(
            "ulimit -f {blocks}; exec env --{signal}-signal=XFSZ \"$0\" \"$@\""
        ));
    } else {
        script.push_str("exec \"$0\" \"$@\"");
    }
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(CHILD)
        .env(FOLDER, data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listens = lines
        .map_while(Result::ok)
        .any(|line| line.contains(LISTENING));
    let running = Running(child);
    listens.then_some(running)
}

impl Running {
    /// Whether it ends by itself soon: its deny list is counted on, so something is written.
    async fn ends(&mut self) -> bool {
        for _ in 0..100 {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
