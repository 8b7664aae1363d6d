//! What a holder of an older list is told.

use super::*;

/// A history through lists of these entries, sequences from 1.
fn through(signer: &Signer, states: &[&Arc<Entries>]) -> History {
    let mut lists = (1..)
        .zip(states)
        .map(|(at, entries)| signer.list((1, at), entries));
    let (jws, list) = lists.next().unwrap();
    lists.fold(History::new(jws, list), |history, (jws, list)| {
        history.followed_by(jws, list)
    })
}

#[test]
fn who_holds_an_older_list_is_told_what_changed_since() {
    let signer = Signer::new();
    let (small, large) = (revoked(0, 1_000), revoked(10, 1_000));
    let history = through(&signer, &[&small, &small, &large, &small, &large]);
    let newest = history.list();
    assert_eq!(history.since(Some((1, 5))), None);
    let entries = [&small, &small, &large, &small];
    for (sequence, entries) in (1..).zip(entries) {
        let update = history.since(Some((1, sequence))).unwrap();
        assert_eq!(
            Update::parse(update.clone()).unwrap().base(),
            Some((1, sequence))
        );
        assert!(update.len() < 3_000, "{} bytes", update.len());
        let (_, held) = signer.list((1, sequence), entries);
        assert_eq!(signer.take(update, Some(&held)).as_ref(), Ok(newest));
    }
}

#[test]
fn who_holds_none_or_another_gets_all() {
    let signer = Signer::new();
    let history = through(&signer, &[&revoked(0, 10), &revoked(0, 20)]);
    for held in [None, Some((0, 0)), Some((2, 1)), Some((1, 3)), Some((0, 2))] {
        let update = history.since(held).unwrap();
        assert_eq!(Update::parse(update.clone()).unwrap().base(), None);
        assert_eq!(signer.take(update, None).as_ref(), Ok(history.list()));
    }
}

#[test]
fn changes_of_everything_come_as_all() {
    let signer = Signer::new();
    let history = through(&signer, &[&revoked(0, 10), &revoked(100, 10)]);
    let update = history.since(Some((1, 1))).unwrap();
    assert_eq!(Update::parse(update).unwrap().base(), None);
}

#[test]
fn a_signing_without_change_is_some_hundred_bytes() {
    let signer = Signer::new();
    let entries = revoked(0, 10_000);
    let history = through(&signer, &[&entries, &entries]);
    let update = history.since(Some((1, 1))).unwrap();
    assert!(update.len() < 700, "{} bytes", update.len());
}

#[test]
fn remembers_no_more_than_its_limits() {
    let signer = Signer::new();
    let entries = revoked(0, 2);
    let mut history = through(&signer, &[&entries]);
    for sequence in 2..=1_000 {
        let (jws, list) = signer.list((1, sequence), &entries);
        history = history.followed_by(jws, list);
    }
    let base = |sequence| {
        let update = history.since(Some((1, sequence))).unwrap();
        Update::parse(update).unwrap().base()
    };
    let oldest = 1_000 - u64::try_from(MAX_STEPS).unwrap();
    assert_eq!(base(oldest), Some((1, oldest)));
    assert_eq!(base(oldest - 1), None);

    let (a, b) = (revoked(0, 15_000), revoked(8_000, 15_000));
    let history = through(&signer, &[&a, &b, &a]);
    let base = |sequence| {
        let update = history.since(Some((1, sequence))).unwrap();
        Update::parse(update).unwrap().base()
    };
    // Two steps of 16,000 changes are more than are kept.
    assert_eq!(base(1), None);
    assert_eq!(MAX_STEP_RECORDS, 20_000);
}
