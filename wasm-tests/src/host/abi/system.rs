//! Logging, time, ticks, contexts, foreign functions, metrics.

use wasmtime::{Caller, Linker};

use super::{About, answer};
use crate::host::crypto;
use crate::host::state::{LogLine, State};
use crate::host::status::Status;

type C<'a> = Caller<'a, State>;

pub(super) fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    define_log_and_time(linker)?;
    define_contexts(linker)?;
    define_metrics(linker)
}

fn define_log_and_time(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_log",
        |mut c: C<'_>, level: u32, at: u32, length: u32| {
            answer(&mut c, "proxy_log", &About::Nothing, |guest| {
                if level > 5 {
                    return Err(Status::BadArgument);
                }
                let text = guest.read_text(at, length)?;
                guest.state().log.push(LogLine { level, text });
                Ok(())
            })
        },
    )?;
    linker.func_wrap("env", "proxy_get_log_level", |mut c: C<'_>, out: u32| {
        answer(&mut c, "proxy_get_log_level", &About::Nothing, |guest| {
            let level = guest.state().log_level;
            guest.write_u32(out, level)
        })
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_current_time_nanoseconds",
        |mut c: C<'_>, out: u32| {
            answer(
                &mut c,
                "proxy_get_current_time_nanoseconds",
                &About::Nothing,
                |guest| {
                    let now = guest.state().world.clock.nanoseconds();
                    guest.write(out, &now.to_le_bytes())
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |mut c: C<'_>, period: u32| {
            let about = About::Number(period);
            answer(
                &mut c,
                "proxy_set_tick_period_milliseconds",
                &about,
                |guest| {
                    let now = guest.state().world.clock.nanoseconds();
                    guest.state().root()?.1.arm_timer(now, period);
                    Ok(())
                },
            )
        },
    )?;
    Ok(())
}

fn define_contexts(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_set_effective_context",
        |mut c: C<'_>, id: u32| {
            answer(
                &mut c,
                "proxy_set_effective_context",
                &About::Nothing,
                |guest| {
                    let state = guest.state();
                    if !state.contexts.contains_key(&id) {
                        return Err(Status::BadArgument);
                    }
                    state.effective = id;
                    Ok(())
                },
            )
        },
    )?;
    linker.func_wrap("env", "proxy_done", |mut c: C<'_>| {
        // Only a context whose proxy_on_done answered false may say so; this host has none such.
        answer(&mut c, "proxy_done", &About::Nothing, |_guest| {
            Err(Status::NotFound)
        })
    })?;
    linker.func_wrap(
        "env",
        "proxy_call_foreign_function",
        |mut c: C<'_>,
         name: u32,
         name_len: u32,
         args: u32,
         args_len: u32,
         out: u32,
         out_len: u32| {
            let about = About::Text(name, name_len);
            answer(&mut c, "proxy_call_foreign_function", &about, |guest| {
                let arguments = guest.read(args, args_len)?;
                let result = match guest.read_text(name, name_len)?.as_str() {
                    "verify_signature" => crypto::verify_signature(&arguments)?,
                    _ => return Err(Status::NotFound),
                };
                guest.give(&result, out, out_len)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_status",
        |mut c: C<'_>, code: u32, out: u32, out_len: u32| {
            answer(&mut c, "proxy_get_status", &About::Nothing, |guest| {
                guest.write_u32(code, 0)?;
                guest.give(b"", out, out_len)
            })
        },
    )?;
    Ok(())
}

fn define_metrics(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut c: C<'_>, kind: u32, name: u32, name_len: u32, out: u32| {
            answer(
                &mut c,
                "proxy_define_metric",
                &About::Text(name, name_len),
                |guest| {
                    let name = guest.read(name, name_len)?;
                    let id = guest.state().world.metrics().define(kind, &name)?;
                    guest.write_u32(out, id)
                },
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_metric",
        |mut c: C<'_>, id: u32, out: u32| {
            answer(&mut c, "proxy_get_metric", &About::Number(id), |guest| {
                let value = guest.state().world.metrics().get(id)?;
                guest.write(out, &value.to_le_bytes())
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_record_metric",
        |mut c: C<'_>, id: u32, value: u64| {
            answer(&mut c, "proxy_record_metric", &About::Number(id), |guest| {
                guest.state().world.metrics().record(id, value)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_increment_metric",
        |mut c: C<'_>, id: u32, by: i64| {
            answer(
                &mut c,
                "proxy_increment_metric",
                &About::Number(id),
                |guest| guest.state().world.metrics().increment(id, by),
            )
        },
    )?;
    Ok(())
}
