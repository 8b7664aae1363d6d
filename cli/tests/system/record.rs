//! Searching, exporting, proving, checking, backing up and putting back, as an operator does it.

use std::fs;

use crate::world::{HTTPBIN, Home, SLEEP};

async fn issue(home: &Home, id: &str, name: &str) {
    let out = home.path(name);
    let out = out.to_str().unwrap();
    home.run(["cert", "issue", id, "--ttl", "2h", "--out", out])
        .await
        .done();
}

#[tokio::test]
async fn certificates_are_found_and_exported() {
    let home = Home::new();
    let _authority = home.authority().await;
    issue(&home, HTTPBIN, "one").await;
    issue(&home, SLEEP, "two").await;
    let query = format!("identity={SLEEP} and expires<3h and namespace=default");
    let found = home
        .run(["cert", "list", &query, "-o", "json"])
        .await
        .done()
        .json();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["spiffeId"], SLEEP);
    assert_eq!(found[0]["keyBits"], 256);
    assert_eq!(found[0]["signatureAlgorithm"], "ecdsa-with-sha256");
    assert_eq!(found[0]["location"]["namespace"], "default");
    let table = home.line("cert search proof=operator").await.done().stdout;
    assert!(
        table.contains("IDENTITY") && table.contains(HTTPBIN),
        "{table}"
    );

    let wrong = home.run(["cert", "search", "bits=1 and nope~~x"]).await;
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("column 17"), "{}", wrong.stderr);

    let csv = home.line("cert export proof=operator").await.done().stdout;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("serial,identity,state,"), "{csv}");
    assert_eq!(lines.len(), 4, "{csv}");
    let file = home.path("all.ndjson");
    let path = file.to_str().unwrap();
    home.run(["cert", "export", "--format", "ndjson", "--out", path])
        .await
        .done();
    for line in fs::read_to_string(&file).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["serial"].as_str().unwrap().len(), 32);
    }
    let again = home.run(["cert", "export", "--out", path]).await;
    assert_eq!(again.code, Some(1), "it replaced a file");
    let json = home.line("cert export --format json").await.done().json();
    assert_eq!(json.as_array().unwrap().len(), 4);

    let expiry = home.json("cert expiry").await;
    let within_a_day = expiry
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["toSeconds"] == 86_400);
    assert!(
        within_a_day.unwrap()["certificates"].as_u64().unwrap() >= 2,
        "{expiry}"
    );
}

#[tokio::test]
async fn what_was_done_is_proven_and_checked() {
    let home = Home::new();
    let authority = home.authority().await;
    issue(&home, HTTPBIN, "one").await;
    let found = home.json("cert list proof=operator").await;
    let serial = found[0]["serial"].as_str().unwrap().to_owned();
    let early = home.line(&format!("audit prove {serial}")).await;
    assert!(
        early.stderr.contains("not under a signed head yet"),
        "{}",
        early.stderr
    );
    // A revocation has a head signed at once.
    let before = home.json("audit head").await["note"]
        .as_str()
        .unwrap()
        .to_owned();
    home.line(&format!(
        "cert revoke --serial {serial} --reason mislaid --yes"
    ))
    .await
    .done();
    let proof = home.json(&format!("audit prove {serial}")).await;
    assert!(proof["leaf"].as_str().unwrap().contains(&serial));
    let size: u64 = before.lines().nth(1).unwrap().parse().unwrap();
    home.line(&format!("audit consistency {size}")).await.done();
    let other = "00".repeat(32);
    let rewritten = home
        .line(&format!("audit consistency {size} 0 --root {other}"))
        .await;
    assert_eq!(rewritten.code, Some(1));
    assert!(
        rewritten.stderr.contains("it was rewritten"),
        "{}",
        rewritten.stderr
    );
    let log = home.line("audit log --limit 3").await.done().stdout;
    assert!(log.contains("revoke") && log.contains("uid:"), "{log}");

    let data = home.data();
    let data = data.to_str().unwrap();
    // While it runs, and after it was killed.
    let verified = home
        .run(["audit", "verify", "--data-dir", data])
        .await
        .done()
        .stdout;
    assert!(verified.contains("yes"), "{verified}");
    drop(authority);
    home.run(["audit", "verify", "--data-dir", data])
        .await
        .done();
    let database = home.data().join("countersign.db");
    // One byte of each place where the reason is: in the row, in the change, in the leaf.
    let log = home.data().join("countersign.db-wal");
    let file = if fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        log
    } else {
        database
    };
    let sound = fs::read(&file).unwrap();
    let places = sound
        .windows(6)
        .enumerate()
        .filter(|(_, text)| *text == b"mislai");
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    assert!(!places.is_empty());
    let mut changed = sound.clone();
    for place in places {
        changed[place] ^= 1;
    }
    fs::write(&file, changed).unwrap();
    let found = home.run(["audit", "verify", "--data-dir", data]).await;
    assert_eq!(found.code, Some(1), "{}", found.stdout);
}

#[tokio::test]
async fn a_backup_is_put_back() {
    let home = Home::new();
    let authority = home.authority().await;
    issue(&home, HTTPBIN, "one").await;
    let (data, file) = (home.data(), home.path("backup"));
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    let made = home
        .run(["authority", "backup", file, "--data-dir", data])
        .await
        .done()
        .stdout;
    assert!(made.contains("without private keys"), "{made}");
    let found = home.json("cert list proof=operator").await;
    let serial = found[0]["serial"].as_str().unwrap().to_owned();
    home.line(&format!("cert revoke --serial {serial} --yes"))
        .await
        .done();
    let running = home
        .run(["authority", "restore", file, "--data-dir", data, "--yes"])
        .await;
    assert!(
        running.stderr.contains("another authority is running"),
        "{}",
        running.stderr
    );
    authority.stop().await;

    let plan = home
        .run(["authority", "restore", file, "--data-dir", data])
        .await;
    assert_eq!(plan.code, Some(1));
    assert!(plan.stdout.contains("LOSES"), "{}", plan.stdout);
    let refused = home
        .run(["authority", "restore", file, "--data-dir", data, "--yes"])
        .await;
    assert!(refused.stderr.contains("older one"), "{}", refused.stderr);
    let args = [
        "authority",
        "restore",
        file,
        "--data-dir",
        data,
        "--yes",
        "--accept-lost-revocations",
    ];
    let done = home.run(args).await.done().stdout;
    assert!(done.contains("revoke it anew"), "{done}");
    let _authority = home.authority().await;
    let found = home.json("cert list state=active").await;
    assert!(
        found
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["serial"] == *serial)
    );
    let log = home.line("audit log").await.done().stdout;
    assert!(log.contains("record_accepted"), "{log}");
    home.run(["audit", "verify", "--data-dir", data])
        .await
        .done();
}
