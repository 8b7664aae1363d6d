//! Which Envoy to run.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use envoy_config::EnvoyVersion;

use crate::process::spawner::on_path;

/// An Envoy that runs and says its version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binary {
    path: PathBuf,
    version: EnvoyVersion,
    release: String,
}

/// No Envoy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Nowhere.
    #[error(
        "no Envoy found (looked at $ENVOY, $PATH, func-e's folders and .tools/envoy): \
         run ./justw setup, or set ENVOY to an Envoy of {} or newer",
        EnvoyVersion::OLDEST
    )]
    NotFound,
    /// What was named is no Envoy.
    #[error("{} does not run as an Envoy: {problem}", path.display())]
    NotEnvoy {
        /// The file.
        path: PathBuf,
        /// What running it with `--version` gave.
        problem: String,
    },
    /// What was named is an Envoy that the filter is not tested on.
    #[error("{} is Envoy {found}, at least {} is needed", path.display(), EnvoyVersion::OLDEST)]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: EnvoyVersion,
    },
}

impl Binary {
    /// Runs `path --version`.
    ///
    /// # Errors
    /// [`FindError::NotEnvoy`] and [`FindError::TooOld`].
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, FindError> {
        let path = path.into();
        let no_envoy = |problem: String| FindError::NotEnvoy {
            path: path.clone(),
            problem,
        };
        let output = Command::new(&path).arg("--version").output();
        let output = output.map_err(|error| no_envoy(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        // envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL
        let release = text
            .split_once("version:")
            .and_then(|(_, rest)| rest.trim().split('/').nth(1))
            .ok_or_else(|| no_envoy(format!("it answered {:?} to --version", text.trim())))?;
        let version = release
            .parse()
            .map_err(|error| no_envoy(format!("{error}")))?;
        if version < EnvoyVersion::OLDEST {
            return Err(FindError::TooOld {
                path,
                found: version,
            });
        }
        Ok(Self {
            release: release.to_owned(),
            version,
            path,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Release line, for specs.
    #[must_use]
    pub const fn version(&self) -> EnvoyVersion {
        self.version
    }

    /// Full release, such as `1.40.0`.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }
}

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Named by the user (`ENVOY`); nothing else is looked at then.
    pub named: Option<PathBuf>,
    /// `envoy` on `PATH`.
    pub on_path: Option<PathBuf>,
    /// The user's home folder, for func-e's downloads.
    pub home: Option<PathBuf>,
    /// Folders that may have `.tools/envoy/VERSION/envoy` in them, nearest first.
    pub checkouts: Vec<PathBuf>,
}

impl Places {
    /// From the environment, the working folder and the running program's folder.
    #[must_use]
    pub fn of_this_process() -> Self {
        let above = |path: PathBuf| path.ancestors().map(Path::to_owned).collect::<Vec<_>>();
        let mut checkouts = env::current_dir().map(above).unwrap_or_default();
        checkouts.extend(env::current_exe().map(above).unwrap_or_default());
        Self {
            named: env::var_os("ENVOY")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            on_path: on_path("envoy"),
            home: env::var_os("HOME").map(PathBuf::from),
            checkouts,
        }
    }

    /// The first Envoy of at least the oldest tested version: the named one, the one on `PATH`, func-e's
    /// newest, the checkout's newest. One that was named has to be right; of the others, those too old or
    /// broken are passed over.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn find(&self) -> Result<Binary, FindError> {
        if let Some(named) = &self.named {
            return Binary::at(named);
        }
        let mut refused = None;
        for candidate in self.candidates() {
            match Binary::at(candidate) {
                Ok(binary) => return Ok(binary),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or(FindError::NotFound))
    }

    /// The Envoy of [`Places::find`] and, unless one was named, one of each other release that is there: for
    /// tests that have to hold on all of them.
    ///
    /// # Errors
    /// [`FindError`], when there is not even one.
    pub fn all(&self) -> Result<Vec<Binary>, FindError> {
        let mut found = vec![self.find()?];
        if self.named.is_none() {
            for binary in self
                .candidates()
                .into_iter()
                .filter_map(|path| Binary::at(path).ok())
            {
                if found.iter().all(|other| other.release != binary.release) {
                    found.push(binary);
                }
            }
        }
        Ok(found)
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let func_e = self.home.iter().flat_map(|home| {
            let folders = [
                ".local/share/func-e/envoy-versions",
                ".local/share/func-e/versions",
                ".func-e/versions",
            ];
            folders.map(|folder| home.join(folder))
        });
        let func_e = newest(func_e, "bin/envoy");
        let tools = self
            .checkouts
            .iter()
            .map(|checkout| checkout.join(".tools/envoy"));
        let tools = tools.flat_map(|dir| newest([dir], "envoy"));
        self.on_path
            .iter()
            .cloned()
            .chain(func_e)
            .chain(tools)
            .collect()
    }
}

/// The Envoy to run, see [`Places::find`].
///
/// # Errors
/// [`FindError`].
pub fn find() -> Result<Binary, FindError> {
    Places::of_this_process().find()
}

/// Files `FOLDER/VERSION/file`, newest version first.
fn newest(folders: impl IntoIterator<Item = PathBuf>, file: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let version = entry.file_name().to_str().and_then(release_number);
            let path = entry.path().join(file);
            if let (Some(version), true) = (version, path.is_file()) {
                found.push((version, path));
            }
        }
    }
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// `1.40.0` as numbers, so that 1.100 is newer than 1.40.
fn release_number(name: &str) -> Option<Vec<u32>> {
    name.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use super::{Binary, FindError, Places};

    /// A script that answers as an Envoy of this version does.
    fn pretend(path: &Path, version: &str) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let line =
            format!("#!/bin/sh\necho 'envoy  version: abc/{version}/Clean/RELEASE/BoringSSL'\n");
        fs::write(path, line).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    fn places(dir: &Path) -> Places {
        Places {
            named: None,
            on_path: None,
            home: Some(dir.join("home")),
            checkouts: vec![dir.join("checkout")],
        }
    }

    #[test]
    fn named_goes_before_path_before_func_e_before_checkout() {
        let dir = tempfile::tempdir().unwrap();
        let mut places = places(dir.path());
        pretend(
            &dir.path().join("checkout/.tools/envoy/1.36.2/envoy"),
            "1.36.2",
        );
        let expect = |places: &Places, path: &Path| {
            assert_eq!(places.find().unwrap().path(), path);
        };
        let newest = pretend(
            &dir.path().join("checkout/.tools/envoy/1.100.0/envoy"),
            "1.100.0",
        );
        pretend(
            &dir.path().join("checkout/.tools/envoy/1.40.0/envoy"),
            "1.40.0",
        );
        expect(&places, &newest);
        let func_e = dir
            .path()
            .join("home/.local/share/func-e/envoy-versions/1.38.0/bin/envoy");
        expect(&places, &{ pretend(&func_e, "1.38.0") });
        places.on_path = Some(pretend(&dir.path().join("bin/envoy"), "1.37.0"));
        expect(&places, &dir.path().join("bin/envoy"));
        places.named = Some(pretend(&dir.path().join("mine/envoy"), "1.39.0"));
        expect(&places, &dir.path().join("mine/envoy"));
    }

    #[test]
    fn a_named_file_that_is_no_envoy_is_an_error_even_if_others_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut places = places(dir.path());
        pretend(
            &dir.path().join("checkout/.tools/envoy/1.40.0/envoy"),
            "1.40.0",
        );
        places.named = Some(dir.path().join("missing"));
        assert!(
            matches!(places.find(), Err(FindError::NotEnvoy { path, .. }) if path.ends_with("missing"))
        );
        places.named = Some("/bin/true".into());
        assert!(matches!(places.find(), Err(FindError::NotEnvoy { .. })));
    }

    #[test]
    fn an_old_envoy_on_path_is_passed_over_and_named_when_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut places = places(dir.path());
        places.on_path = Some(pretend(&dir.path().join("bin/envoy"), "1.20.0"));
        assert!(matches!(places.find(), Err(FindError::TooOld { .. })));
        let good = pretend(
            &dir.path().join("checkout/.tools/envoy/1.40.0/envoy"),
            "1.40.0",
        );
        assert_eq!(places.find().unwrap(), Binary::at(good).unwrap());
    }

    #[test]
    fn nothing_found_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = places(dir.path()).find().unwrap_err();
        assert!(matches!(error, FindError::NotFound));
        assert!(error.to_string().contains("./justw setup"), "{error}");
    }
}
