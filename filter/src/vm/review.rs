//! Deciding anew on requests that are open.

use std::rc::Rc;

use crate::host::Host;
use crate::root::{MAX_REVIEWS, Root};
use crate::stream::Stream;

use super::Vm;

impl<H: Host> Vm<H> {
    /// Decides anew on open requests of a root context whose decision may be another one now, and resets
    /// those that would not be allowed. To be called in its tick; leaves another context in effect.
    pub(super) fn review_open_streams(&self, root: &Rc<Root<H>>) {
        let Some(sweep) = root.begin_sweep() else {
            return;
        };
        let due: Vec<Rc<Stream<H>>> = self
            .streams
            .try_borrow()
            .map(|streams| {
                let own = streams.values().filter(|stream| stream.belongs_to(root));
                let due = own.filter(|stream| stream.is_due(&sweep));
                due.take(MAX_REVIEWS.saturating_add(1)).cloned().collect()
            })
            .unwrap_or_default();
        for stream in due.iter().take(MAX_REVIEWS) {
            if self.host.set_effective_context(stream.context()).is_ok() {
                stream.review(&sweep);
            } else {
                // Out of reach: then nothing more of it may pass.
                root.metrics().count("countersign_stream_unreachable");
                stream.shut();
            }
        }
        root.end_sweep(due.len() > MAX_REVIEWS);
    }
}
