//! The contexts of one module instance, and the way of every callback to its context.
//!
//! One thread runs all of it. A callback takes its context out of the tables and lets go of them
//! before it does anything, so a call back from the proxy meets no borrow.

mod review;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use policy::Protocol;

use crate::connection::Connection;
use crate::host::{Action, Host, Side};
use crate::recent::BuildNumberHasher;
use crate::reply;
use crate::root::Root;
use crate::stream::Stream;
use crate::time::Now;

/// Contexts by their numbers, which the proxy counts up.
type Contexts<T> = RefCell<HashMap<u32, Rc<T>, BuildNumberHasher>>;

/// One module instance: an Envoy worker has one for each VM.
#[derive(Debug)]
pub struct Vm<H> {
    host: H,
    roots: Contexts<Root<H>>,
    streams: Contexts<Stream<H>>,
    connections: Contexts<Connection<H>>,
}

impl<H: Host> Vm<H> {
    /// An instance without contexts.
    pub fn new(host: H) -> Self {
        Self {
            host,
            roots: RefCell::default(),
            streams: RefCell::default(),
            connections: RefCell::default(),
        }
    }

    /// A root context where `parent` is 0, else a request or, by the configuration's protocol, a TCP
    /// connection of that root context.
    ///
    /// One of a root context that is not there gets no context, and is denied.
    pub fn on_context_create(&self, context: u32, parent: u32) {
        if parent == 0 {
            let root = Rc::new(Root::new(context, self.host.clone()));
            if let Ok(mut roots) = self.roots.try_borrow_mut() {
                roots.insert(context, root);
            }
            return;
        }
        let Some(root) = self.root(parent) else {
            return;
        };
        if is_tcp(&root) {
            // The proxy has this configuration in force, whichever was configured last.
            if !Rc::ptr_eq(&Root::leader(&root), &root) {
                self.take_over(&root, &self.all_roots());
            }
            let connection = Rc::new(Connection::new(context, root));
            if let Ok(mut connections) = self.connections.try_borrow_mut() {
                connections.insert(context, connection);
            }
        } else {
            let stream = Rc::new(Stream::new(context, root));
            if let Ok(mut streams) = self.streams.try_borrow_mut() {
                streams.insert(context, stream);
            }
        }
    }

    /// A configuration for a root context. False refuses it, and Envoy then refuses the update that
    /// brought it; the configuration held before stays in force.
    pub fn on_configure(&self, context: u32, size: usize) -> bool {
        let Some(root) = self.root(context) else {
            return false;
        };
        if !root.configure(size) {
            return false;
        }
        // Envoy makes a new root context for each configuration. What another one of this instance
        // has verified with the same keys spares the new one a moment without a list.
        let others = self.all_roots();
        root.inherit(&others);
        root.learn_name();
        self.take_over(&root, &others);
        true
    }

    /// The root context's timer.
    pub fn on_tick(&self, context: u32) {
        let Some(root) = self.root(context) else {
            return;
        };
        for (held, last) in root.begin_tick() {
            let stream = self.stream(held);
            // Calls for a request act on it only in its own context; without, it must not be looked
            // at: the attributes read would be another's.
            let entered = self.host.set_effective_context(held).is_ok();
            let decided = match stream {
                Some(stream) if entered => stream.on_hold_due(last),
                Some(_) => last,
                None => true,
            };
            if decided {
                root.forget_held(held);
            }
        }
        self.look_at_connections(&root);
        self.review_open_streams(&root);
        self.host.set_effective_context(context).ok();
        root.end_tick();
    }

    fn look_at_connections(&self, root: &Root<H>) {
        let due = root.due_connections();
        let now = if due.is_empty() {
            None
        } else {
            Now::read(&self.host).ok()
        };
        for due in due {
            let Some(connection) = self.connection(due.context) else {
                root.forget_connection(due.context);
                continue;
            };
            if !connection.needs_look(now) {
                continue;
            }
            if self.host.set_effective_context(due.context).is_ok() {
                connection.on_due(due.last);
            } else {
                // Gone, or out of reach: then it must not go on undecided.
                root.metrics().count("countersign_connection_unreachable");
                connection.shut();
            }
        }
    }

    /// The connections of the configurations that this one is a newer version of are decided on
    /// by it from now on. The proxy leaves them with the root context they were made under.
    fn take_over(&self, root: &Rc<Root<H>>, others: &[Rc<Root<H>>]) {
        let older = |other: &&Rc<Root<H>>| !Rc::ptr_eq(other, root) && root.succeeds(other);
        let older: Vec<_> = others.iter().filter(older).collect();
        for connection in self.all_connections() {
            // Not only of those in `others`: the proxy may have let go of the one that decided.
            if connection.root().is_some_and(|own| root.succeeds(&own)) {
                connection.move_to(root);
            }
        }
        Root::lead(root, &older);
        root.recheck_connections();
    }

    /// The proxy has let go of a configuration: connections that it decided about go back to the one
    /// that each came under.
    fn hand_back(&self, gone: &Rc<Root<H>>) {
        let mut origins: HashMap<u32, Rc<Root<H>>> = HashMap::new();
        for connection in self.all_connections() {
            let decided = connection.root();
            if decided.is_some_and(|own| Rc::ptr_eq(&own, gone)) {
                let origin = connection.origin();
                connection.move_to(origin);
                origins.insert(origin.context(), Rc::clone(origin));
            }
        }
        for (context, origin) in origins {
            // The timer that it sets is that of the context in effect.
            self.host.set_effective_context(context).ok();
            origin.recheck_connections();
        }
        self.host.set_effective_context(gone.context()).ok();
    }

    /// A TCP connection has been made.
    pub fn on_new_connection(&self, context: u32) -> Action {
        match self.connection(context) {
            Some(connection) => connection.on_new_connection(),
            None => self.refuse_connection(),
        }
    }

    /// Bytes of a TCP connection: so many are in the buffer.
    pub fn on_data(&self, context: u32, side: Side, len: usize) -> Action {
        match self.connection(context) {
            Some(connection) => connection.on_data(side, len),
            None => self.refuse_connection(),
        }
    }

    fn refuse_connection(&self) -> Action {
        // Were it not closed, its bytes still stay where they are.
        self.host.close_connection(Side::Downstream).ok();
        self.host.close_connection(Side::Upstream).ok();
        Action::Pause
    }

    /// Headers of a request.
    pub fn on_request_headers(&self, context: u32) -> Action {
        match self.stream(context) {
            Some(stream) => stream.on_request_headers(),
            None => {
                // Were this not sent either, the request still stays where it is.
                reply::deny_inbound(&self.host, "no_context", false).ok();
                Action::Pause
            }
        }
    }

    /// Body or trailers of a request.
    pub fn on_request_rest(&self, context: u32) -> Action {
        self.stream(context)
            .map_or(Action::Pause, |stream| stream.on_request_rest())
    }

    /// Reply to a call of a root context; no headers where there was none.
    pub fn on_http_call_response(&self, context: u32, token: u32, headers: u32, body: usize) {
        if let Some(root) = self.root(context) {
            root.on_http_call_response(token, headers, body);
        }
    }

    /// A context is about to end.
    pub fn on_done(&self, context: u32) {
        if let Some(stream) = self.stream(context) {
            stream.on_done();
        } else if let Some(connection) = self.connection(context) {
            connection.on_done();
        } else if let Some(root) = self.root(context) {
            root.on_done();
        }
    }

    /// A request or a connection has ended; false where the context is neither.
    pub fn on_child_delete(&self, context: u32) -> bool {
        let stream = take(&self.streams, context);
        if let Some(stream) = stream {
            stream.on_done();
            return true;
        }
        let connection = take(&self.connections, context);
        if let Some(connection) = connection {
            connection.on_done();
            return true;
        }
        false
    }

    /// A context has ended.
    pub fn on_delete(&self, context: u32) {
        if self.on_child_delete(context) {
            return;
        }
        if let Some(root) = self.root(context) {
            root.on_done();
        }
        if let Some(gone) = take(&self.roots, context) {
            self.hand_back(&gone);
        }
    }

    fn all_connections(&self) -> Vec<Rc<Connection<H>>> {
        self.connections
            .try_borrow()
            .map(|connections| connections.values().cloned().collect())
            .unwrap_or_default()
    }

    fn all_roots(&self) -> Vec<Rc<Root<H>>> {
        self.roots
            .try_borrow()
            .map(|roots| roots.values().cloned().collect())
            .unwrap_or_default()
    }

    fn root(&self, context: u32) -> Option<Rc<Root<H>>> {
        self.roots.try_borrow().ok()?.get(&context).cloned()
    }

    fn stream(&self, context: u32) -> Option<Rc<Stream<H>>> {
        self.streams.try_borrow().ok()?.get(&context).cloned()
    }

    fn connection(&self, context: u32) -> Option<Rc<Connection<H>>> {
        self.connections.try_borrow().ok()?.get(&context).cloned()
    }
}

fn take<T>(contexts: &Contexts<T>, context: u32) -> Option<Rc<T>> {
    contexts.try_borrow_mut().ok()?.remove(&context)
}

fn is_tcp<H: Host>(root: &Root<H>) -> bool {
    root.plugin()
        .is_some_and(|plugin| plugin.scope.protocol == Protocol::Tcp)
}
