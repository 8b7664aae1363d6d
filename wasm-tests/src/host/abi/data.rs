//! Properties, shared data, shared queues, buffers.

use wasmtime::{Caller, Linker};

use super::{About, answer};
use crate::host::memory::Guest;
use crate::host::property::Value;
use crate::host::state::State;
use crate::host::status::Status;

type C<'a> = Caller<'a, State>;

pub(super) fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    define_properties(linker)?;
    define_shared_data(linker)?;
    define_queues(linker)?;
    define_buffers(linker)
}

fn define_properties(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut c: C<'_>, path: u32, path_len: u32, out: u32, out_len: u32| {
            answer(
                &mut c,
                "proxy_get_property",
                &About::Text(path, path_len),
                |guest| {
                    let path = guest.read(path, path_len)?;
                    let found = guest.state().context()?.properties.lookup(&path);
                    guest.give(&found.ok_or(Status::NotFound)?, out, out_len)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |mut c: C<'_>, path: u32, path_len: u32, value: u32, value_len: u32| {
            answer(
                &mut c,
                "proxy_set_property",
                &About::Text(path, path_len),
                |guest| {
                    // Envoy keeps what a filter sets in filter state, out of the attributes' way.
                    let path = guest.read_text(path, path_len)?;
                    let value = Value::Bytes(guest.read(value, value_len)?);
                    let properties = &mut guest.state().context()?.properties;
                    properties.set(&["filter_state", &format!("wasm.{path}")], value);
                    Ok(())
                },
            )
        },
    )?;
    Ok(())
}

fn define_shared_data(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |mut c: C<'_>, key: u32, key_len: u32, out: u32, out_len: u32, out_cas: u32| {
            answer(
                &mut c,
                "proxy_get_shared_data",
                &About::Text(key, key_len),
                |guest| {
                    let key = guest.read(key, key_len)?;
                    let found = guest
                        .state()
                        .world
                        .shared()
                        .get(&key)
                        .map(|(v, c)| (v.to_vec(), c));
                    let (value, cas) = found.ok_or(Status::NotFound)?;
                    guest.give(&value, out, out_len)?;
                    guest.write_u32(out_cas, cas)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |mut c: C<'_>, key: u32, key_len: u32, value: u32, value_len: u32, cas: u32| {
            answer(
                &mut c,
                "proxy_set_shared_data",
                &About::Text(key, key_len),
                |guest| {
                    let key = guest.read(key, key_len)?;
                    let value = guest.read(value, value_len)?;
                    guest.state().world.shared().set(&key, &value, cas)
                },
            )
        },
    )?;
    Ok(())
}

fn define_queues(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_register_shared_queue",
        |mut c: C<'_>, name: u32, name_len: u32, out: u32| {
            answer(
                &mut c,
                "proxy_register_shared_queue",
                &About::Text(name, name_len),
                |guest| {
                    let name = guest.read(name, name_len)?;
                    let id = guest.state().world.shared().register_queue(&name);
                    guest.write_u32(out, id)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_resolve_shared_queue",
        |mut c: C<'_>, _vm: u32, _vm_len: u32, name: u32, name_len: u32, out: u32| {
            answer(
                &mut c,
                "proxy_resolve_shared_queue",
                &About::Text(name, name_len),
                |guest| {
                    let name = guest.read(name, name_len)?;
                    let id = guest
                        .state()
                        .world
                        .shared()
                        .queue_id(&name)
                        .ok_or(Status::NotFound)?;
                    guest.write_u32(out, id)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_dequeue_shared_queue",
        |mut c: C<'_>, id: u32, out: u32, out_len: u32| {
            answer(
                &mut c,
                "proxy_dequeue_shared_queue",
                &About::Number(id),
                |guest| {
                    let value = guest.state().world.shared().dequeue(id)?;
                    guest.give(&value, out, out_len)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_enqueue_shared_queue",
        |mut c: C<'_>, id: u32, value: u32, value_len: u32| {
            answer(
                &mut c,
                "proxy_enqueue_shared_queue",
                &About::Number(id),
                |guest| {
                    let value = guest.read(value, value_len)?;
                    guest.state().world.shared().enqueue(id, &value)
                },
            )
        },
    )?;
    Ok(())
}

fn define_buffers(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut c: C<'_>, kind: u32, start: u32, length: u32, out: u32, out_len: u32| {
            answer(
                &mut c,
                "proxy_get_buffer_bytes",
                &About::Number(kind),
                |guest| {
                    let buffer = buffer(guest, kind)?.clone();
                    start.checked_add(length).ok_or(Status::BadArgument)?;
                    let start = usize::try_from(start).map_err(|_large| Status::BadArgument)?;
                    let length = usize::try_from(length).map_err(|_large| Status::BadArgument)?;
                    let rest = buffer.get(start..).ok_or(Status::BadArgument)?;
                    let taken = rest.get(..length).unwrap_or(rest);
                    // Envoy writes no out-parameter when there is nothing to hand over.
                    if taken.is_empty() {
                        Ok(())
                    } else {
                        guest.give(taken, out, out_len)
                    }
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_status",
        |mut c: C<'_>, kind: u32, out_len: u32, out_flags: u32| {
            answer(
                &mut c,
                "proxy_get_buffer_status",
                &About::Number(kind),
                |guest| {
                    let length = buffer(guest, kind)?.len();
                    let length = u32::try_from(length).map_err(|_large| Status::InternalFailure)?;
                    guest.write_u32(out_len, length)?;
                    guest.write_u32(out_flags, 0)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_buffer_bytes",
        |mut c: C<'_>, kind: u32, start: u32, length: u32, data: u32, data_len: u32| {
            answer(
                &mut c,
                "proxy_set_buffer_bytes",
                &About::Number(kind),
                |guest| {
                    let data = guest.read(data, data_len)?;
                    let start = usize::try_from(start).map_err(|_large| Status::BadArgument)?;
                    let length = usize::try_from(length).map_err(|_large| Status::BadArgument)?;
                    let buffer = buffer(guest, kind)?;
                    let start = start.min(buffer.len());
                    let end = start.saturating_add(length).min(buffer.len());
                    buffer.splice(start..end, data);
                    Ok(())
                },
            )
        },
    )?;
    Ok(())
}

fn buffer<'g>(guest: &'g mut Guest<'_, '_>, kind: u32) -> Result<&'g mut Vec<u8>, Status> {
    let state = guest.state();
    match kind {
        0 | 1 => {
            let context = state.context()?;
            if context.is_root {
                return Err(Status::NotFound);
            }
            Ok(if kind == 0 {
                &mut context.request_body
            } else {
                &mut context.response_body
            })
        }
        4 => state
            .call_answer
            .as_mut()
            .map(|answer| &mut answer.body)
            .ok_or(Status::NotFound),
        6 => Ok(&mut state.vm_configuration),
        7 => Ok(&mut state.root()?.1.configuration),
        2 | 3 | 5 | 8 => Err(Status::NotFound),
        _ => Err(Status::BadArgument),
    }
}
