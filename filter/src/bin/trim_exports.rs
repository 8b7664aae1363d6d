//! Takes exports out of a built WebAssembly module: `trim-exports MODULE NAME…`.
//!
//! The proxy-wasm SDK exports every callback there is, and Envoy calls every one that is exported: for each
//! response, each piece of its body and each access log, a way into the module and back that costs more
//! than a policy, to a function that does nothing. Envoy leaves out a callback that is not exported. Only the
//! export section is written anew; code, memory and everything else stay as they are.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why exports could not be taken out.
#[derive(Debug, thiserror::Error)]
enum TrimError {
    #[error("usage: trim-exports MODULE NAME…")]
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
    let names: Option<BTreeSet<String>> = arguments.map(|name| name.into_string().ok()).collect();
    let names = names.filter(|names| !names.is_empty());
    let names = names.ok_or(TrimError::Usage)?;
    let failed = |path: &Path, source| TrimError::File {
        path: path.to_owned(),
        source,
    };
    let module = fs::read(&path).map_err(|source| failed(&path, source))?;
    let Some(trimmed) = trim(&module, &names)? else {
        return Ok(());
    };
    // Cargo links the file to its own copy; a new file leaves that one as it was built.
    let new = path.with_extension("trimmed");
    fs::write(&new, trimmed).map_err(|source| failed(&new, source))?;
    fs::rename(&new, &path).map_err(|source| failed(&path, source))
}

/// The module without these exports; `None` where it has none of them.
fn trim(module: &[u8], names: &BTreeSet<String>) -> Result<Option<Vec<u8>>, TrimError> {
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
            let kept = without(body, offset, names, &mut found)?;
            out.push(kind);
            push_number(&mut out, kept.len());
            out.extend_from_slice(&kept);
        } else {
            out.extend_from_slice(module.get(begin..reader.at).unwrap_or_default());
        }
    }
    match names.difference(&found).next() {
        _ if found.is_empty() => Ok(None),
        Some(missing) => Err(TrimError::Missing {
            missing: missing.clone(),
        }),
        None => Ok(Some(out)),
    }
}

/// An export section's body without these exports.
fn without(
    body: &[u8],
    offset: usize,
    names: &BTreeSet<String>,
    found: &mut BTreeSet<String>,
) -> Result<Vec<u8>, TrimError> {
    let mut reader = Reader { bytes: body, at: 0 };
    let mut exports = Vec::new();
    let count = located(reader.number(), offset)?;
    let mut kept = 0_usize;
    for _ in 0..count {
        let begin = reader.at;
        let name = located(reader.export(), offset)?;
        match str::from_utf8(name)
            .ok()
            .filter(|name| names.contains(*name))
        {
            Some(name) => {
                found.insert(name.to_owned());
            }
            None => {
                kept = kept.saturating_add(1);
                exports.extend_from_slice(body.get(begin..reader.at).unwrap_or_default());
            }
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

    /// Passes over an export, and gives its name.
    fn export(&mut self) -> Result<&'a [u8], TrimError> {
        let len = self.number()?;
        let name = self.take(len)?;
        self.byte()?;
        self.number()?;
        Ok(name)
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

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
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
