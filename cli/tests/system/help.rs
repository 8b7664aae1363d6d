//! What the binary says of itself.

use std::collections::BTreeSet;

use crate::world::Home;

#[tokio::test]
async fn completions_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run(["completions", shell]).await.done().stdout;
        for word in ["countersign", "authority", "suspend", "join-token-file"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let script = home.run(["completions", "bash"]).await.done().stdout;
    let file = home.write("countersign.bash", script);
    let checked = std::process::Command::new("bash")
        .arg("-n")
        .arg(file)
        .status();
    assert!(checked.unwrap().success());
}

#[tokio::test]
async fn every_command_has_help_with_an_example() {
    let home = Home::new();
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    let mut commands = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        let args = path.iter().map(String::as_str).chain(["--help"]);
        let help = home.run(args).await.done().stdout;
        let below: Vec<_> = below(&help)
            .map(|name| [path.as_slice(), &[name.to_owned()]].concat())
            .collect();
        if below.is_empty() {
            assert!(help.contains("Example"), "{path:?}:\n{help}");
            commands.insert(path.join(" "));
        }
        waiting.extend(below);
    }
    for known in [
        "up",
        "authority serve",
        "agent run",
        "cert revoke",
        "token create",
    ] {
        assert!(commands.contains(known), "{known} is not in {commands:?}");
    }
    let version = home.run(["--version"]).await.done().stdout;
    assert!(version.starts_with("countersign 0."), "{version}");
}

/// Names of the commands that a help text lists.
fn below(help: &str) -> impl Iterator<Item = &str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        // What is indented deeper goes on with the line before.
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !matches!(*name, "" | "help"))
}
