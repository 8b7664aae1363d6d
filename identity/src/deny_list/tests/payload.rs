//! The payload's schema and numbers.

use super::*;

fn refused(payload: &Payload) -> Result<DenyList, DenyListError> {
    let signer = Signer::new();
    signer.verify(&signer.sign(payload))
}

#[test]
fn is_written_as_serde_writes_it() {
    for payload in [
        payload(),
        Payload {
            entries: Vec::new(),
            ..payload()
        },
        Payload {
            epoch: u64::MAX,
            sequence: u64::MAX,
            issued: UnixTime::from_secs(i64::MIN),
            ..payload()
        },
    ] {
        assert_eq!(payload.to_json(), serde_json::to_string(&payload).unwrap());
    }
}

#[test]
fn an_entry_takes_no_more_bytes_than_the_limit_is_made_of() {
    let longest = PayloadEntry {
        sha256: Sha256Digest::of(b""),
        state: State::Suspended,
        since: UnixTime::from_secs(i64::MIN),
    };
    let text = serde_json::to_string(&longest).unwrap();
    assert_eq!(text.len() + ",".len(), ENTRY_BYTES);
}

#[test]
fn refuses_payloads_outside_the_schema() {
    let signer = Signer::new();
    let good = payload().to_json();
    for bad in [
        good.replace(r#""epoch":1"#, r#""epoch":-1"#),
        good.replace(r#""epoch":1"#, r#""epoch":1.5"#),
        good.replace(r#""epoch":1"#, r#""epoch":"1""#),
        good.replace(r#""epoch":1"#, r#""epoch":18446744073709551616"#),
        good.replace(r#""epoch":1,"#, ""),
        good.replace(r#""epoch":1,"#, r#""epoch":1,"epoch":1,"#),
        good.replace(r#""epoch":1,"#, r#""epoch":1,"extra":1,"#),
        good.replace("revoked", "Revoked"),
        good.replace("revoked", "resumed"),
        good.replace(
            r#""since":1767225600}"#,
            r#""since":1767225600,"reason":"x"}"#,
        ),
        good.replace(r#""since":1767225600}"#, r#""since":null}"#),
        good.replace(&Sha256Digest::of(b"one").to_string(), "ab"),
        format!("{good}{good}"),
        format!("[{good}]"),
        good.strip_suffix('}').unwrap().to_owned(),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        String::new(),
    ] {
        assert_ne!(bad, good);
        let refused = signer.verify(&signer.sign_text(&signer.header(), &bad));
        assert!(
            matches!(refused, Err(DenyListError::BadPayload { .. })),
            "{bad}: {refused:?}"
        );
    }
}

#[test]
fn refuses_other_schema_versions() {
    for found in [0, 2, u32::MAX] {
        let payload = Payload {
            schema_version: found,
            ..payload()
        };
        assert_eq!(
            refused(&payload),
            Err(DenyListError::UnknownSchema { found })
        );
    }
}

#[test]
fn lives_one_to_sixty_seconds() {
    let lasting = |seconds| Payload {
        expires: NOW.plus_secs(seconds).unwrap(),
        ..payload()
    };
    assert!(refused(&lasting(1)).is_ok());
    assert!(refused(&lasting(60)).is_ok());
    for seconds in [-1, 0, 61] {
        assert_eq!(
            refused(&lasting(seconds)),
            Err(DenyListError::BadLife { seconds })
        );
    }
    let ends = Payload {
        issued: UnixTime::from_secs(i64::MIN),
        expires: UnixTime::from_secs(i64::MAX),
        ..payload()
    };
    assert_eq!(
        refused(&ends),
        Err(DenyListError::BadLife { seconds: i64::MAX })
    );
}

#[test]
fn refuses_one_certificate_twice_whatever_its_state() {
    let entries = vec![
        entry(b"one", State::Revoked),
        entry(b"two", State::Revoked),
        entry(b"one", State::Suspended),
    ];
    let sha256 = Sha256Digest::of(b"one");
    assert_eq!(
        refused(&Payload {
            entries,
            ..payload()
        }),
        Err(DenyListError::DuplicateEntry { sha256 })
    );
}

#[test]
fn holds_as_many_entries_as_the_limit_and_no_more() {
    let numbered = |count: usize| -> Vec<PayloadEntry> {
        (0..count)
            .map(|number| entry(&number.to_be_bytes(), State::Revoked))
            .collect()
    };
    let most = Payload {
        entries: numbered(MAX_ENTRIES),
        ..payload()
    };
    let signer = Signer::new();
    let jws = signer.sign(&most);
    assert!(jws.len() <= MAX_JWS_BYTES);
    let list = signer.verify(&jws).unwrap();
    assert_eq!(list.len(), MAX_ENTRIES);
    for number in [0, 1, MAX_ENTRIES / 2, MAX_ENTRIES - 1] {
        assert!(
            list.state(&Sha256Digest::of(&number.to_be_bytes()))
                .is_some()
        );
    }
    assert_eq!(
        list.state(&Sha256Digest::of(&MAX_ENTRIES.to_be_bytes())),
        None
    );

    let more = Payload {
        entries: numbered(MAX_ENTRIES + 1),
        ..payload()
    };
    assert_eq!(
        signer.verify(&signer.sign(&more)),
        Err(DenyListError::TooManyEntries)
    );
    let far_more = Payload {
        entries: numbered(MAX_ENTRIES + 2),
        ..payload()
    };
    let refused = signer.verify(&signer.sign(&far_more));
    assert!(
        matches!(refused, Err(DenyListError::BadPayload { .. })),
        "{refused:?}"
    );
}
