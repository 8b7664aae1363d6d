//! The TCP connections of a root context, as far as its timer goes.

use crate::connection::table::{ConnectionLimitReached, Due, MAX_CONNECTIONS, Table};
use crate::host::Host;

use super::Root;

const FULL: ConnectionLimitReached = ConnectionLimitReached {
    max: MAX_CONNECTIONS,
};

impl<H: Host> Root<H> {
    /// Looks at a connection again and again, for at most `limit` milliseconds. To be called with its context
    /// in effect, as [`Root::watch_connection`].
    ///
    /// # Errors
    /// There are too many.
    pub fn await_connection(&self, context: u32, limit: u64) -> Result<(), ConnectionLimitReached> {
        self.adopt_waiting(context, limit)?;
        self.reschedule_from(context);
        Ok(())
    }

    /// Looks at an open connection again in so many milliseconds, or only when something changes.
    ///
    /// # Errors
    /// There are too many.
    pub fn watch_connection(
        &self,
        context: u32,
        after: Option<u64>,
    ) -> Result<(), ConnectionLimitReached> {
        self.adopt_open(context, after)?;
        self.reschedule_from(context);
        Ok(())
    }

    /// [`Root::await_connection`] for a connection of another root context; sets no timer.
    ///
    /// # Errors
    /// There are too many.
    pub fn adopt_waiting(&self, context: u32, limit: u64) -> Result<(), ConnectionLimitReached> {
        let now = self.now_on_clock();
        self.with_connections(|table| table.wait(context, now, limit))
            .unwrap_or(Err(FULL))
    }

    /// [`Root::watch_connection`] likewise.
    ///
    /// # Errors
    /// There are too many.
    pub fn adopt_open(
        &self,
        context: u32,
        after: Option<u64>,
    ) -> Result<(), ConnectionLimitReached> {
        let due = after.map(|after| self.now_on_clock().saturating_add(after));
        self.with_connections(|table| table.open(context, due))
            .unwrap_or(Err(FULL))
    }

    /// Sets the timer where a connection's context is in effect. That one may have been made under an older
    /// root context, whose timer the proxy would set.
    fn reschedule_from(&self, context: u32) {
        let now = self.now_on_clock();
        if self.wanted_period(now) == self.period.get() {
            return;
        }
        let entered = self.host.set_effective_context(self.context).is_ok();
        self.reschedule(now);
        if entered {
            // Were it to fail, what follows acts on no connection, and that fails, too.
            self.host.set_effective_context(context).ok();
        }
    }

    /// Forgets a connection.
    pub fn forget_connection(&self, context: u32) {
        self.with_connections(|table| table.forget(context));
    }

    /// The connections to look at in this tick.
    pub fn due_connections(&self) -> Vec<Due> {
        let now = self.now_on_clock();
        self.with_connections(|table| table.take_due(now))
            .unwrap_or_default()
    }

    /// The next tick looks at every open connection.
    pub fn recheck_connections(&self) {
        let now = self.now_on_clock();
        self.with_connections(|table| table.recheck(now));
        self.reschedule(now);
    }

    /// Asks the proxy for the plug-in's name, which it tells a root context only while it calls it.
    pub fn learn_name(&self) {
        let name = self.host.property(&["plugin_name"]).ok().flatten();
        if let Ok(mut own) = self.name.try_borrow_mut() {
            *own = name.filter(|name| !name.is_empty());
        }
    }

    fn name(&self) -> Option<Vec<u8>> {
        self.name.try_borrow().ok()?.clone()
    }

    /// Whether this is a newer version of what `other` was configured with: a plug-in of the same name
    /// that guards the same workload on the same side. Configurations that are in force beside one
    /// another need different plug-in names.
    pub fn succeeds(&self, other: &Self) -> bool {
        let (Some(new), Some(old)) = (self.plugin(), other.plugin()) else {
            return false;
        };
        let name = self.name();
        name.is_some()
            && name == other.name()
            && new.direction == old.direction
            && new.scope.protocol == old.scope.protocol
            && new.scope.workload == old.scope.workload
    }

    /// No borrow is held across a call to the proxy, so this is never `None`.
    fn with_connections<T>(&self, run: impl FnOnce(&mut Table) -> T) -> Option<T> {
        self.connections
            .try_borrow_mut()
            .ok()
            .map(|mut table| run(&mut table))
    }
}
