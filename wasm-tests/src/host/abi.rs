//! The imports: every `env.proxy_*` function of proxy-wasm 0.2.x.
//!
//! What each answers follows `proxy-wasm-cpp-host`'s `src/exports.cc` and Envoy's `context.cc`.
//! Each goes through [`answer`], which records it and lets an injected fault take its place.

mod data;
mod http;
mod system;

use wasmtime::{Caller, Linker};

use super::fault::Effect;
use super::memory::Guest;
use super::state::{Recorded, State};
use super::status::Status;

/// Defines all of them.
pub(super) fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    system::define(linker)?;
    data::define(linker)?;
    http::define(linker)
}

/// What a hostcall is about, for records and faults.
enum About {
    Nothing,
    /// A text in guest memory; NULs become dots.
    Text(u32, u32),
    Number(u32),
}

/// Runs one hostcall, or the fault that is injected in its place.
fn answer(
    caller: &mut Caller<'_, State>,
    hostcall: &'static str,
    about: &About,
    work: impl FnOnce(&mut Guest<'_, '_>) -> Result<(), Status>,
) -> u32 {
    let mut guest = Guest::new(caller);
    let about = match *about {
        About::Nothing => String::new(),
        About::Text(at, length) => guest
            .read_text(at, length)
            .unwrap_or_default()
            .replace('\0', "."),
        About::Number(number) => number.to_string(),
    };
    let status = match guest.state().strike(hostcall, &about) {
        Some(Effect::Status(status)) => status,
        Some(Effect::Silence) => Status::Ok,
        Some(Effect::Bytes(bytes)) => {
            guest.substitute(bytes);
            work(&mut guest).err().unwrap_or(Status::Ok)
        }
        None => work(&mut guest).err().unwrap_or(Status::Ok),
    };
    let answered = status.code();
    guest.state().recorded.push(Recorded {
        hostcall,
        about,
        answered,
    });
    answered
}
