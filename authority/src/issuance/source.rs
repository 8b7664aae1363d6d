//! From the text of a file to typed values, with file, line, column and field of what does not fit.

use serde::de::DeserializeOwned;

use crate::issuance::problem::Problem;

/// Reads one YAML (or JSON) document. Unknown fields, doubled keys and a second document are
/// errors.
///
/// # Errors
/// The first [`Problem`] of the file's shape; what the fields mean is not checked here.
pub(super) fn read<T: DeserializeOwned>(
    file: &str,
    text: &str,
    max_bytes: usize,
) -> Result<T, Problem> {
    if text.len() > max_bytes {
        let problem = format!("is {} bytes, limit is {max_bytes}", text.len());
        return Err(Problem::of_file(file, problem));
    }
    let mut path = String::new();
    serde_saphyr::with_deserializer_from_str(text, |from| {
        serde_path_to_error::deserialize(from).map_err(|error| {
            path = field(&error.path().to_string());
            error.into_inner()
        })
    })
    .map_err(|error| {
        let at = error.location();
        let known = |number: u64| (number > 0).then_some(number);
        Problem {
            file: file.to_owned(),
            line: at.and_then(|at| known(at.line())),
            column: at.and_then(|at| known(at.column())),
            path: path.clone(),
            problem: first_line(&error.without_snippet().to_string()),
        }
    })
}

/// The path as it is written in the file: without the steps into our own wrapper for places.
fn field(path: &str) -> String {
    let steps = path
        .split('.')
        .filter(|step| *step != "value" && *step != "?");
    let joined = steps.collect::<Vec<_>>().join(".");
    // A list in a wrapper: `rules[0].value[1]` has its index at the wrapper's step.
    joined.replace(".value[", "[")
}

/// The message without what the library adds to it: its place, which is told besides, and hints.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let end = line
        .find(" at line ")
        .or_else(|| line.find(", line "))
        .or_else(|| line.find("; use "))
        .unwrap_or(line.len());
    let text = line.get(..end).unwrap_or(line);
    text.trim_start_matches("error: ").to_owned()
}
