//! Whether an identity is suspended, without asking the record for every certificate.
//!
//! That nobody at all is suspended, which is nearly always so, is remembered for a moment. The record
//! asks again, atomically, when a certificate is written: one that was signed in that moment for an
//! identity just suspended is refused there and never leaves.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use identity::{SpiffeId, UnixTime};

use crate::inventory::{Inventory, InventoryError};

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Suspensions {
    nobody_until: Mutex<Option<Instant>>,
}

impl Suspensions {
    /// Whether an unexpired certificate of `id` is suspended.
    ///
    /// # Errors
    /// [`InventoryError`] if the record failed.
    pub(super) async fn has(
        &self,
        id: &SpiffeId,
        inventory: &Inventory,
        now: UnixTime,
    ) -> Result<bool, InventoryError> {
        let asked = Instant::now();
        if self.until().is_some_and(|until| asked < until) {
            return Ok(false);
        }
        if inventory.is_anybody_suspended(now).await? {
            return inventory.is_suspended(id, now).await;
        }
        *self
            .nobody_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(asked + MOMENT);
        Ok(false)
    }

    fn until(&self) -> Option<Instant> {
        *self
            .nobody_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Short beside what it takes to tell an agent of a suspension.
const MOMENT: Duration = Duration::from_millis(50);
