//! Deterministic YAML.

use serde::Serialize;

/// A value that could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The YAML serializer refused the value.
    #[error("value cannot be written as YAML")]
    Yaml(#[source] serde_saphyr::SerializeError),
    /// The plug-in configuration could not be written as JSON.
    #[error("plug-in configuration cannot be written as JSON")]
    Json(#[source] serde_json::Error),
}

/// Fields in the order they are declared, no folding: what a line says does not depend on its length.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, EmitError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = serde_saphyr::to_string_with_options(value, options).map_err(EmitError::Yaml)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::yaml;

    #[test]
    fn strings_that_look_like_other_types_come_back_as_strings() {
        let tricky = [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "null",
            "~",
            "true",
            "1",
            "1.5",
            "0x10",
            "1e3",
            "",
            " a",
            "a ",
            "a: b",
            "a #b",
            "- a",
            "*a",
            "&a",
            "!a",
            "%A%",
            "@a",
            "{a}",
            "[a]",
            "1:30",
            "'",
            "\"",
            "a\nb",
            "a\n",
            "\n",
            "a\tb",
            "\u{e9}",
            "2001-01-01",
            "=",
            "<<",
            "a\r\nb",
            "`a`",
            "|",
            ">",
        ];
        for text in tricky {
            let written = yaml(&BTreeMap::from([("k", text)])).unwrap();
            let read: BTreeMap<String, String> = serde_saphyr::from_str(&written).unwrap();
            assert_eq!(read["k"], text, "{written}");
        }
    }

    #[test]
    fn long_lines_are_not_folded() {
        let long = "word ".repeat(60);
        let written = yaml(&BTreeMap::from([("k", long.trim())])).unwrap();
        assert!(
            written.lines().any(|line| line.contains(long.trim())),
            "{written}"
        );
    }
}
