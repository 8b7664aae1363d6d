//! `countersign up`: however it ends, it leaves no process behind. (What it shows is checked by
//! `countersign up --once`, which is part of the tests.)

use std::fs;
use std::path::Path;

use lab::process::Child;
use lab::ready::{self, NotYet};
use rustix::process::Signal;

use crate::world::{GRACE, Home, LIMIT};

/// The demo, once its menu is printed, which is when everything runs.
async fn demo(home: &Home) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let wasm = std::env::var_os("COUNTERSIGN_WASM").map_or_else(
        || root.join("target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm"),
        Into::into,
    );
    let mut child = home
        .command(["up", "--data-dir"])
        .arg(home.path("demo"))
        .arg("--wasm")
        .arg(wasm)
        .arg("--policies")
        .arg(root.join("examples/quickstart"))
        .start()
        .unwrap();
    let stdout = child.stdout().to_owned();
    ready::until("the menu", LIMIT, Some(&mut child), async || {
        let text = fs::read_to_string(&stdout)?;
        let shown = text.contains("try 8:");
        shown
            .then_some(())
            .ok_or_else(|| NotYet("no menu".to_owned()))
    })
    .await
    .unwrap();
    child
}

/// Command lines of the processes that know this folder.
fn left(home: &Home) -> Vec<String> {
    let folder = home.path("demo").display().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        // A process may end while it is looked at.
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&folder))
        .collect()
}

async fn nothing_left(home: &Home) {
    ready::until("the end of every process", LIMIT, None, async || {
        let left = left(home);
        left.is_empty()
            .then_some(())
            .ok_or_else(|| NotYet(left.join("; ")))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn ctrl_c_stops_everything_it_started() {
    let home = Home::new();
    let mut child = demo(&home).await;
    assert!(
        left(&home).len() >= 7,
        "authority, agents, Envoys: {:?}",
        left(&home)
    );

    child.signal(Signal::INT).unwrap();

    let status = child.exit_within(GRACE).await.unwrap();
    assert!(status.success(), "{status}: {}", child.log_tail());
    nothing_left(&home).await;
}

#[tokio::test]
async fn what_it_started_does_not_outlive_a_kill() {
    let home = Home::new();
    let mut child = demo(&home).await;
    let Ok(_setpriv) = std::process::Command::new("setpriv")
        .arg("--version")
        .output()
    else {
        panic!("setpriv (util-linux) is needed for children that die with their parent");
    };

    child.kill().await.unwrap();

    nothing_left(&home).await;
}
