//! TCP connections through the filter.

use super::error::HostError;
use super::plugin::Plugin;
use super::property::Properties;
use super::state::Context;
use super::stream::{Action, Outcome};

/// One TCP connection, by its context id.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(u32);

/// Where bytes come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// From whoever connected to the proxy.
    Downstream,
    /// From whom the proxy connected to.
    Upstream,
}

/// What has become of a connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConnectionState {
    /// The filter had it closed.
    pub closed: bool,
    /// It has got past the filter, so that the proxy connects to the other side.
    pub begun: bool,
    /// Bytes of the client that got past the filter.
    pub to_upstream: Vec<u8>,
    /// Bytes of the server that got past the filter.
    pub to_downstream: Vec<u8>,
}

/// What a network filter sees of one direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    waiting: Vec<u8>,
    passed: Vec<u8>,
}

/// The network side of a context.
#[derive(Debug, Default)]
pub(super) struct Network {
    begun: bool,
    downstream: Direction,
    upstream: Direction,
}

impl Direction {
    fn pass(&mut self) {
        self.passed.append(&mut self.waiting);
    }
}

impl Network {
    /// `proxy_continue_stream(Downstream)`: the next filters get what was held.
    pub(super) fn resume(&mut self) {
        self.begun = true;
        self.downstream.pass();
    }
}

impl Plugin {
    /// A client connects; the connection sees these properties.
    ///
    /// # Errors
    /// The guest traps, or answers no action.
    pub fn connect(&mut self, properties: Properties) -> Result<(ConnectionId, Action), HostError> {
        let root = self.root();
        let id = self.new_context(Context {
            root,
            properties,
            ..Context::default()
        })?;
        let connection = ConnectionId(id);
        let action = self.callback("proxy_on_new_connection", connection, id)?;
        if action == Action::Continue {
            self.network(connection)?.begun = true;
        }
        Ok((connection, action))
    }

    /// Changes what a connection sees, as when its handshake ends.
    ///
    /// # Errors
    /// No such connection.
    pub fn set_connection_properties(
        &mut self,
        connection: ConnectionId,
        properties: Properties,
    ) -> Result<(), HostError> {
        self.connection_context(connection)?.properties = properties;
        Ok(())
    }

    /// Bytes arrive; the filter is told of those that wait as well.
    ///
    /// # Errors
    /// The guest traps, or answers no action, or there is no such connection.
    pub fn data(
        &mut self,
        connection: ConnectionId,
        side: Side,
        bytes: &[u8],
        end_of_stream: bool,
    ) -> Result<Action, HostError> {
        let (export, waiting) = {
            let network = self.network(connection)?;
            let (export, direction) = match side {
                Side::Downstream => ("proxy_on_downstream_data", &mut network.downstream),
                Side::Upstream => ("proxy_on_upstream_data", &mut network.upstream),
            };
            direction.waiting.extend_from_slice(bytes);
            (export, direction.waiting.len())
        };
        let length = u32::try_from(waiting).unwrap_or(u32::MAX);
        let parameters = (connection.0, length, u32::from(end_of_stream));
        let action = self.callback(export, connection, parameters)?;
        if action == Action::Continue {
            let network = self.network(connection)?;
            match side {
                Side::Downstream => network.resume(),
                Side::Upstream => network.upstream.pass(),
            }
        }
        Ok(action)
    }

    /// A client connects, finishes its handshake if there is one, sends something, and leaves. `Continued` where that
    /// got through, `Reset` where the connection was closed.
    ///
    /// # Errors
    /// The guest traps, or answers no action.
    pub fn connect_and_send(&mut self, properties: Properties) -> Result<Outcome, HostError> {
        let (connection, _action) = self.connect(properties)?;
        if !self.connection(connection)?.closed {
            self.data(connection, Side::Downstream, b"hello", false)?;
        }
        let state = self.connection(connection)?;
        self.disconnect(connection)?;
        Ok(if state.closed {
            Outcome::Reset
        } else if state.to_upstream.is_empty() {
            Outcome::Paused
        } else {
            Outcome::Continued
        })
    }

    /// What has become of a connection.
    ///
    /// # Errors
    /// No such connection.
    pub fn connection(&mut self, connection: ConnectionId) -> Result<ConnectionState, HostError> {
        let context = self.connection_context(connection)?;
        Ok(ConnectionState {
            closed: !context.closed.is_empty(),
            begun: context.network.begun,
            to_upstream: context.network.downstream.passed.clone(),
            to_downstream: context.network.upstream.passed.clone(),
        })
    }

    /// The connection ends: close, done, log, delete.
    ///
    /// # Errors
    /// The guest traps.
    pub fn disconnect(&mut self, connection: ConnectionId) -> Result<(), HostError> {
        const REMOTE: u32 = 2;
        let id = connection.0;
        let export = "proxy_on_downstream_connection_close";
        self.call_optional::<(u32, u32), ()>(export, id, (id, REMOTE))?;
        self.call_optional::<u32, u32>("proxy_on_done", id, id)?;
        self.call_optional::<u32, ()>("proxy_on_log", id, id)?;
        self.call_optional::<u32, ()>("proxy_on_delete", id, id)?;
        self.store.data_mut().contexts.remove(&id);
        Ok(())
    }

    fn callback<P: wasmtime::WasmParams>(
        &mut self,
        export: &'static str,
        connection: ConnectionId,
        parameters: P,
    ) -> Result<Action, HostError> {
        match self.call_optional::<P, u32>(export, connection.0, parameters)? {
            None | Some(0) => Ok(Action::Continue),
            Some(1) => Ok(Action::Pause),
            Some(action) => Err(HostError::UnknownAction { export, action }),
        }
    }

    fn network(&mut self, connection: ConnectionId) -> Result<&mut Network, HostError> {
        Ok(&mut self.connection_context(connection)?.network)
    }

    fn connection_context(&mut self, connection: ConnectionId) -> Result<&mut Context, HostError> {
        let missing = HostError::NoSuchStream { id: connection.0 };
        let contexts = &mut self.store.data_mut().contexts;
        contexts.get_mut(&connection.0).ok_or(missing)
    }
}
