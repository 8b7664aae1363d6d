//! What the proxy in memory answers to the filter's calls.

use crate::headers::HeaderBlock;
use crate::host::{
    Buffer, Header, HeaderMap, Host, HostError, HttpCall, LocalResponse, LogLevel, MetricKind,
    Side, Status,
};
use crate::pairs;

use super::{Called, FakeHost, Sent};

impl Host for FakeHost {
    fn property(&self, path: &[&str]) -> Result<Option<Vec<u8>>, HostError> {
        const CALL: &str = "proxy_get_property";
        self.check(CALL)?;
        let state = self.0.borrow();
        let name = path.join(".");
        if let Some(&status) = state.property_failures.get(&name) {
            return refused(CALL, status);
        }
        Ok(state
            .contexts
            .get(&state.context)
            .and_then(|own| own.get(&name))
            .cloned())
    }

    fn encoded_property(&self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.property(&path.split('\0').collect::<Vec<_>>())
    }

    fn header_block(&self, map: HeaderMap) -> Result<HeaderBlock, HostError> {
        let headers = self.header_map(map)?;
        let pairs: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .collect();
        HeaderBlock::parse(pairs::encode(&pairs)).ok_or(HostError::Malformed {
            call: "proxy_get_header_map_pairs",
        })
    }

    fn header_map(&self, map: HeaderMap) -> Result<Vec<Header>, HostError> {
        const CALL: &str = "proxy_get_header_map_pairs";
        self.check(CALL)?;
        match self.0.borrow().headers.get(&map) {
            Some(headers) => Ok(headers.clone()),
            None => refused(CALL, Status::BadArgument),
        }
    }

    fn buffer(&self, buffer: Buffer, max: usize) -> Result<Vec<u8>, HostError> {
        const CALL: &str = "proxy_get_buffer_bytes";
        self.check(CALL)?;
        match self.0.borrow().buffers.get(&buffer) {
            Some(bytes) => Ok(bytes.iter().copied().take(max).collect()),
            None => refused(CALL, Status::NotFound),
        }
    }

    fn send_local_response(&self, response: &LocalResponse<'_>) -> Result<(), HostError> {
        self.check("proxy_send_local_response")?;
        let mut state = self.0.borrow_mut();
        let context = state.context;
        state.sent.push(Sent {
            context,
            status: response.status,
            details: response.details.to_owned(),
            body: response.body.to_owned(),
            headers: response
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        });
        Ok(())
    }

    fn resume_request(&self) -> Result<(), HostError> {
        self.check("proxy_continue_stream")?;
        let mut state = self.0.borrow_mut();
        let context = state.context;
        state.resumed.push(context);
        Ok(())
    }

    fn resume_connection(&self, side: Side) -> Result<(), HostError> {
        const CALL: &str = "proxy_continue_stream";
        self.check(CALL)?;
        if side == Side::Upstream {
            return refused(CALL, Status::Unimplemented);
        }
        let mut state = self.0.borrow_mut();
        let context = state.context;
        state.let_go.push((context, side));
        Ok(())
    }

    fn close_connection(&self, side: Side) -> Result<(), HostError> {
        self.check("proxy_close_stream")?;
        let mut state = self.0.borrow_mut();
        let context = state.context;
        state.closed.push((context, side));
        Ok(())
    }

    fn http_call(&self, call: &HttpCall<'_>) -> Result<u32, HostError> {
        self.check("proxy_http_call")?;
        let mut state = self.0.borrow_mut();
        state.calls += 1;
        let token = state.calls;
        let path = call.headers.iter().find(|(name, _)| *name == ":path");
        let path = path
            .map(|(_, value)| (*value).to_owned())
            .unwrap_or_default();
        state.called.push(Called {
            token,
            cluster: call.cluster.to_owned(),
            path,
        });
        Ok(token)
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, HostError> {
        self.check("proxy_get_shared_data")?;
        Ok(self.0.borrow().shared.get(key).cloned())
    }

    fn set_shared_data(&self, key: &str, value: &[u8], version: u32) -> Result<(), HostError> {
        const CALL: &str = "proxy_set_shared_data";
        self.check(CALL)?;
        let winner = self.0.borrow_mut().races.remove(key);
        if let Some(winner) = winner {
            self.set_shared(key, &winner);
        }
        let found = self.0.borrow().shared.get(key).map(|(_, version)| *version);
        if version != 0 && found.is_some_and(|found| found != version) {
            return refused(CALL, Status::CasMismatch);
        }
        self.set_shared(key, value);
        Ok(())
    }

    fn set_tick_period(&self, milliseconds: u32) -> Result<(), HostError> {
        self.check("proxy_set_tick_period_milliseconds")?;
        self.0.borrow_mut().tick = milliseconds;
        Ok(())
    }

    fn now_nanoseconds(&self) -> Result<u64, HostError> {
        self.check("proxy_get_current_time_nanoseconds")?;
        Ok(self.0.borrow().now)
    }

    fn set_effective_context(&self, context: u32) -> Result<(), HostError> {
        const CALL: &str = "proxy_set_effective_context";
        self.check(CALL)?;
        let mut state = self.0.borrow_mut();
        if !state.contexts.contains_key(&context) {
            return refused(CALL, Status::BadArgument);
        }
        state.context = context;
        Ok(())
    }

    fn call_foreign_function(&self, _name: &str, arguments: &[u8]) -> Result<Vec<u8>, HostError> {
        const CALL: &str = "proxy_call_foreign_function";
        self.check(CALL)?;
        self.0.borrow_mut().foreign_calls += 1;
        let foreign = self.0.borrow().foreign.clone();
        foreign.map_or_else(
            || refused(CALL, Status::NotFound),
            |foreign| Ok(foreign(arguments)),
        )
    }

    fn define_metric(&self, _kind: MetricKind, name: &str) -> Result<u32, HostError> {
        self.check("proxy_define_metric")?;
        let mut state = self.0.borrow_mut();
        let at = state
            .metrics
            .iter()
            .position(|(known, _)| known == name)
            .unwrap_or_else(|| {
                state.metrics.push((name.to_owned(), 0));
                state.metrics.len() - 1
            });
        Ok(u32::try_from(at).unwrap_or(u32::MAX))
    }

    fn increment_metric(&self, metric: u32, by: i64) -> Result<(), HostError> {
        self.check("proxy_increment_metric")?;
        self.with_metric("proxy_increment_metric", metric, |value| {
            *value = value.saturating_add_signed(by);
        })
    }

    fn record_metric(&self, metric: u32, new: u64) -> Result<(), HostError> {
        self.check("proxy_record_metric")?;
        self.with_metric("proxy_record_metric", metric, |value| *value = new)
    }

    fn log(&self, level: LogLevel, message: &str) {
        if self.check("proxy_log").is_ok() {
            self.0.borrow_mut().log.push((level, message.to_owned()));
        }
    }
}

impl FakeHost {
    fn check(&self, call: &'static str) -> Result<(), HostError> {
        match self.0.borrow().failures.get(call) {
            Some(&status) => refused(call, status),
            None => Ok(()),
        }
    }

    fn with_metric(
        &self,
        call: &'static str,
        metric: u32,
        change: impl FnOnce(&mut u64),
    ) -> Result<(), HostError> {
        let mut state = self.0.borrow_mut();
        let at = usize::try_from(metric).ok();
        match at.and_then(|at| state.metrics.get_mut(at)) {
            Some((_, value)) => {
                change(value);
                Ok(())
            }
            None => refused(call, Status::NotFound),
        }
    }
}

const fn refused<T>(call: &'static str, status: Status) -> Result<T, HostError> {
    Err(HostError::Refused { call, status })
}
