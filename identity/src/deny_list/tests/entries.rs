//! Records: order, states, look-ups, changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::deny_list::entry::removal;

#[test]
fn an_entry_is_forty_bytes_of_digest_state_and_time() {
    let entries = Entries::new(vec![Entry {
        sha256: Sha256Digest::from_bytes([0xab; 32]),
        state: State::Suspended,
        since: UnixTime::from_secs(0x0102_0304),
    }]);
    let expected = [&[0xab; 32][..], &[2, 0, 0, 0, 1, 2, 3, 4]].concat();
    assert_eq!(entries.unwrap().as_bytes(), expected);
}

#[test]
fn the_digest_is_that_of_256_digests_by_first_byte() {
    let entries = two();
    let mut groups = vec![Vec::new(); 256];
    for record in entries.as_bytes().chunks(40) {
        groups[usize::from(record[0])].extend_from_slice(record);
    }
    let digests: Vec<u8> = groups
        .iter()
        .flat_map(|group| *Sha256Digest::of(group).as_bytes())
        .collect();
    assert_eq!(entries.digest(), Sha256Digest::of(&digests));
    assert_ne!(entries.digest(), Entries::default().digest());
}

#[test]
fn refuses_what_is_not_sorted_whole_and_of_a_known_state() {
    let one = [&[1; 32][..], &[1, 0, 0, 0, 0, 0, 0, 9]].concat();
    let two = [&[2; 32][..], &[2, 0, 0, 0, 0, 0, 0, 9]].concat();
    let both = [&one[..], &two].concat();
    assert_eq!(Entries::from_records(both.clone()).map(|e| e.len()), Ok(2));
    for cut in (0..both.len()).filter(|cut| cut % 40 != 0) {
        let refused = Entries::from_records(both[..cut].to_vec());
        assert_eq!(refused, Err(EntriesError::NotRecords { len: cut }));
    }
    let swapped = [&two[..], &one].concat();
    let refused = Entries::from_records(swapped);
    assert_eq!(refused, Err(EntriesError::NotSorted { at: 0 }));
    let sha256 = Sha256Digest::from_bytes([1; 32]);
    let refused = Entries::from_records([&one[..], &one].concat());
    assert_eq!(refused, Err(EntriesError::Twice { sha256 }));
    for state in [0, 3, 0xff] {
        let mut bad = both.clone();
        bad[72] = state;
        let refused = Entries::from_records(bad);
        assert_eq!(refused, Err(EntriesError::BadState { at: 1 }));
    }
    // Nor does an entry that says nothing, which changes may have, belong on a list.
    let refused = Entries::from_records(removal(&[3; 32]).to_vec());
    assert_eq!(refused, Err(EntriesError::BadState { at: 0 }));
    assert!(Changes::from_records(removal(&[3; 32]).to_vec()).is_ok());
    let mut timed = removal(&[3; 32]);
    timed[39] = 1;
    let refused = Changes::from_records(timed.to_vec());
    assert_eq!(refused, Err(EntriesError::BadState { at: 0 }));
}

#[test]
fn refuses_times_before_1970_and_certificates_named_twice() {
    let since = UnixTime::from_secs(-1);
    let early = Entry {
        since,
        ..entry(b"one", State::Revoked)
    };
    let refused = Entries::new(vec![early]);
    assert_eq!(refused, Err(EntriesError::BadTime { since }));
    let refused = Entries::new(vec![
        entry(b"one", State::Revoked),
        entry(b"one", State::Suspended),
    ]);
    let sha256 = Sha256Digest::of(b"one");
    assert_eq!(refused, Err(EntriesError::Twice { sha256 }));
}

#[test]
fn takes_the_most_entries_and_no_more() {
    let full = revoked(0, 100_000);
    assert_eq!(full.len(), MAX_ENTRIES);
    for number in (0..100_000_u32).step_by(997) {
        let found = full.get(&Sha256Digest::of(&number.to_be_bytes()));
        assert_eq!(found.map(|entry| entry.state), Some(State::Revoked));
    }
    for number in 100_000..101_000_u32 {
        assert_eq!(full.get(&Sha256Digest::of(&number.to_be_bytes())), None);
    }
    let count = MAX_ENTRIES + 1;
    let entries: Vec<Entry> = (0..count)
        .map(|number| entry(&number.to_be_bytes(), State::Revoked))
        .collect();
    assert_eq!(Entries::new(entries), Err(EntriesError::TooMany { count }));
    let one_more = Changes::between(&Entries::default(), &revoked(100_000, 1));
    assert_eq!(full.with(&one_more), Err(EntriesError::TooMany { count }));
    let records = vec![0; count * RECORD_BYTES];
    let refused = Entries::from_records(records.clone());
    assert_eq!(refused, Err(EntriesError::TooMany { count }));
    let refused = Changes::from_records(records);
    assert_eq!(refused, Err(EntriesError::TooMany { count }));
}

#[test]
fn digests_that_all_begin_alike_are_found_all_the_same() {
    let entries: Vec<Entry> = (0..5_000_u32)
        .map(|number| {
            let mut sha256 = [7; 32];
            sha256[28..].copy_from_slice(&number.to_be_bytes());
            Entry {
                sha256: Sha256Digest::from_bytes(sha256),
                state: State::Revoked,
                since: NOW,
            }
        })
        .collect();
    let all = Entries::new(entries.clone()).unwrap();
    assert!(entries.iter().all(|entry| all.get(&entry.sha256).is_some()));
    assert_eq!(all.get(&Sha256Digest::from_bytes([7; 32])), None);
}

/// Digests of few values, so that lists have some in common.
fn arbitrary() -> impl Strategy<Value = Entries> {
    let state = prop_oneof![Just(State::Revoked), Just(State::Suspended)];
    let entry = (any::<u8>(), 0..3_u8, state, 0..3_i64);
    prop::collection::vec(entry, 0..200).prop_map(|found| {
        let by_digest: BTreeMap<_, _> = found
            .into_iter()
            .map(|(first, last, state, since)| {
                let mut sha256 = [first; 32];
                sha256[31] = last;
                (sha256, (state, since))
            })
            .collect();
        let entries = by_digest.into_iter().map(|(sha256, (state, since))| Entry {
            sha256: Sha256Digest::from_bytes(sha256),
            state,
            since: UnixTime::from_secs(since),
        });
        Entries::new(entries.collect()).unwrap()
    })
}

proptest! {
    #[test]
    fn changes_lead_from_one_list_to_the_other(old in arbitrary(), new in arbitrary()) {
        let changes = Changes::between(&old, &new);
        prop_assert_eq!(&old.with(&changes).unwrap(), &new);
        let read = Changes::from_records(changes.as_bytes().to_vec());
        prop_assert_eq!(&read, &Ok(changes));
        prop_assert!(Changes::between(&new, &new).is_empty());
    }

    #[test]
    fn changes_one_after_the_other_are_one(
        first in arbitrary(), second in arbitrary(), third in arbitrary(),
    ) {
        let both = Changes::between(&first, &second).then(&Changes::between(&second, &third));
        prop_assert_eq!(first.with(&both).unwrap(), third);
    }

    #[test]
    fn what_is_read_back_is_the_same_and_finds_the_same(entries in arbitrary(), other in any::<[u8; 32]>()) {
        let read = Entries::from_records(entries.as_bytes().to_vec()).unwrap();
        prop_assert_eq!(&read, &entries);
        let by_digest: BTreeMap<_, _> = entries.iter().map(|e| (e.sha256, (e.state, e.since))).collect();
        prop_assert_eq!(by_digest.len(), entries.len());
        for (sha256, expected) in &by_digest {
            let found = read.get(sha256).map(|found| (found.state, found.since));
            prop_assert_eq!(found, Some(*expected));
        }
        let other = Sha256Digest::from_bytes(other);
        prop_assert_eq!(read.get(&other).is_some(), by_digest.contains_key(&other));
    }

    #[test]
    fn no_bytes_are_read_as_other_bytes_than_they_are(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(entries) = Entries::from_records(bytes.clone()) {
            prop_assert_eq!(entries.as_bytes(), &bytes);
        }
        if let Ok(changes) = Changes::from_records(bytes.clone()) {
            prop_assert_eq!(changes.as_bytes(), &bytes);
        }
    }
}
