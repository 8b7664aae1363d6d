//! How protobuf values look in Envoy's YAML: `Any` with its type URL, durations, file data sources.

use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A message inside a `google.protobuf.Any`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Typed<T> {
    #[serde(rename = "@type")]
    type_url: &'static str,
    #[serde(flatten)]
    message: T,
}

impl<T> Typed<T> {
    pub(crate) const fn new(type_url: &'static str, message: T) -> Self {
        Self { type_url, message }
    }
}

/// A message with no fields set.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Empty {}

/// An extension: its name and its configuration.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Extension<T> {
    pub(crate) name: &'static str,
    pub(crate) typed_config: Typed<T>,
}

/// A `DataSource` or `AsyncDataSource.local` that names a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FileSource {
    filename: String,
}

impl FileSource {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            filename: path_text(path),
        }
    }
}

/// The path as text. Specs are checked for UTF-8 paths before anything is built.
pub(crate) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `envoy.type.v3.Percent`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percent {
    pub(crate) value: u32,
}

/// A duration as protobuf's JSON form writes it, to the millisecond: `10.833s`, `5s`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl Seconds {
    pub(crate) const fn whole(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if millis == 0 {
            serializer.collect_str(&format_args!("{seconds}s"))
        } else {
            serializer.collect_str(&format_args!("{seconds}.{millis:03}s"))
        }
    }
}
