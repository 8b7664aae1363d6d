//! Which configuration decides on requests that are open.
//!
//! Envoy makes a root context for each configuration, and leaves a request with the one it came under. A
//! new policy must reach open streams, too, so the root contexts that are versions of one plug-in form a
//! line (see [`Root::succeeds`]), and its leader decides: the one configured last, or the one that Envoy gave a
//! request to last, which after a configuration was taken back is an older one.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use crate::host::Host;

use super::Root;

/// The root contexts that are versions of one plug-in.
#[derive(Debug)]
pub struct Line<H> {
    leader: RefCell<Weak<Root<H>>>,
    leading: Cell<u32>,
    generation: Cell<u64>,
}

impl<H> Line<H> {
    /// A line of one, which leads it.
    pub fn of(context: u32) -> Self {
        Self {
            leader: RefCell::default(),
            leading: Cell::new(context),
            generation: Cell::new(0),
        }
    }

    /// What was decided before may be decided otherwise now.
    pub fn advance(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
    }

    /// A number that is another one whenever decisions may be others.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }
}

impl<H: Host> Root<H> {
    /// Makes a root context the leader of the line of those that it succeeds.
    pub fn lead(root: &Rc<Self>, older: &[&Rc<Self>]) {
        if let Some(line) = older.first().map(|older| older.line()) {
            for member in older.iter().copied().chain([root]) {
                if let Ok(mut own) = member.line.try_borrow_mut() {
                    *own = Rc::clone(&line);
                }
            }
        }
        Self::take_lead(root);
    }

    /// A request came under this configuration: Envoy has it in force, whichever was configured last.
    pub fn in_use(root: &Rc<Self>) {
        let line = root.line.try_borrow();
        let leads = line.is_ok_and(|line| line.leading.get() == root.context);
        if !leads {
            Self::take_lead(root);
        }
    }

    fn take_lead(root: &Rc<Self>) {
        let line = root.line();
        line.leading.set(root.context);
        if let Ok(mut leader) = line.leader.try_borrow_mut() {
            *leader = Rc::downgrade(root);
        }
        root.on_world_changed();
    }

    /// The root context whose configuration decides on open requests of this one; itself where the leader is gone.
    pub fn leader(root: &Rc<Self>) -> Rc<Self> {
        let line = root.line();
        let leader = line.leader.try_borrow().ok();
        leader
            .and_then(|leader| leader.upgrade())
            .unwrap_or_else(|| Rc::clone(root))
    }

    /// Its line.
    pub fn line(&self) -> Rc<Line<H>> {
        // No borrow is held across a call to the proxy, so this always finds it.
        self.line.try_borrow().map_or_else(
            |_borrowed| Rc::new(Line::of(self.context)),
            |line| Rc::clone(&line),
        )
    }
}
