//! Values of the `source.certificate.*` conditions.

use identity::x509::Sha256Digest;

use crate::{
    matcher::{CertificateTest, KeyBits, Presence, TextSet},
    report::{Path, Report},
};

/// The attributes of a certificate that conditions know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Attribute {
    Issuer,
    Serial,
    Sha256,
    Spki,
    KeyType,
    KeyBits,
    ExtendedKeyUsage,
    PolicyOid,
    NotAfterWithin,
    AgeLessThan,
}

impl Attribute {
    /// The attribute whose key is `source.certificate.<name>`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "issuer" => Self::Issuer,
            "serial" => Self::Serial,
            "sha256" => Self::Sha256,
            "spki" => Self::Spki,
            "keyType" => Self::KeyType,
            "keyBits" => Self::KeyBits,
            "eku" => Self::ExtendedKeyUsage,
            "policyOid" => Self::PolicyOid,
            "notAfterWithin" => Self::NotAfterWithin,
            "ageLessThan" => Self::AgeLessThan,
            _ => return None,
        })
    }
}

/// Compiles the values of one list, neither empty nor too long; `None` if one of them was reported.
pub(super) fn test(
    attribute: Attribute,
    values: &[String],
    path: &Path,
    report: &mut Report,
) -> Option<CertificateTest> {
    let mut list = List {
        values,
        path,
        report,
    };
    Some(match attribute {
        Attribute::Issuer => CertificateTest::Issuer(TextSet::new(values, Presence::NonEmpty)),
        Attribute::Serial => {
            let serials = list.each("a serial number in hexadecimal digits", serial)?;
            CertificateTest::Serial(TextSet::new(&serials, Presence::NonEmpty))
        }
        Attribute::Sha256 => CertificateTest::Sha256(list.each(DIGEST, digest)?),
        Attribute::Spki => CertificateTest::Spki(list.each(DIGEST, digest)?),
        Attribute::KeyType => {
            let known = |value: &str| KEY_TYPES.contains(&value).then(|| value.to_owned());
            let types = list.each("RSA, EC, Ed25519 or other", known)?;
            CertificateTest::KeyType(TextSet::new(&types, Presence::NonEmpty))
        }
        Attribute::KeyBits => {
            let expected = "a size in bits, such as 2048, or 2048+ for no less";
            CertificateTest::KeyBits(list.each(expected, KeyBits::parse)?)
        }
        Attribute::ExtendedKeyUsage => {
            let expected = "clientAuth, serverAuth, an OID such as 1.3.6.1.5.5.7.3.2, or * for any";
            let oids = list.each(expected, |value| match value {
                "serverAuth" => Some(SERVER_AUTH.to_owned()),
                "clientAuth" => Some(CLIENT_AUTH.to_owned()),
                value => oid_pattern(value),
            })?;
            CertificateTest::ExtendedKeyUsage(TextSet::new(&oids, Presence::NonEmpty))
        }
        Attribute::PolicyOid => {
            let expected = "an OID such as 2.23.140.1.2.1, one that ends with .*, or * for any";
            let oids = list.each(expected, oid_pattern)?;
            CertificateTest::PolicyOid(TextSet::new(&oids, Presence::NonEmpty))
        }
        Attribute::NotAfterWithin => CertificateTest::NotAfterWithin(list.duration()?),
        Attribute::AgeLessThan => CertificateTest::AgeLessThan(list.duration()?),
    })
}

struct List<'l> {
    values: &'l [String],
    path: &'l Path,
    report: &'l mut Report,
}

impl List<'_> {
    fn each<T>(
        &mut self,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut found = Vec::new();
        for (index, value) in self.values.iter().enumerate() {
            match read(value) {
                Some(value) => found.push(value),
                None => self
                    .report
                    .invalid(&self.path.index(index), value, expected),
            }
        }
        (found.len() == self.values.len()).then_some(found)
    }

    /// The one value, in seconds: of several, the longest would count and the others mislead.
    fn duration(&mut self) -> Option<i64> {
        self.report.limit(self.path, self.values.len(), "values", 1);
        let expected = "a duration such as 30s, 45m, 12h or 7d, of at most ten years";
        let seconds = self.each(expected, seconds)?;
        match seconds.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}

/// Digits as `openssl x509 -serial` and most tools write them, with colons or without; `*` is any.
fn serial(value: &str) -> Option<String> {
    if value == "*" {
        return Some(value.to_owned());
    }
    let digits = hex_digits(value)?;
    let digits = digits.trim_start_matches('0');
    let padding = if digits.len() % 2 == 0 { "" } else { "0" };
    (!digits.is_empty()).then(|| format!("{padding}{digits}"))
}

fn digest(value: &str) -> Option<Sha256Digest> {
    hex_digits(value)?.parse().ok()
}

/// Lower-case digits without the colons between bytes.
fn hex_digits(value: &str) -> Option<String> {
    let digits: String = if value.contains(':') {
        let bytes = value.split(':');
        if !bytes.clone().all(|byte| byte.len() == 2) {
            return None;
        }
        bytes.collect()
    } else {
        value.to_owned()
    };
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| digits.to_ascii_lowercase())
}

/// Numbers with dots between them, the last of which may be `*`; or `*` alone.
fn oid_pattern(value: &str) -> Option<String> {
    let numbers = match value.strip_suffix(".*") {
        Some(prefix) => prefix,
        None if value == "*" => return Some(value.to_owned()),
        None => value,
    };
    let is_number = |arc: &str| {
        let digits = !arc.is_empty() && arc.bytes().all(|digit| digit.is_ascii_digit());
        digits && (arc == "0" || !arc.starts_with('0'))
    };
    (numbers.contains('.') && numbers.split('.').all(is_number)).then(|| value.to_owned())
}

/// A number above 0 and its unit.
fn seconds(value: &str) -> Option<i64> {
    let unit = value.chars().next_back()?;
    let seconds_of_unit: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = value.strip_suffix(unit)?;
    // `parse` alone would take a sign.
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<i64>().ok()?.checked_mul(seconds_of_unit)?;
    (1..=MAX_DURATION_SECONDS)
        .contains(&seconds)
        .then_some(seconds)
}

const DIGEST: &str = "a SHA-256 digest in 64 hexadecimal digits";
const KEY_TYPES: [&str; 4] = ["RSA", "EC", "Ed25519", "other"];
/// RFC 5280 §4.2.1.12.
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
/// RFC 5280 §4.2.1.12.
const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
/// Ten years: no leaf lives longer.
const MAX_DURATION_SECONDS: i64 = 10 * 366 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_written_in_many_ways_and_read_in_one() {
        for (written, read) in [
            ("0A:1B", Some("0a1b")),
            ("a1b", Some("0a1b")),
            ("00a1b", Some("0a1b")),
            ("0A1B", Some("0a1b")),
            ("*", Some("*")),
            ("00", None),
            ("A:1B", None),
            ("0A-1B", None),
            ("a*", None),
            ("0x0a", None),
        ] {
            assert_eq!(serial(written).as_deref(), read, "{written}");
        }
    }

    #[test]
    fn durations_have_a_unit_and_a_bound() {
        for (written, read) in [
            ("30s", Some(30)),
            ("1m", Some(60)),
            ("12h", Some(43_200)),
            ("7d", Some(604_800)),
            ("3660d", Some(316_224_000)),
            ("3661d", None),
            ("0s", None),
            ("-1h", None),
            ("+1h", None),
            ("1", None),
            ("h", None),
            ("1.5h", None),
            ("1h30m", None),
            ("99999999999999999999d", None),
            ("9223372036854775807d", None),
            ("1 h", None),
            ("1ä", None),
            ("", None),
        ] {
            assert_eq!(seconds(written), read, "{written}");
        }
    }

    #[test]
    fn oids_are_numbers_and_dots() {
        for (written, fits) in [
            ("1.3.6.1", true),
            ("2.23.140.1.*", true),
            ("*", true),
            ("1.0.2", true),
            ("1", false),
            ("1.", false),
            (".1", false),
            ("1..2", false),
            ("1.02", false),
            ("1.*.2", false),
            ("1.2*", false),
            ("*.1", false),
            ("a.b", false),
        ] {
            assert_eq!(oid_pattern(written).is_some(), fits, "{written}");
        }
    }
}
