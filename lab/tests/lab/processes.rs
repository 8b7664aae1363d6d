//! Children are started, watched and ended.

use std::fs;
use std::path::Path;
use std::process::Command as Plain;
use std::time::{Duration, Instant};

use lab::process::{Command, ProcessError};
use lab::ready::{self, NotYet, ReadyError};

fn shell(dir: &Path, script: &str) -> Command {
    Command::new("child", "sh", dir).args(["-c", script])
}

fn is_alive(id: u32) -> bool {
    // A zombie is dead, but still in the table.
    fs::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

#[tokio::test]
async fn output_goes_to_files_and_the_exit_status_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = shell(dir.path(), "echo out; echo err >&2; echo $WORD; exit 7")
        .env("WORD", "from the environment")
        .start()
        .unwrap();
    let status = child.exit_within(Duration::from_secs(10)).await.unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(
        fs::read_to_string(child.stdout()).unwrap(),
        "out\nfrom the environment\n"
    );
    assert_eq!(fs::read_to_string(child.stderr()).unwrap(), "err\n");
    assert!(child.log_tail().contains("err"));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Command::new("child", "/no/such/program", dir.path())
        .start()
        .unwrap_err();
    assert!(matches!(&error, ProcessError::Start { program, .. } if program.ends_with("program")));
}

#[tokio::test]
async fn a_stopped_child_may_tidy_up() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap 'echo tidy; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = shell(dir.path(), script).start().unwrap();
    let stdout = child.stdout().to_owned();
    ready::file(&stdout, Duration::from_secs(5), Some(&mut child))
        .await
        .unwrap();
    let status = child.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(fs::read_to_string(child.stdout()).unwrap(), "ready\ntidy\n");
}

#[tokio::test]
async fn a_child_that_ignores_being_asked_is_killed_with_what_it_started() {
    use std::os::unix::process::ExitStatusExt;
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; sleep 600 & echo $!; wait; while :; do sleep 1; done";
    let mut child = shell(dir.path(), script).start().unwrap();
    let stdout = child.stdout().to_owned();
    let grandchild = ready::file(&stdout, Duration::from_secs(5), Some(&mut child))
        .await
        .unwrap();
    let grandchild: u32 = String::from_utf8(grandchild)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(is_alive(grandchild));
    let status = child.stop(Duration::from_millis(300)).await.unwrap();
    assert_eq!(status.signal(), Some(9));
    ready::until(
        "end of the grandchild",
        Duration::from_secs(5),
        None,
        async || {
            if is_alive(grandchild) {
                Err(NotYet("alive".to_owned()))
            } else {
                Ok(())
            }
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_dropped_child_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let child = shell(dir.path(), "sleep 600").start().unwrap();
    let id = child.id();
    assert!(is_alive(id));
    drop(child);
    assert!(!is_alive(id));
}

/// A child belongs to the process, not to the thread that happened to start it.
#[tokio::test]
async fn a_child_outlives_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let command = shell(dir.path(), "sleep 600");
    let mut child = std::thread::spawn(move || command.start())
        .join()
        .unwrap()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(child.exit_status().unwrap(), None);
}

const PARENT: &str = "LAB_TEST_PARENT_DIR";

/// Not a test of its own: what the next test runs in a process that it kills.
#[test]
#[ignore = "run by children_die_with_a_killed_parent"]
fn parent_that_will_be_killed() {
    let dir = std::env::var_os(PARENT).unwrap();
    // `exec`, because only the child itself dies with its parent, not what it started.
    let child = shell(Path::new(&dir), "exec sleep 600").start().unwrap();
    fs::write(Path::new(&dir).join("id.new"), child.id().to_string()).unwrap();
    fs::rename(Path::new(&dir).join("id.new"), Path::new(&dir).join("id")).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[tokio::test]
async fn children_die_with_a_killed_parent() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Plain::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "processes::parent_that_will_be_killed",
        ])
        .env(PARENT, dir.path())
        .spawn()
        .unwrap();
    let id = ready::file(&dir.path().join("id"), Duration::from_secs(10), None)
        .await
        .unwrap();
    let id: u32 = String::from_utf8(id).unwrap().parse().unwrap();
    assert!(is_alive(id));
    parent.kill().unwrap();
    parent.wait().unwrap();
    ready::until(
        "end of the child",
        Duration::from_secs(5),
        None,
        async || {
            if is_alive(id) {
                Err(NotYet("alive".to_owned()))
            } else {
                Ok(())
            }
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn waiting_ends_when_the_process_does_and_shows_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = shell(dir.path(), "echo broken configuration >&2; exit 1")
        .start()
        .unwrap();
    let begun = Instant::now();
    let missing = dir.path().join("missing");
    let error = ready::file(&missing, Duration::from_secs(30), Some(&mut child))
        .await
        .unwrap_err();
    assert!(matches!(error, ReadyError::Ended { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("broken configuration") && text.contains("missing"),
        "{text}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn waiting_has_a_limit_and_names_what_it_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let limit = Duration::from_millis(200);
    let error = ready::unix_socket(&socket, limit, None).await.unwrap_err();
    assert!(matches!(error, ReadyError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("agent.sock"), "{error}");
    // A probe that never answers is cut off as well.
    let begun = Instant::now();
    let never = ready::until::<()>("never", limit, None, async || std::future::pending().await);
    assert!(matches!(
        never.await.unwrap_err(),
        ReadyError::TimedOut { .. }
    ));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn events_are_read_from_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"echo starting; echo '{"event":"other"}'; sleep 0.2; printf '{"event":"listening",'; sleep 0.2; echo '"address":"127.0.0.1:1"}'; sleep 600"#;
    let mut child = shell(dir.path(), script).start().unwrap();
    let line = ready::event(&mut child, "listening", Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(line["address"], "127.0.0.1:1");
}

#[tokio::test]
async fn an_envoy_whose_port_is_taken_says_so() {
    let binary = lab::envoy::find().unwrap();
    let pki = crate::support::Pki::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = pki.leaf("server", "httpbin");
    let app = crate::support::loopback(9);
    let listen = taken.local_addr().unwrap();
    let mut server = envoy_config::sidecar::Server::new("server", listen, app.into(), tls);
    server.envoy = binary.version();
    server.admin = envoy_config::address::Admin::Unix(pki.dir().join("admin.sock"));
    let options = lab::envoy::Options::new("server", pki.dir());
    let error = lab::envoy::Envoy::start(&binary, &server.bootstrap().unwrap(), &options).await;
    let error = error.unwrap_err();
    assert!(error.is_address_in_use(), "{error}");
    assert!(error.to_string().contains(&listen.to_string()), "{error}");
}
