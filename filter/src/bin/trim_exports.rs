//! Takes exports out of a built WebAssembly module, or puts one in another's place:
//! `trim-exports MODULE NAME… NAME=OTHER…`.
//!
//! The proxy-wasm SDK exports every callback there is, and Envoy calls every one that is exported: for each
//! response, each piece of its body and each access log, a way into the module and back that costs more
//! than a policy, to a function that does nothing. Envoy leaves out a callback that is not exported. With
//! `NAME=OTHER` the export `OTHER` is called `NAME` from then on, and the SDK's of that name is taken out: that is
//! how a request gets to the filter's own function without passing through the SDK's tables. Only the
//! export section is written anew; code, memory and everything else stay as they are.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why exports could not be taken out.
#[derive(Debug, thiserror::Error)]
enum TrimError {
    #[error("usage: trim-exports MODULE NAME… NAME=OTHER…")]
    Usage,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("byte {at} of the module is not what WebAssembly has there: {expected}")]
    Malformed { at: usize, expected: &'static str },
    /// All of them missing is no error: the module was trimmed before.
    #[error("the module has no export {missing}, but others of those to take out")]
    Missing { missing: String },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "trim-exports: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), TrimError> {
    let mut arguments = env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().ok_or(TrimError::Usage)?);
    let changes: Option<Changes> = arguments.map(|name| change(name.to_str()?)).collect();
    let changes = changes.filter(|changes| !changes.is_empty());
    let changes = changes.ok_or(TrimError::Usage)?;
    let failed = |path: &Path, source| TrimError::File {
        path: path.to_owned(),
        source,
    };
    let module = fs::read(&path).map_err(|source| failed(&path, source))?;
    let Some(trimmed) = trim(&module, &changes)? else {
        return Ok(());
    };
    // Cargo links the file to its own copy; a new file leaves that one as it was built.
    let new = path.with_extension("trimmed");
    fs::write(&new, trimmed).map_err(|source| failed(&new, source))?;
    fs::rename(&new, &path).map_err(|source| failed(&path, source))
}

/// Exports to take out, by name, and to rename: then with the name that they get.
type Changes = BTreeMap<String, Option<String>>;

fn change(argument: &str) -> Option<(String, Option<String>)> {
    let (new, old) = match argument.split_once('=') {
        Some((new, old)) => (Some(new.to_owned()), old),
        None => (None, argument),
    };
    let empty = old.is_empty() || new.as_deref() == Some("");
    (!empty).then(|| (old.to_owned(), new))
}

/// The module with these changes; `None` where it has none of the exports to take out or to rename.
fn trim(module: &[u8], changes: &Changes) -> Result<Option<Vec<u8>>, TrimError> {
    const EXPORTS: u8 = 7;
    let mut reader = Reader {
        bytes: module,
        at: 0,
    };
    if reader.take(8)? != b"\0asm\x01\0\0\0" {
        return Err(reader.malformed("a module of version 1"));
    }
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    let mut found = BTreeSet::new();
    while reader.at < module.len() {
        let begin = reader.at;
        let kind = reader.byte()?;
        let size = reader.number()?;
        let body = reader.take(size)?;
        if kind == EXPORTS {
            let offset = reader.at.saturating_sub(size);
            let kept = changed(body, offset, changes, &mut found)?;
            out.push(kind);
            push_number(&mut out, kept.len());
            out.extend_from_slice(&kept);
        } else {
            out.extend_from_slice(module.get(begin..reader.at).unwrap_or_default());
        }
    }
    match changes.keys().find(|name| !found.contains(*name)) {
        _ if found.is_empty() => Ok(None),
        Some(missing) => Err(TrimError::Missing {
            missing: missing.clone(),
        }),
        None => Ok(Some(out)),
    }
}

/// An export section's body with these changes.
fn changed(
    body: &[u8],
    offset: usize,
    changes: &Changes,
    found: &mut BTreeSet<String>,
) -> Result<Vec<u8>, TrimError> {
    let mut reader = Reader { bytes: body, at: 0 };
    let mut exports = Vec::new();
    let count = located(reader.number(), offset)?;
    let replaced: BTreeSet<&String> = changes.values().flatten().collect();
    let mut kept = 0_usize;
    for _ in 0..count {
        let (name, what) = located(reader.export(), offset)?;
        let text = str::from_utf8(name).unwrap_or_default().to_owned();
        let name = match changes.get(&text) {
            Some(new) => {
                found.insert(text);
                new.as_deref().map(str::as_bytes)
            }
            None => Some(name).filter(|_| !replaced.contains(&text)),
        };
        if let Some(name) = name {
            kept = kept.saturating_add(1);
            push_number(&mut exports, name.len());
            exports.extend_from_slice(name);
            exports.extend_from_slice(what);
        }
    }
    if reader.at != body.len() {
        return located(Err(reader.malformed("the end of the exports")), offset);
    }
    let mut out = Vec::new();
    push_number(&mut out, kept);
    out.extend_from_slice(&exports);
    Ok(out)
}

/// Counts a place from the module's beginning.
fn located<T>(outcome: Result<T, TrimError>, offset: usize) -> Result<T, TrimError> {
    outcome.map_err(|error| match error {
        TrimError::Malformed { at, expected } => TrimError::Malformed {
            at: at.saturating_add(offset),
            expected,
        },
        other => other,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn malformed(&self, expected: &'static str) -> TrimError {
        TrimError::Malformed {
            at: self.at,
            expected,
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], TrimError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (taken, _) = rest
            .split_at_checked(len)
            .ok_or_else(|| self.malformed("more bytes"))?;
        self.at = self.at.saturating_add(len);
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, TrimError> {
        let taken = self.take(1)?;
        taken
            .first()
            .copied()
            .ok_or_else(|| self.malformed("a byte"))
    }

    /// An unsigned LEB128 number of at most 32 bits.
    fn number(&mut self) -> Result<usize, TrimError> {
        let mut number = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(number).map_err(|_large| self.malformed("a small number"));
            }
        }
        Err(self.malformed("a number of at most five bytes"))
    }

    /// An export: its name, and what it is as it is written.
    fn export(&mut self) -> Result<(&'a [u8], &'a [u8]), TrimError> {
        let len = self.number()?;
        let name = self.take(len)?;
        let begin = self.at;
        self.byte()?;
        self.number()?;
        let what = self.bytes.get(begin..self.at).unwrap_or_default();
        Ok((name, what))
    }
}

fn push_number(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type section, exports `a`, `bb` and `memory`, and a custom section.
    fn module() -> Vec<u8> {
        [
            b"\0asm\x01\0\0\0".as_slice(),
            b"\x01\x04\x01\x60\x00\x00",
            b"\x07\x14\x03\x01a\x00\x00\x02bb\x00\x80\x01\x06memory\x02\x00",
            b"\x00\x02\x01x",
        ]
        .concat()
    }

    fn names(arguments: &[&str]) -> Changes {
        let changes = arguments.iter().map(|argument| change(argument));
        changes.collect::<Option<_>>().unwrap()
    }

    #[test]
    fn takes_out_what_is_named_and_nothing_else() {
        let trimmed = trim(&module(), &names(&["bb"])).unwrap().unwrap();
        let wanted = [
            b"\0asm\x01\0\0\0".as_slice(),
            b"\x01\x04\x01\x60\x00\x00",
            b"\x07\x0e\x02\x01a\x00\x00\x06memory\x02\x00",
            b"\x00\x02\x01x",
        ];
        assert_eq!(trimmed, wanted.concat());
    }

    #[test]
    fn puts_one_in_the_place_of_another() {
        let trimmed = trim(&module(), &names(&["memory", "a=bb"])).unwrap();
        let trimmed = trimmed.unwrap();
        let wanted = [
            b"\0asm\x01\0\0\0".as_slice(),
            b"\x01\x04\x01\x60\x00\x00",
            b"\x07\x06\x01\x01a\x00\x80\x01",
            b"\x00\x02\x01x",
        ];
        assert_eq!(trimmed, wanted.concat());
        let again = trim(&trimmed, &names(&["memory", "a=bb"])).unwrap();
        assert_eq!(again, None, "its `a` is not taken for the first one");
        assert_eq!(
            change("=b").or_else(|| change("a=")).or_else(|| change("")),
            None
        );
    }

    #[test]
    fn a_module_that_was_trimmed_stays_as_it_is() {
        assert_eq!(trim(&module(), &names(&["c"])).unwrap(), None);
        let error = trim(&module(), &names(&["a", "c"])).unwrap_err();
        assert!(matches!(error, TrimError::Missing { .. }), "{error}");
    }

    #[test]
    fn refuses_every_cut() {
        let module = module();
        let sections = [8, 14, 36];
        for end in 0..module.len() {
            let cut = trim(&module[..end], &names(&["a"]));
            assert_eq!(cut.is_ok(), sections.contains(&end), "cut at {end}");
        }
    }

    #[test]
    fn refuses_exports_that_are_none() {
        for exports in [
            &b"\x07\x01\x01"[..],
            b"\x07\x02\x00\x00",
            b"\x07\x06\x01\xff\xff\xff\xff\xff",
            b"\x07\x05\x01\x09a\x00\x00",
        ] {
            let module = [b"\0asm\x01\0\0\0".as_slice(), exports].concat();
            let error = trim(&module, &names(&["a"])).unwrap_err();
            assert!(matches!(error, TrimError::Malformed { .. }), "{exports:?}");
        }
    }
}
