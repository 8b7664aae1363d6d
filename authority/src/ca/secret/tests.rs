//! Encrypted keys and passphrase files, good and bad.

use std::fs;

use super::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

#[test]
fn what_is_encrypted_opens_with_its_passphrase_alone() {
    let right = passphrase("correct horse battery");
    let sealed = encrypt(b"a key", &right).unwrap();
    assert_eq!(decrypt(&sealed, &right).unwrap().as_slice(), b"a key");
    for wrong in ["correct horse batterz", "x", "correct horse battery "] {
        // One padding in 256 is right by chance; what comes out is then no key.
        match decrypt(&sealed, &passphrase(wrong)) {
            Err(SecretError::WrongPassphrase) => {}
            Ok(other) => assert_ne!(other.as_slice(), b"a key"),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_ne!(sealed, encrypt(b"a key", &right).unwrap());
}

#[test]
fn nothing_truncated_damaged_or_foreign_opens_or_panics() {
    let right = passphrase("correct horse battery");
    let sealed = encrypt(b"a key", &right).unwrap();
    for length in 0..sealed.len() {
        assert!(matches!(
            decrypt(&sealed[..length], &right),
            Err(SecretError::Malformed | SecretError::Unsupported { .. })
        ));
    }
    assert!(matches!(decrypt(b"", &right), Err(SecretError::Malformed)));
}

#[test]
fn what_would_cost_gigabytes_is_not_tried() {
    for (n, r, p) in [(1 << 20, 8, 5), (1 << 62, 65_535, 65_535)] {
        let kdf = Kdf::from(pkcs8::pkcs5::pbes2::ScryptParams {
            salt: b"salt".as_slice().try_into().unwrap(),
            cost_parameter: n,
            block_size: r,
            parallelization: p,
            key_length: None,
        });
        assert!(matches!(
            check_cost(&kdf),
            Err(SecretError::TooCostly { .. })
        ));
    }
}

#[test]
fn a_passphrase_file_is_one_line_that_not_everybody_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passphrase");
    let write = |bytes: &[u8], mode| {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Passphrase::read(&path)
    };
    for text in ["secret words", "secret words\n", "secret words\r\nmore\n"] {
        let read = write(text.as_bytes(), 0o600).unwrap();
        assert_eq!(read.0.as_slice(), b"secret words");
        assert_eq!(format!("{read:?}"), "Passphrase([elided])");
    }
    assert!(matches!(
        write(b"secret words", 0o644),
        Err(PassphraseError::OpenToAll { mode: 0o644, .. })
    ));
    assert!(matches!(write(b"\n", 0o400), Err(PassphraseError::Empty)));
    let huge = vec![b'x'; 1 << 20];
    assert!(matches!(write(&huge, 0o600), Err(PassphraseError::TooLong)));
    assert!(matches!(
        Passphrase::read(&dir.path().join("none")),
        Err(PassphraseError::Read { .. })
    ));
    assert!(matches!(
        encrypt(b"a key", &passphrase("short")),
        Err(SecretError::Passphrase(PassphraseError::TooShort {
            found: 5
        }))
    ));
}
