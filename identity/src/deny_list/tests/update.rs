//! How lists travel: cut short, hostile, huge.

use proptest::prelude::*;

use super::*;

#[test]
fn brings_all_entries_or_what_changed() {
    let signer = Signer::new();
    let (old, new) = (revoked(0, 100), revoked(1, 100));
    let (_, held) = signer.list((1, 1), &old);
    let (jws, list) = signer.list((1, 2), &new);
    let full = Update::full(&jws, &new);
    assert_eq!(full.len(), 12 + jws.len() + 100 * RECORD_BYTES);
    assert_eq!(signer.take(full.clone(), None).as_ref(), Ok(&list));
    assert_eq!(signer.take(full, Some(&held)).as_ref(), Ok(&list));
    let delta = Update::delta(&jws, (1, 1), &Changes::between(&old, &new));
    assert_eq!(delta.len(), 28 + jws.len() + 2 * RECORD_BYTES);
    assert_eq!(signer.take(delta, Some(&held)).as_ref(), Ok(&list));
}

#[test]
fn a_new_head_shares_the_entries_in_hand() {
    let signer = Signer::new();
    let entries = revoked(0, 100);
    let (_, held) = signer.list((1, 1), &entries);
    let (jws, list) = signer.list((1, 2), &entries);
    let delta = Update::delta(&jws, (1, 1), &Changes::default());
    for update in [delta, Update::full(&jws, &entries)] {
        let taken = signer.take(update, Some(&held)).unwrap();
        assert_eq!(taken, list);
        assert!(Arc::ptr_eq(taken.entries(), held.entries()));
    }
}

#[test]
fn changes_of_another_list_or_to_other_entries_are_refused() {
    let signer = Signer::new();
    let (old, new) = (revoked(0, 100), revoked(1, 100));
    let (_, held) = signer.list((1, 1), &old);
    let (jws, _) = signer.list((1, 3), &new);
    let changes = Changes::between(&old, &new);
    for base in [(1, 2), (0, 1), (2, 1)] {
        let update = Update::delta(&jws, base, &changes);
        let refused = DenyListError::OtherBase { base };
        assert_eq!(
            signer.take(update.clone(), Some(&held)),
            Err(refused.clone())
        );
        assert_eq!(signer.take(update, None), Err(refused));
    }
    let digest = Err(DenyListError::BadEntries(EntriesError::OtherDigest));
    let other = Changes::between(&old, &revoked(2, 100));
    let update = Update::delta(&jws, (1, 1), &other);
    assert_eq!(signer.take(update, Some(&held)), digest);
    // Nothing changed, says whoever passes it on, but the signer says otherwise.
    let update = Update::delta(&jws, (1, 1), &Changes::default());
    assert_eq!(signer.take(update, Some(&held)), digest);
    let update = Update::full(&jws, &old);
    assert_eq!(signer.take(update, None), digest);
    let update = Update::full(&jws, &revoked(0, 99));
    let (found, expected) = (99, 100);
    let count = EntriesError::OtherCount { found, expected };
    assert_eq!(
        signer.take(update, None),
        Err(DenyListError::BadEntries(count))
    );
}

#[test]
fn refuses_what_is_cut_short_anywhere() {
    let signer = Signer::new();
    let (old, new) = (revoked(0, 3), revoked(1, 3));
    let (_, held) = signer.list((1, 1), &old);
    let (jws, _) = signer.list((1, 2), &new);
    let changes = Changes::between(&old, &new);
    for update in [
        Update::full(&jws, &new),
        Update::delta(&jws, (1, 1), &changes),
    ] {
        assert!(signer.take(update.clone(), Some(&held)).is_ok());
        for cut in 0..update.len() {
            let short = update[..cut].to_vec();
            assert!(signer.take(short, Some(&held)).is_err(), "{cut} bytes");
        }
        let longer = [&update[..], &[0]].concat();
        assert!(signer.take(longer, Some(&held)).is_err());
    }
}

#[test]
fn refuses_other_forms() {
    let (jws, _) = Signer::new().list((1, 2), &revoked(1, 3));
    let good = Update::full(&jws, &revoked(1, 3));
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        Update::parse(bad)
    };
    assert!(Update::parse(good.clone()).is_ok());
    for (at, byte) in [(0, b'c'), (3, b'1'), (4, b'f'), (4, 0), (5, 1), (7, 1)] {
        assert_eq!(with(at, byte), Err(DenyListError::NotUpdate), "{at}");
    }
    // A head longer than all there is.
    assert_eq!(with(8, 0xff), Err(DenyListError::NotUpdate));
}

#[test]
fn refuses_what_is_too_long_before_anything_else() {
    let len = MAX_UPDATE_BYTES + 1;
    let refused = Update::parse(vec![0; len]);
    assert_eq!(refused, Err(DenyListError::TooLarge { len }));
    let len = MAX_HEAD_BYTES + 1;
    let refused = Update::parse(Update::full(&vec![b'.'; len], &Entries::default()));
    assert_eq!(refused, Err(DenyListError::HeadTooLarge { len }));
    // The longest there may be.
    let full = Update::full(&vec![b'.'; MAX_HEAD_BYTES], &revoked(0, 100_000));
    assert!(full.len() <= MAX_UPDATE_BYTES);
    assert!(Update::parse(full).is_ok());
}

#[test]
fn looks_at_no_entry_before_the_signature() {
    let signer = Signer::new();
    let foreign = Signer::new();
    let jws = foreign.sign_input(&signing_input(&head(), signer.public.kid(), None));
    let not_even_records = [Update::full(&jws, &Entries::default()), vec![1, 2, 3]].concat();
    assert_eq!(
        signer.take(not_even_records, None),
        Err(DenyListError::BadSignature)
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), form in 0..3) {
        let prefix: &[u8] = match form {
            0 => b"",
            1 => b"CSL2F\0\0\0\0\0\0\x10",
            _ => b"CSL2D\0\0\0\0\0\0\x10",
        };
        let signer = Signer::new();
        prop_assert!(signer.take([prefix, &bytes].concat(), None).is_err());
    }
}
