//! Which files are meant, and their text.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use policy::yaml::{OtherKinds, Problem, Sources};

/// Longest file that is read, in bytes. Policies of a whole mesh are smaller.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// Most files that a folder may hold.
const MAX_FILES: usize = 10_000;
/// Deepest folder below the one named.
const MAX_DEPTH: usize = 16;

/// What is read of a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Folders {
    /// Its YAML and JSON files, not those of folders in it.
    Flat,
    /// Also those of the folders in it, but for hidden ones (`.git`).
    Deep,
}

/// The files that `paths` mean, each folder replaced by what is in it, sorted; and the problems of folders: one that
/// cannot be read, holds no such file or too many, or folders too deep. A path that is no folder stands for itself,
/// whether it is there or not.
#[must_use]
pub fn expand(paths: &[PathBuf], folders: Folders) -> (Vec<PathBuf>, Vec<Problem>) {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        match collect(path, folders, 0, &mut inside) {
            Ok(()) if inside.is_empty() => {
                let problem = "holds no .yaml, .yml or .json file";
                problems.push(Problem::of_file(&name(path), problem));
            }
            Ok(()) => {
                inside.sort();
                files.append(&mut inside);
            }
            Err(problem) => problems.push(problem),
        }
    }
    (files, problems)
}

fn collect(
    folder: &Path,
    folders: Folders,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), Problem> {
    let unreadable =
        |error: io::Error| Problem::of_file(&name(folder), format!("cannot be read: {error}"));
    if depth > MAX_DEPTH {
        let problem = format!("is more than {MAX_DEPTH} folders deep");
        return Err(Problem::of_file(&name(folder), problem));
    }
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() {
            if folders == Folders::Deep && !hidden {
                collect(&path, folders, depth + 1, files)?;
            }
        } else if is_yaml(&path) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            let problem = format!("holds more than {MAX_FILES} files");
            return Err(Problem::of_file(&name(folder), problem));
        }
    }
    Ok(())
}

fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Reads the policies of these files and folders, and gives every problem of every file; nothing is kept of policies
/// that have one.
#[must_use]
pub fn read_sources(
    paths: &[PathBuf],
    folders: Folders,
    other: OtherKinds,
) -> (Sources, Vec<Problem>) {
    let mut sources = Sources::default();
    let (files, mut problems) = expand(paths, folders);
    for file in files {
        problems.extend(add_file(&mut sources, &file, other));
    }
    (sources, problems)
}

/// Adds the policies of one file, and gives its problems.
pub fn add_file(sources: &mut Sources, path: &Path, other: OtherKinds) -> Vec<Problem> {
    match read_text(path) {
        Ok(text) => sources.add(&name(path), &text, other),
        Err(problem) => vec![problem],
    }
}

/// A file's text.
///
/// # Errors
/// It cannot be read, is longer than [`MAX_FILE_BYTES`], or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Problem> {
    let file = File::open(path).map_err(|error| cannot(path, &error))?;
    text_of(&name(path), file)
}

/// The text that a reader gives; `name` is for errors.
///
/// # Errors
/// As [`read_text`].
pub fn text_of(name: &str, from: impl Read) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::of_file(name, format!("cannot be read: {error}")))?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > MAX_FILE_BYTES) {
        let problem = format!("is longer than {MAX_FILE_BYTES} bytes");
        return Err(Problem::of_file(name, problem));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .iter()
            .take(good)
            .filter(|byte| **byte == b'\n')
            .count();
        Problem {
            line: u64::try_from(line + 1).ok(),
            ..Problem::of_file(name, format!("is not UTF-8 at byte {good}"))
        }
    })
}

/// A path as it is shown: without the detours of one that is relative to a file.
pub(super) fn name(path: &Path) -> String {
    let mut shown = PathBuf::new();
    for component in path.components() {
        let last = shown.components().next_back();
        if component == Component::ParentDir && matches!(last, Some(Component::Normal(_))) {
            shown.pop();
        } else {
            shown.push(component);
        }
    }
    shown.display().to_string()
}

fn cannot(path: &Path, error: &io::Error) -> Problem {
    Problem::of_file(&name(path), format!("cannot be read: {error}"))
}
