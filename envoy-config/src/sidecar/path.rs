//! How Envoy is told to normalise paths, for each mode that policies can be compiled for.

use policy::path::PathNormalization;

/// The connection manager's three settings for a mode; the names are Istio's (MeshConfig
/// `pathNormalization`), and so are the settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathSettings {
    pub(crate) normalize_path: bool,
    pub(crate) merge_slashes: bool,
    pub(crate) path_with_escaped_slashes_action: &'static str,
}

impl From<PathNormalization> for PathSettings {
    fn from(mode: PathNormalization) -> Self {
        let settings = |normalize_path, merge_slashes, path_with_escaped_slashes_action| Self {
            normalize_path,
            merge_slashes,
            path_with_escaped_slashes_action,
        };
        match mode {
            PathNormalization::None => settings(false, false, "KEEP_UNCHANGED"),
            PathNormalization::Base => settings(true, false, "KEEP_UNCHANGED"),
            PathNormalization::MergeSlashes => settings(true, true, "KEEP_UNCHANGED"),
            PathNormalization::DecodeAndMergeSlashes => {
                settings(true, true, "UNESCAPE_AND_FORWARD")
            }
        }
    }
}
