//! Deny lists: updates as they come, heads under a good signature, entries and changes under a good
//! head. The first byte says which.

#![no_main]

mod support;

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::deny_list::{
    Changes, Check, DenyList, Entries, Entry, Head, History, MAX_LIFE_SECONDS, State, Update,
    assemble, signing_input, verify,
};
use identity::x509::Sha256Digest;
use libfuzzer_sys::fuzz_target;

use crate::support::{Accepts, KEY, NOW, SIGNERS};

/// A list in hand: 1/1, of three certificates.
static HELD: LazyLock<DenyList> = LazyLock::new(|| {
    let entry = |of: &[u8], state| Entry {
        sha256: Sha256Digest::of(of),
        state,
        since: NOW,
    };
    let entries = Entries::new(vec![
        entry(b"1", State::Revoked),
        entry(b"2", State::Suspended),
        entry(b"3", State::Revoked),
    ]);
    list((1, 1), Arc::new(entries.unwrap())).1
});

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    match which % 4 {
        0 => update(bytes.to_vec()),
        1 => head(bytes),
        2 => entries(bytes),
        _ => changes(bytes),
    }
});

fn check(floor: (u64, u64)) -> Check<'static> {
    Check {
        signers: &SIGNERS,
        verifier: &Accepts,
        now: NOW,
        floor: Some(floor),
        held: Some(&HELD),
    }
}

fn sign(head: &Head) -> Vec<u8> {
    assemble(&signing_input(head, KEY.kid(), None), &[1; 64])
}

fn list(position: (u64, u64), entries: Arc<Entries>) -> (Vec<u8>, DenyList) {
    let head = Head::of(&entries, position, NOW, 60).unwrap();
    (sign(&head), DenyList::new(head, entries).unwrap())
}

fn update(bytes: Vec<u8>) {
    let Ok(update) = Update::parse(bytes.clone()) else {
        return;
    };
    let (head, base) = (update.head().to_vec(), update.base());
    let Ok(list) = update.verify(&check((1, 1))) else {
        return;
    };
    invariants(&list);
    let written = match base {
        None => Update::full(&head, list.entries()),
        Some(base) => {
            assert_eq!(base, HELD.position());
            let changes = Changes::between(HELD.entries(), list.entries());
            Update::delta(&head, base, &changes)
        }
    };
    assert!(written.len() <= bytes.len(), "no shorter form was left out");
    let again = Update::parse(written).unwrap().verify(&check((1, 1)));
    assert_eq!(again, Ok(list));
}

fn head(bytes: &[u8]) {
    let kid = KEY.kid();
    let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"countersign-deny-list+jws"}}"#);
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(bytes)
    );
    let jws = assemble(input.as_bytes(), &[1; 64]);
    verify(bytes, &check((0, 0))).unwrap_err();
    let Ok(head) = verify(&jws, &check((1, 1))) else {
        return;
    };
    assert!((1..=MAX_LIFE_SECONDS).contains(&head.expires.secs_since(head.issued)));
    assert!(head.position() >= (1, 1));
    let later = (head.epoch, head.sequence.saturating_add(1));
    assert!(
        verify(&jws, &check(later)).is_err() || head.sequence == u64::MAX,
        "a lower sequence is refused"
    );
    let again = verify(&sign(&head), &check((1, 1)));
    assert_eq!(again, Ok(head));
}

fn entries(bytes: &[u8]) {
    let Ok(entries) = Entries::from_records(bytes.to_vec()) else {
        return;
    };
    assert_eq!(entries.as_bytes(), bytes);
    let (jws, list) = list((1, 2), Arc::new(entries));
    let taken = Update::parse(Update::full(&jws, list.entries()));
    let taken = taken.unwrap().verify(&check((1, 1)));
    assert_eq!(taken.as_ref(), Ok(&list));
    invariants(&list);
    // Who holds another list is led to this one.
    let history = History::new(Vec::new(), HELD.clone()).followed_by(jws, list.clone());
    let told = history.since(Some((1, 1))).unwrap();
    let taken = Update::parse(told).unwrap().verify(&check((1, 1)));
    assert_eq!(taken, Ok(list));
}

fn changes(bytes: &[u8]) {
    let Ok(changes) = Changes::from_records(bytes.to_vec()) else {
        return;
    };
    assert_eq!(changes.as_bytes(), bytes);
    let new = HELD.entries().with(&changes).unwrap();
    // The same from the records alone.
    assert_eq!(
        Entries::from_records(new.as_bytes().to_vec()),
        Ok(new.clone())
    );
    let minimal = Changes::between(HELD.entries(), &new);
    assert!(minimal.len() <= changes.len());
    assert_eq!(HELD.entries().with(&minimal), Ok(new.clone()));
    let (jws, list) = list((1, 2), Arc::new(new));
    let update = Update::delta(&jws, (1, 1), &changes);
    assert_eq!(
        Update::parse(update).unwrap().verify(&check((1, 1))),
        Ok(list)
    );
}

fn invariants(list: &DenyList) {
    assert!(!list.is_stale(NOW) && list.is_stale(list.expires()));
    assert!(list.position() >= (1, 1));
    let entries: Vec<Entry> = list.entries().iter().collect();
    assert_eq!(entries.len(), list.len());
    assert!(entries.is_sorted_by(|one, next| one.sha256 < next.sha256));
    for entry in entries {
        let found = list.state(&entry.sha256);
        let found = found.map(|found| (found.state, found.since));
        assert_eq!(found, Some((entry.state, entry.since)));
    }
}
