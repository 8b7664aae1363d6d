//! Distinguished names as text, for logs only.

use std::fmt::Write as _;

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// A name in the manner of RFC 4514: last part first, `CN`, `O` and the like by their short names
/// and all else by OID, special characters escaped, values that are no text as `#` and hexadecimal.
pub(crate) fn text(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let kind = SHORT_NAMES
        .iter()
        .find_map(|(known, short)| (*known == oid).then_some(*short))
        .unwrap_or(&oid);
    let mut text = format!("{kind}=");
    match attribute.as_str() {
        Ok(value) => escape(value, &mut text),
        Err(_not_text) => {
            text.push('#');
            text.push_str(&hex::encode(attribute.as_slice()));
        }
    }
    text
}

/// RFC 4514 §2.4; control characters too, so that a name cannot break a log line.
fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '#' if at == 0 => text.push_str("\\#"),
            _ if character.is_control() => {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    // Writing to a String does not fail.
                    let _ok = write!(text, "\\{byte:02x}");
                }
            }
            _ => text.push(character),
        }
    }
}

/// RFC 4514 §3, and serialNumber (RFC 4519 §2.31), which mesh authorities use.
const SHORT_NAMES: [(&str, &str); 10] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
];
