//! Passphrases from files and from the terminal, never from arguments or the environment.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};

use authority::ca::{Passphrase, PassphraseSource};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::args::PassphraseArgs;
use crate::failure::Failure;

/// The source that arguments name; asks on the terminal if they say so.
pub(crate) fn source(args: &PassphraseArgs, what: &str) -> Result<PassphraseSource, Failure> {
    match &args.key_passphrase_file {
        Some(path) => Ok(PassphraseSource::File(path.clone())),
        None if args.ask_passphrase => Ok(PassphraseSource::Typed(ask(what)?)),
        None => Ok(PassphraseSource::None),
    }
}

/// As [`source`], for a new passphrase: asked for twice.
pub(super) fn new_passphrase(args: &PassphraseArgs) -> Result<Option<Passphrase>, Failure> {
    let source = match &args.key_passphrase_file {
        None if args.ask_passphrase => PassphraseSource::Typed(ask_twice()?),
        _ => source(args, "passphrase")?,
    };
    let passphrase = source
        .get()
        .map_err(|error| Failure::part("passphrase", error))?;
    if let Some(passphrase) = &passphrase {
        passphrase
            .check_new()
            .map_err(|error| Failure::part("passphrase", error))?;
    }
    Ok(passphrase)
}

fn ask_twice() -> Result<Passphrase, Failure> {
    let first = read_line("new passphrase")?;
    let second = read_line("once more")?;
    if first != second {
        return Err(Failure::Check("the two passphrases differ".to_owned()));
    }
    Passphrase::new(first).map_err(|error| Failure::part("passphrase", error))
}

fn ask(what: &str) -> Result<Passphrase, Failure> {
    Passphrase::new(read_line(what)?).map_err(|error| Failure::part("passphrase", error))
}

/// A line typed on the terminal that shows nothing of it, whatever standard input is.
fn read_line(what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error: io::Error| Failure::file("ask on", TERMINAL, error);
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open(TERMINAL)
        .map_err(failed)?;
    write!(terminal, "{what}: ").map_err(failed)?;
    let before = tcgetattr(&terminal).map_err(|error| failed(error.into()))?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &quiet).map_err(|error| failed(error.into()))?;
    let mut line = Zeroizing::new(Vec::with_capacity(Passphrase::MAX_BYTES));
    let read = BufReader::new(&terminal).read_until(b'\n', &mut line);
    let restored = tcsetattr(&terminal, OptionalActions::Flush, &before);
    writeln!(terminal).map_err(failed)?;
    read.map_err(failed)?;
    restored.map_err(|error| failed(error.into()))?;
    while line
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        line.pop();
    }
    Ok(line)
}

const TERMINAL: &str = "/dev/tty";
