//! More than one was given: what callers, operators and neighbours might try.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use api::admin::{
    CreateEntryRequest, Entry, IssueCertificateRequest, StateAction, change_state_request::Selector,
};
use authority::{DataDirError, ServeError};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::{AGENT, Ask, Authority, Held, OTHER_AGENT, SLEEP, csr, key, parse, settings};

const AUTHORITY: &str = "spiffe://cluster.local/countersign/authority";

#[tokio::test]
async fn no_entry_gives_away_an_identity_of_countersign_itself() {
    let authority = Authority::start().await;
    for id in [
        OTHER_AGENT,
        AGENT,
        AUTHORITY,
        "spiffe://cluster.local/countersign",
        "spiffe://cluster.local/countersign/anything",
    ] {
        let entry = Entry {
            parent_id: AGENT.to_owned(),
            spiffe_id: id.to_owned(),
            selectors: vec!["unix:uid:0".to_owned()],
            ..Entry::default()
        };
        let request = CreateEntryRequest { entry: Some(entry) };
        let mut admin = authority.admin().await;
        let refused = admin.create_entry(request).await.expect_err(id);
        assert_eq!(refused.code(), Code::InvalidArgument, "{id}");
        assert!(refused.message().contains("reserved"), "{refused}");
    }
    // Only names below `countersign/` are meant.
    let near = "spiffe://cluster.local/countersigned/agent/two";
    authority.entry(AGENT, near, 0).await;
}

#[tokio::test]
async fn what_the_operator_issued_does_not_prolong_itself() {
    let authority = Authority::start().await;
    let key = key();
    let request = IssueCertificateRequest {
        csr_pem: csr(&key),
        spiffe_id: SLEEP.to_owned(),
        ttl_seconds: 300,
    };
    let mut admin = authority.admin().await;
    let reply = admin.issue_certificate(request).await.unwrap().into_inner();
    let held = Held {
        svid: parse(&reply.cert_chain[0]),
        key_pem: key.serialize_pem(),
        chain: reply.cert_chain,
    };
    for ask in [Ask::default(), Ask::id(SLEEP), Ask::ttl(90 * 86_400)] {
        let refused = authority.ask(&held, &key, &ask).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(authority.refusal().await.code, "not_renewable");
    }
}

#[tokio::test]
async fn suspending_the_authority_itself_locks_nobody_out() {
    let authority = Authority::start().await;
    let own = Selector::SpiffeId(AUTHORITY.to_owned());
    let changed = authority.change(own.clone(), StateAction::Suspend).await;
    assert_eq!(changed.unwrap().changed.len(), 1);
    let dir = authority.stop().await;

    let authority = Authority::start_in(dir, |_| {}).await;
    authority.agent(AGENT).await;
    let resumed = authority.change(own, StateAction::Resume).await.unwrap();
    assert_eq!(resumed.changed.len(), 1);
}

#[tokio::test]
async fn a_folder_that_everybody_can_write_to_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    for mode in [0o777, 0o1777, 0o702] {
        fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
        match authority::start(settings(&data)).await {
            Err(ServeError::DataDir(DataDirError::OpenToAll { path, .. })) => {
                assert_eq!(path, data);
            }
            other => panic!("{mode:o}: {other:?}"),
        }
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn the_serving_certificate_follows_the_clock_and_not_a_timer() {
    let authority = Authority::start().await;
    // It has begun to wait by then.
    authority.agent(AGENT).await;
    // As after a night asleep, or when the time is set.
    authority.clock.advance(13 * 3600);
    let renewed = async {
        loop {
            let all = authority.certificates().await;
            if all.iter().filter(|c| c.proof == "authority").count() == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(15), renewed).await;
    in_time.expect("the serving certificate is renewed");
}

#[tokio::test]
async fn who_does_not_speak_tls_is_soon_hung_up_on() {
    let authority = Authority::start().await;
    let address = authority.running.ready().address;
    let mut mute = TcpStream::connect(address).await.unwrap();
    let hung_up = tokio::time::timeout(Duration::from_secs(8), mute.read(&mut [0])).await;
    assert!(matches!(hung_up, Ok(Ok(0) | Err(_))), "{hung_up:?}");
}
