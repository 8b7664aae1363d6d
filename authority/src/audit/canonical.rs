//! The one form of JSON in bytes, and digests over rows in it.

use serde_json::Value;

use crate::audit::event::Rows;

/// A digest over rows, which are added one by one.
#[derive(Clone)]
pub struct RowsDigest {
    count: u64,
    context: aws_lc_rs::digest::Context,
}

impl std::fmt::Debug for RowsDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowsDigest")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Default for RowsDigest {
    fn default() -> Self {
        Self {
            count: 0,
            context: aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256),
        }
    }
}

impl RowsDigest {
    /// Adds a row in its canonical form.
    pub fn add(&mut self, row: &str) {
        self.count = self.count.saturating_add(1);
        self.context.update(row.as_bytes());
        self.context.update(b"\n");
    }

    /// The number and the digest of the rows added.
    #[must_use]
    pub fn finish(self) -> Rows {
        Rows {
            count: self.count,
            sha256: hex::encode(self.context.finish()),
        }
    }
}

/// A value in the form of RFC 8785. Names of members here are ASCII, whose order is that of UTF-16.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (position, (name, member)) in names.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(&Value::String(name.clone()), text);
                text.push(':');
                write(member, text);
            }
            text.push('}');
        }
        Value::Array(elements) => {
            text.push('[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(element, text);
            }
            text.push(']');
        }
        // What serde_json writes for these is what RFC 8785 §3.2.2 asks for.
        _ => text.push_str(&value.to_string()),
    }
}
