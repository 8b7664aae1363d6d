//! HTTP streams through the filter.

use super::error::HostError;
use super::maps::Headers;
use super::plugin::Plugin;
use super::property::Properties;
use super::state::{Context, LocalResponse};

/// One HTTP stream, by its context id.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StreamId(u32);

/// What a callback told Envoy to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Go on.
    Continue,
    /// Stop here until told.
    Pause,
}

/// Where a stream's request stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The request goes (or went) on to the next filter.
    Continued,
    /// It is held.
    Paused,
    /// The filter answered in the upstream's place.
    Replied(LocalResponse),
    /// The filter reset the stream.
    Reset,
}

impl Outcome {
    /// The status of a local reply.
    #[must_use]
    pub fn status(&self) -> Option<u32> {
        match self {
            Self::Replied(reply) => Some(reply.status),
            Self::Continued | Self::Paused | Self::Reset => None,
        }
    }
}

impl Plugin {
    /// Opens a stream that sees these properties.
    ///
    /// # Errors
    /// The guest traps.
    pub fn open(&mut self, properties: Properties) -> Result<StreamId, HostError> {
        let root = self.root();
        self.new_context(Context {
            root,
            properties,
            ..Context::default()
        })
        .map(StreamId)
    }

    /// Changes what a stream sees, as when its upstream connection gets ready.
    ///
    /// # Errors
    /// No such stream.
    pub fn set_properties(
        &mut self,
        stream: StreamId,
        properties: Properties,
    ) -> Result<(), HostError> {
        self.context_mut(stream)?.properties = properties;
        Ok(())
    }

    /// Changes what the stream's request headers are, as Envoy takes them away from a filter that let them go.
    ///
    /// # Errors
    /// No such stream.
    pub fn set_request_headers(
        &mut self,
        stream: StreamId,
        headers: Headers,
    ) -> Result<(), HostError> {
        self.context_mut(stream)?.request_headers = headers;
        Ok(())
    }

    /// Request headers arrive.
    ///
    /// # Errors
    /// The guest traps, or answers no action, or there is no such stream.
    pub fn request_headers(
        &mut self,
        stream: StreamId,
        headers: &Headers,
        end_of_stream: bool,
    ) -> Result<Outcome, HostError> {
        self.context_mut(stream)?.request_headers = headers.clone();
        let parameters = (stream.0, count(headers.len()), u32::from(end_of_stream));
        self.act("proxy_on_request_headers", stream, parameters, true)
    }

    /// A piece of the request body arrives.
    ///
    /// # Errors
    /// As [`Plugin::request_headers`].
    pub fn request_body(
        &mut self,
        stream: StreamId,
        body: &[u8],
        end_of_stream: bool,
    ) -> Result<Outcome, HostError> {
        self.context_mut(stream)?
            .request_body
            .extend_from_slice(body);
        let length = count(self.context_mut(stream)?.request_body.len());
        let parameters = (stream.0, length, u32::from(end_of_stream));
        self.act("proxy_on_request_body", stream, parameters, false)
    }

    /// Request trailers arrive.
    ///
    /// # Errors
    /// As [`Plugin::request_headers`].
    pub fn request_trailers(
        &mut self,
        stream: StreamId,
        trailers: &Headers,
    ) -> Result<Outcome, HostError> {
        self.context_mut(stream)?.request_trailers = trailers.clone();
        let parameters = (stream.0, count(trailers.len()));
        self.act("proxy_on_request_trailers", stream, parameters, false)
    }

    /// Response headers arrive.
    ///
    /// # Errors
    /// As [`Plugin::request_headers`].
    pub fn response_headers(
        &mut self,
        stream: StreamId,
        headers: &Headers,
        end_of_stream: bool,
    ) -> Result<Action, HostError> {
        self.context_mut(stream)?.response_headers = headers.clone();
        let parameters = (stream.0, count(headers.len()), u32::from(end_of_stream));
        self.action("proxy_on_response_headers", stream, parameters)
    }

    /// A piece of the response body arrives.
    ///
    /// # Errors
    /// As [`Plugin::request_headers`].
    pub fn response_body(
        &mut self,
        stream: StreamId,
        body: &[u8],
        end_of_stream: bool,
    ) -> Result<Action, HostError> {
        self.context_mut(stream)?
            .response_body
            .extend_from_slice(body);
        let length = count(self.context_mut(stream)?.response_body.len());
        let parameters = (stream.0, length, u32::from(end_of_stream));
        self.action("proxy_on_response_body", stream, parameters)
    }

    /// The stream ends, in whatever state it is: done, log, delete.
    ///
    /// # Errors
    /// The guest traps.
    pub fn close(&mut self, stream: StreamId) -> Result<(), HostError> {
        self.call_optional::<u32, u32>("proxy_on_done", stream.0, stream.0)?;
        self.call_optional::<u32, ()>("proxy_on_log", stream.0, stream.0)?;
        self.call_optional::<u32, ()>("proxy_on_delete", stream.0, stream.0)?;
        self.store.data_mut().contexts.remove(&stream.0);
        Ok(())
    }

    /// Where the stream's request stands now.
    ///
    /// # Errors
    /// No such stream.
    pub fn outcome(&mut self, stream: StreamId) -> Result<Outcome, HostError> {
        let context = self.context_mut(stream)?;
        Ok(if let Some(reply) = context.local_responses.first() {
            Outcome::Replied(reply.clone())
        } else if !context.closed.is_empty() {
            Outcome::Reset
        } else if context.paused {
            Outcome::Paused
        } else {
            Outcome::Continued
        })
    }

    /// How often the guest resumed the stream's request.
    ///
    /// # Errors
    /// No such stream.
    pub fn resumed(&mut self, stream: StreamId) -> Result<u32, HostError> {
        Ok(self.context_mut(stream)?.resumed_request)
    }

    /// The request headers as they are after the filter.
    ///
    /// # Errors
    /// No such stream.
    pub fn headers_after(&mut self, stream: StreamId) -> Result<Headers, HostError> {
        Ok(self.context_mut(stream)?.request_headers.clone())
    }

    fn act<P: wasmtime::WasmParams>(
        &mut self,
        export: &'static str,
        stream: StreamId,
        parameters: P,
        first: bool,
    ) -> Result<Outcome, HostError> {
        let action = self.action(export, stream, parameters)?;
        let context = self.context_mut(stream)?;
        // While headers are held, Envoy buffers what follows: a `Continue` for the body does not
        // let the headers go (allow_on_headers_stop_iteration is false).
        if first {
            context.paused = action == Action::Pause;
        }
        // Behind headers that were let go, a `Pause` still holds the piece itself.
        match self.outcome(stream)? {
            Outcome::Continued if action == Action::Pause => Ok(Outcome::Paused),
            outcome => Ok(outcome),
        }
    }

    fn action<P: wasmtime::WasmParams>(
        &mut self,
        export: &'static str,
        stream: StreamId,
        parameters: P,
    ) -> Result<Action, HostError> {
        match self.call_optional::<P, u32>(export, stream.0, parameters)? {
            None | Some(0) => Ok(Action::Continue),
            Some(1) => Ok(Action::Pause),
            Some(action) => Err(HostError::UnknownAction { export, action }),
        }
    }

    fn context_mut(&mut self, stream: StreamId) -> Result<&mut Context, HostError> {
        let missing = HostError::NoSuchStream { id: stream.0 };
        self.store
            .data_mut()
            .contexts
            .get_mut(&stream.0)
            .ok_or(missing)
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
