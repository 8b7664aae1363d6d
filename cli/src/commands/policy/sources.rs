//! Policies as the command line names them.

use std::io;
use std::path::PathBuf;

use wasm_tests::runner::{self, Folders, OtherKinds, Problem, Sources};

use crate::args::SourceArgs;
use crate::failure::Failure;

/// Reads all policies, and gives every problem of all files.
pub(super) fn read(args: &SourceArgs) -> (Sources, Vec<Problem>) {
    read_paths(&args.paths, args.skip_other_kinds)
}

pub(super) fn read_paths(paths: &[PathBuf], skip_other_kinds: bool) -> (Sources, Vec<Problem>) {
    let other = if skip_other_kinds {
        OtherKinds::Skip
    } else {
        OtherKinds::Refuse
    };
    let (from_stdin, files): (Vec<PathBuf>, Vec<PathBuf>) =
        paths.iter().cloned().partition(|path| is_stdin(path));
    let (mut sources, mut problems) = runner::read_sources(&files, Folders::Deep, other);
    if !from_stdin.is_empty() {
        match runner::text_of("stdin", io::stdin().lock()) {
            Ok(text) => problems.extend(sources.add("stdin", &text, other)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() && sources.policies().is_empty() {
        let names: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let skipped = sources.skipped();
        let problem = if skipped == 0 {
            "holds no policy".to_owned()
        } else {
            format!("holds no policy ({skipped} resources of other kinds were left out)")
        };
        problems.push(Problem::of_file(&names.join(", "), problem));
    }
    (sources, problems)
}

/// The same, where nothing can be done without all of them.
pub(super) fn require(args: &SourceArgs) -> Result<Sources, Failure> {
    require_paths(&args.paths, args.skip_other_kinds)
}

pub(super) fn require_paths(paths: &[PathBuf], skip_other_kinds: bool) -> Result<Sources, Failure> {
    match read_paths(paths, skip_other_kinds) {
        (sources, problems) if problems.is_empty() => Ok(sources),
        (_, problems) => Err(failed(&problems)),
    }
}

/// The failure that says all of these problems.
pub(super) fn failed(problems: &[Problem]) -> Failure {
    Failure::Policies(problems.iter().map(ToString::to_string).collect())
}

pub(super) fn is_stdin(path: &std::path::Path) -> bool {
    path.as_os_str() == "-"
}
