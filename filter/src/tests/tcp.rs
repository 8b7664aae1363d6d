//! TCP connections, with the proxy in memory.

mod changes;
mod faults;
mod inbound;
mod outbound;

use serde_json::{Value, json};

use super::world::{HTTPBIN, Leaf, ROOT, SLEEP, World};
use crate::host::{Action, Side};

/// A connection's context.
const CONNECTION: u32 = 9;

/// How the proxy's listener is set up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Listener {
    /// It goes on with the handshake while the connection is held, and marks its end.
    Holding,
    /// It connects to the application at once.
    Free,
    /// It has no TLS.
    Plaintext,
}

impl World {
    /// With one ALLOW policy: `sleep` may connect.
    fn tcp() -> Self {
        let world = Self::bare();
        assert!(world.configure(&world.tcp_config()));
        world
    }

    fn tcp_config(&self) -> Value {
        let mut config = self.inbound_config();
        config["protocol"] = json!("tcp");
        config["policies"][0]["spec"]["rules"] = json!([{
            "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
        }]);
        config
    }

    /// With cluster `httpbin` being `httpbin`.
    fn tcp_outbound() -> Self {
        let world = Self::bare();
        let mut config = world.outbound_config();
        config["protocol"] = json!("tcp");
        assert!(world.configure(&config));
        world
    }

    /// A client connects; whether the proxy may go on.
    fn accept(&self, context: u32, listener: Listener) -> Action {
        self.accept_under(ROOT, context, listener)
    }

    fn accept_under(&self, root: u32, context: u32, listener: Listener) -> Action {
        let host = &self.host;
        host.delete(context);
        host.enter(context);
        self.vm.on_context_create(context, root);
        host.set_property("connection.mtls", &[0]);
        if listener != Listener::Plaintext {
            host.set_property("connection.tls_version", b"TLSv1.2");
        }
        if listener == Listener::Holding {
            host.set_property("filter_state.countersign.tcp_hold", b"yes");
        }
        self.vm.on_new_connection(context)
    }

    /// The handshake goes so far that the proxy has the certificate.
    fn present(&self, context: u32, leaf: &Leaf) {
        self.host.enter(context);
        self.show(leaf);
    }

    /// The handshake ends.
    fn finish(&self, context: u32, leaf: &Leaf) {
        self.present(context, leaf);
        self.host
            .set_property("filter_state.countersign.tls_handshake", b"ended");
    }

    fn bytes(&self, context: u32, side: Side) -> Action {
        self.host.enter(context);
        self.vm.on_data(context, side, 5)
    }

    /// Ticks until something was let go or closed, or so many times.
    fn ticks(&self, most: u32) -> Option<Effect> {
        for _ in 0..most {
            self.tick();
            let effect = self.effect();
            if effect.is_some() {
                return effect;
            }
        }
        None
    }

    fn effect(&self) -> Option<Effect> {
        let (let_go, closed) = (self.host.take_let_go(), self.host.take_closed());
        match (let_go.as_slice(), closed.as_slice()) {
            ([], []) => None,
            (&[(context, Side::Downstream)], []) => Some(Effect::LetGo(context)),
            ([], &[(one, Side::Downstream), (two, Side::Upstream)]) if one == two => {
                Some(Effect::Closed(one))
            }
            other => panic!("neither let go nor closed: {other:?}"),
        }
    }

    /// The reason of the last record, and whether the connection was open.
    #[track_caller]
    fn recorded(&self) -> (String, bool) {
        let log = self.host.take_log();
        let mut records = log
            .iter()
            .rev()
            .filter_map(|(_, line)| line.strip_prefix("countersign-decision "));
        let last: Value = serde_json::from_str(records.next().expect("a record")).unwrap();
        let open = last.get("open") == Some(&json!(true));
        (last["reason"].as_str().unwrap().to_owned(), open)
    }

    /// A connection of `sleep` that is open.
    fn opened(&self, context: u32) -> Leaf {
        let leaf = self.authority.leaf(SLEEP);
        self.open_with(context, &leaf);
        leaf
    }

    fn open_with(&self, context: u32, leaf: &Leaf) {
        assert_eq!(self.accept(context, Listener::Free), Action::Continue);
        self.present(context, leaf);
        assert_eq!(self.bytes(context, Side::Downstream), Action::Continue);
        assert_eq!(self.effect(), None);
    }

    /// Neither direction passes.
    #[track_caller]
    fn assert_shut(&self, context: u32) {
        for side in [Side::Downstream, Side::Upstream] {
            assert_eq!(self.bytes(context, side), Action::Pause, "{side:?}");
        }
    }
}

/// What the filter made the proxy do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    LetGo(u32),
    Closed(u32),
}

/// The other identity of the tests.
const OTHER: &str = HTTPBIN;
