//! The contexts of one module instance, and the way of every callback to its context.
//!
//! One thread runs all of it. A callback takes its context out of the tables and lets go of them
//! before it does anything, so a call back from the proxy meets no borrow.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::host::{Action, Host};
use crate::reply;
use crate::root::Root;
use crate::stream::Stream;

/// One module instance: an Envoy worker has one for each VM.
#[derive(Debug)]
pub struct Vm<H> {
    host: H,
    roots: RefCell<HashMap<u32, Rc<Root<H>>>>,
    streams: RefCell<HashMap<u32, Rc<Stream<H>>>>,
}

impl<H: Host> Vm<H> {
    /// An instance without contexts.
    pub fn new(host: H) -> Self {
        Self {
            host,
            roots: RefCell::default(),
            streams: RefCell::default(),
        }
    }

    /// A root context where `parent` is 0, else a request of that root context.
    ///
    /// A request of a root context that is not there gets no context, and is denied.
    pub fn on_context_create(&self, context: u32, parent: u32) {
        if parent == 0 {
            let root = Rc::new(Root::new(context, self.host.clone()));
            if let Ok(mut roots) = self.roots.try_borrow_mut() {
                roots.insert(context, root);
            }
        } else if let Some(root) = self.root(parent) {
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
        let others: Vec<_> = self
            .roots
            .try_borrow()
            .map(|roots| roots.values().cloned().collect())
            .unwrap_or_default();
        root.inherit_deny_list(&others);
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
        self.host.set_effective_context(context).ok();
        root.end_tick();
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
        } else if let Some(root) = self.root(context) {
            root.on_done();
        }
    }

    /// A context has ended.
    pub fn on_delete(&self, context: u32) {
        self.on_done(context);
        let stream = self
            .streams
            .try_borrow_mut()
            .ok()
            .and_then(|mut streams| streams.remove(&context));
        if stream.is_none()
            && let Ok(mut roots) = self.roots.try_borrow_mut()
        {
            roots.remove(&context);
        }
    }

    fn root(&self, context: u32) -> Option<Rc<Root<H>>> {
        self.roots.try_borrow().ok()?.get(&context).cloned()
    }

    fn stream(&self, context: u32) -> Option<Rc<Stream<H>>> {
        self.streams.try_borrow().ok()?.get(&context).cloned()
    }
}
