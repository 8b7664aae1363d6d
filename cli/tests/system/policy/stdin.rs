//! `-`, standard input.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::{DATA, EXAMPLE};
use crate::world::PROGRAM;

fn piped(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_list_as_kubectl_prints_it_is_read() {
    let policy = fs::read_to_string(format!("{EXAMPLE}/policies/deny-admin.yaml")).unwrap();
    let indented: Vec<String> = policy
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("  {line}"))
        .collect();
    let list = format!(
        "apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems:\n-{}\n",
        indented.join("\n").split_at(1).1
    );
    let good = piped(&["policy", "check", "-"], &list);
    assert!(good.status.success(), "{good:?}");
    let bad = piped(&["policy", "check", "-"], &list.replace("paths:", "path:"));
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8(bad.stderr).unwrap();
    assert!(
        said.contains("stdin:21:11: AuthorizationPolicy shop/deny-admin: spec.rules[0].to[0].operation.path: unknown field"),
        "{said}"
    );
}

#[test]
fn a_decision_log_is_read() {
    let log = fs::read_to_string(format!("{DATA}/decisions.log")).unwrap();
    let old = format!("{EXAMPLE}/policies");
    let new = format!("{DATA}/new");
    let args = [
        "policy",
        "diff",
        &old,
        &new,
        "-n",
        "shop",
        "-l",
        "app=orders",
        "--decision-log",
        "-",
    ];
    let said = String::from_utf8(piped(&args, &log).stdout).unwrap();
    assert!(
        said.contains("4 requests replayed: 2 lose access, 1 gain it"),
        "{said}"
    );
}
