use super::*;

const CERTIFICATE_POLICIES: &[u64] = &[2, 5, 29, 32];

fn policies(content: &[u8]) -> Extension {
    Extension {
        oid: CERTIFICATE_POLICIES,
        critical: false,
        content: content.to_vec(),
    }
}

#[test]
fn reads_key_purposes_and_policies() {
    let two = b"\x30\x0e\x30\x06\x06\x04\x55\x1d\x20\x00\x30\x04\x06\x02\x2a\x03";
    let svid = strict(&Leaf::with(policies(two))).unwrap();
    assert_eq!(svid.key_type(), KeyType::Ec);
    assert_eq!(svid.key_bits(), 256);
    assert_eq!(svid.spki_sha256(), Sha256Digest::of(svid.spki_der()));
    assert_eq!(
        svid.extended_key_usages(),
        ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]
    );
    assert_eq!(svid.policy_oids(), ["2.5.29.32.0", "1.2.3"]);
    let without = Leaf::without(EXTENDED_KEY_USAGE);
    let svid = strict(&without).unwrap();
    assert_eq!(svid.extended_key_usages(), <[String; 0]>::default());
    assert_eq!(svid.policy_oids(), <[String; 0]>::default());
}

#[test]
fn refuses_purposes_and_policies_in_other_forms() {
    let malformed = |oid: &str| {
        let oid = oid.to_owned();
        Err(ExtensionError::Malformed { oid }.into())
    };
    for content in [
        // None at all; an arc that is padded; one that is cut short; bytes after the list; a list
        // in a long form of its length.
        &b"\x30\x00"[..],
        b"\x30\x07\x30\x05\x06\x03\x2a\x80\x03",
        b"\x30\x06\x30\x04\x06\x02\x2a\x83",
        b"\x30\x06\x30\x04\x06\x02\x2a\x03\x00",
        b"\x30\x81\x06\x30\x04\x06\x02\x2a\x03",
        b"\x30\x06\x30\x04\x06\x03\x2a\x03",
        b"",
    ] {
        let refused = strict(&Leaf::with(policies(content)));
        assert_eq!(refused, malformed("2.5.29.32"), "{content:x?}");
    }
    let purposes = |content: &[u8]| Extension {
        oid: EXTENDED_KEY_USAGE,
        critical: false,
        content: content.to_vec(),
    };
    // clientAuth with its last arc padded is another purpose to a reader that is not strict.
    let padded = b"\x30\x15\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01\x06\x09\x2b\x06\x01\x05\x05\x07\x03\x80\x02";
    for content in [&padded[..], b"\x30\x00"] {
        let refused = istio(&Leaf::with(purposes(content)));
        assert_eq!(refused, malformed("2.5.29.37"), "{content:x?}");
    }
}

#[test]
fn lists_longer_than_their_limit_are_refused() {
    let purpose = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03";
    let list = |count: u8| {
        let oids: Vec<u8> = (1..=count)
            .flat_map(|last| [&purpose[..], &[last]].concat())
            .collect();
        Extension {
            oid: EXTENDED_KEY_USAGE,
            critical: false,
            content: der::write(der::SEQUENCE, &[&oids]).unwrap(),
        }
    };
    let svid = strict(&Leaf::with(list(64))).unwrap();
    assert_eq!(svid.extended_key_usages().len(), 64);
    let oid = "2.5.29.37".to_owned();
    assert_eq!(
        strict(&Leaf::with(list(65))),
        Err(ExtensionError::Malformed { oid }.into())
    );
}
