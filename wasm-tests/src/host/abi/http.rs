//! Header maps, streams, local responses, HTTP and gRPC calls.

use wasmtime::{Caller, Linker};

use super::{About, answer};
use crate::host::maps::{Headers, decode_pairs, encode_pairs};
use crate::host::memory::Guest;
use crate::host::state::{HttpCall, LocalResponse, State};
use crate::host::status::Status;

type C<'a> = Caller<'a, State>;

pub(super) fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    define_maps(linker)?;
    define_map_values(linker)?;
    define_streams(linker)?;
    define_http_call(linker)?;
    define_grpc(linker)
}

fn define_maps(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut c: C<'_>, kind: u32, out: u32, out_len: u32| {
            answer(
                &mut c,
                "proxy_get_header_map_pairs",
                &About::Number(kind),
                |guest| {
                    let pairs = match map(guest, kind) {
                        Ok(headers) => encode_pairs(headers),
                        Err(Status::BadArgument) if kind > 7 => return Err(Status::BadArgument),
                        // A map that is not there reads as an empty one.
                        Err(_absent) => Vec::new(),
                    };
                    guest.give(&pairs, out, out_len)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_header_map_pairs",
        |mut c: C<'_>, kind: u32, pairs: u32, pairs_len: u32| {
            answer(
                &mut c,
                "proxy_set_header_map_pairs",
                &About::Number(kind),
                |guest| {
                    let bytes = guest.read(pairs, pairs_len)?;
                    *map(guest, kind)? = decode_pairs(&bytes).ok_or(Status::BadArgument)?;
                    Ok(())
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_size",
        |mut c: C<'_>, kind: u32, out: u32| {
            answer(
                &mut c,
                "proxy_get_header_map_size",
                &About::Number(kind),
                |guest| {
                    let size = encode_pairs(map(guest, kind)?).len();
                    guest.write_u32(
                        out,
                        u32::try_from(size).map_err(|_large| Status::InternalFailure)?,
                    )
                },
            )
        },
    )?;
    Ok(())
}

fn define_map_values(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut c: C<'_>, kind: u32, key: u32, key_len: u32, out: u32, out_len: u32| {
            answer(
                &mut c,
                "proxy_get_header_map_value",
                &About::Text(key, key_len),
                |guest| {
                    let key = guest.read(key, key_len)?;
                    let found = map(guest, kind)?.first(&key).map(<[u8]>::to_vec);
                    guest.give(&found.ok_or(Status::NotFound)?, out, out_len)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut c: C<'_>, kind: u32, key: u32, key_len: u32| {
            answer(
                &mut c,
                "proxy_remove_header_map_value",
                &About::Text(key, key_len),
                |guest| {
                    let key = guest.read(key, key_len)?;
                    map(guest, kind)?.remove(&key);
                    Ok(())
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |mut c: C<'_>, kind: u32, key: u32, key_len: u32, value: u32, value_len: u32| {
            answer(
                &mut c,
                "proxy_replace_header_map_value",
                &About::Text(key, key_len),
                |guest| {
                    let (key, value) = (guest.read(key, key_len)?, guest.read(value, value_len)?);
                    map(guest, kind)?.replace(&key, &value);
                    Ok(())
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_add_header_map_value",
        |mut c: C<'_>, kind: u32, key: u32, key_len: u32, value: u32, value_len: u32| {
            answer(
                &mut c,
                "proxy_add_header_map_value",
                &About::Text(key, key_len),
                |guest| {
                    let (key, value) = (guest.read(key, key_len)?, guest.read(value, value_len)?);
                    map(guest, kind)?.add(&key, &value);
                    Ok(())
                },
            )
        },
    )?;
    Ok(())
}

fn define_streams(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "proxy_continue_stream", |mut c: C<'_>, kind: u32| {
        answer(
            &mut c,
            "proxy_continue_stream",
            &About::Number(kind),
            |guest| {
                let context = guest.state().context()?;
                match kind {
                    0 if !context.is_root => {
                        context.resumed_request = context.resumed_request.saturating_add(1);
                        context.paused = false;
                    }
                    1 if !context.is_root => {
                        context.resumed_response = context.resumed_response.saturating_add(1);
                    }
                    2 if !context.is_root => context.network.resume(),
                    // Envoy has no way to let bytes of the other side go on.
                    3 => return Err(Status::Unimplemented),
                    _ => return Err(Status::BadArgument),
                }
                Ok(())
            },
        )
    })?;
    linker.func_wrap("env", "proxy_close_stream", |mut c: C<'_>, kind: u32| {
        answer(
            &mut c,
            "proxy_close_stream",
            &About::Number(kind),
            |guest| {
                let context = guest.state().context()?;
                if kind > 3 || context.is_root {
                    return Err(Status::BadArgument);
                }
                context.closed.push(kind);
                Ok(())
            },
        )
    })?;
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |mut c: C<'_>,
         status: u32,
         details: u32,
         details_len: u32,
         body: u32,
         body_len: u32,
         headers: u32,
         headers_len: u32,
         grpc_status: i32| {
            answer(
                &mut c,
                "proxy_send_local_response",
                &About::Number(status),
                |guest| {
                    let details = guest.read_text(details, details_len)?;
                    let body = guest.read(body, body_len)?;
                    let pairs = guest.read(headers, headers_len)?;
                    let headers = decode_pairs(&pairs).unwrap_or_default();
                    let response = LocalResponse {
                        status,
                        details,
                        body,
                        headers,
                        grpc_status,
                    };
                    guest.state().context()?.local_responses.push(response);
                    Ok(())
                },
            )
        },
    )?;
    Ok(())
}

fn define_http_call(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |mut c: C<'_>,
         cluster: u32,
         cluster_len: u32,
         headers: u32,
         headers_len: u32,
         body: u32,
         body_len: u32,
         trailers: u32,
         trailers_len: u32,
         timeout_milliseconds: u32,
         out: u32| {
            answer(
                &mut c,
                "proxy_http_call",
                &About::Text(cluster, cluster_len),
                |guest| {
                    let cluster = guest.read_text(cluster, cluster_len)?;
                    let pairs = guest.read(headers, headers_len)?;
                    let headers = decode_pairs(&pairs).ok_or(Status::BadArgument)?;
                    let body = guest.read(body, body_len)?;
                    guest.read(trailers, trailers_len)?;
                    for needed in [":method", ":path", ":authority"] {
                        headers
                            .first(needed.as_bytes())
                            .ok_or(Status::BadArgument)?;
                    }
                    let state = guest.state();
                    let (root, _) = state.root()?;
                    state.last_token = state.last_token.wrapping_add(1);
                    let token = state.last_token;
                    let call = HttpCall {
                        token,
                        root,
                        cluster,
                        headers,
                        body,
                        timeout_milliseconds,
                    };
                    state.http_calls.push(call);
                    guest.write_u32(out, token)
                },
            )
        },
    )?;
    Ok(())
}

/// gRPC calls are imports a module may have, and nothing this host does.
fn define_grpc(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_grpc_call",
        |mut c: C<'_>,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32| unimplemented_call(&mut c, "proxy_grpc_call"),
    )?;
    linker.func_wrap(
        "env",
        "proxy_grpc_stream",
        |mut c: C<'_>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
            unimplemented_call(&mut c, "proxy_grpc_stream")
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_grpc_send",
        |mut c: C<'_>, _: u32, _: u32, _: u32, _: u32| {
            unimplemented_call(&mut c, "proxy_grpc_send")
        },
    )?;
    linker.func_wrap("env", "proxy_grpc_cancel", |mut c: C<'_>, _: u32| {
        unimplemented_call(&mut c, "proxy_grpc_cancel")
    })?;
    linker.func_wrap("env", "proxy_grpc_close", |mut c: C<'_>, _: u32| {
        unimplemented_call(&mut c, "proxy_grpc_close")
    })?;
    Ok(())
}

fn unimplemented_call(caller: &mut C<'_>, hostcall: &'static str) -> u32 {
    answer(caller, hostcall, &About::Nothing, |_guest| {
        Err(Status::Unimplemented)
    })
}

fn map<'g>(guest: &'g mut Guest<'_, '_>, kind: u32) -> Result<&'g mut Headers, Status> {
    let state = guest.state();
    if let 6 | 7 = kind {
        let answer = state.call_answer.as_mut().ok_or(Status::BadArgument)?;
        return Ok(if kind == 6 {
            &mut answer.headers
        } else {
            &mut answer.trailers
        });
    }
    let context = state.context()?;
    match kind {
        _ if context.is_root => Err(Status::BadArgument),
        0 => Ok(&mut context.request_headers),
        1 => Ok(&mut context.request_trailers),
        2 => Ok(&mut context.response_headers),
        3 => Ok(&mut context.response_trailers),
        _ => Err(Status::BadArgument),
    }
}
