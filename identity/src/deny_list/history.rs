//! A list and how it came to be, for those who hold an older one.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::deny_list::changes::Changes;
use crate::deny_list::list::DenyList;
use crate::deny_list::update::Update;

/// Most earlier lists whose differences are remembered: with a signing every ten seconds, those of
/// the last hour.
pub const MAX_STEPS: usize = 360;

/// Most changed records remembered in all; a full list's worth of changes is not worth keeping.
pub const MAX_STEP_RECORDS: usize = 20_000;

/// A list, its signed head, and what changed in the steps that led to it. Never changes itself.
#[derive(Clone, Debug)]
pub struct History {
    head: Arc<[u8]>,
    list: DenyList,
    /// The oldest first.
    steps: VecDeque<Arc<Step>>,
}

/// From the list at a position to the one after it.
#[derive(Debug)]
struct Step {
    from: (u64, u64),
    changes: Changes,
}

impl History {
    /// A list without a past; `head` is its JWS.
    #[must_use]
    pub fn new(head: Vec<u8>, list: DenyList) -> Self {
        Self {
            head: head.into(),
            list,
            steps: VecDeque::new(),
        }
    }

    /// This history with one more list.
    #[must_use]
    pub fn followed_by(&self, head: Vec<u8>, list: DenyList) -> Self {
        let changes = if Arc::ptr_eq(self.list.entries(), list.entries()) {
            Changes::default()
        } else {
            Changes::between(self.list.entries(), list.entries())
        };
        let mut steps = self.steps.clone();
        let from = self.list.position();
        steps.push_back(Arc::new(Step { from, changes }));
        let mut records: usize = steps.iter().map(|step| step.changes.len()).sum();
        while steps.len() > MAX_STEPS || records > MAX_STEP_RECORDS {
            let Some(oldest) = steps.pop_front() else {
                break;
            };
            records = records.saturating_sub(oldest.changes.len());
        }
        Self {
            head: head.into(),
            list,
            steps,
        }
    }

    /// The list.
    #[must_use]
    pub const fn list(&self) -> &DenyList {
        &self.list
    }

    /// Its signed head.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The update for a holder of the list at `held`; `None` where that is this one.
    ///
    /// It brings the changes where they are known and fewer than all entries.
    #[must_use]
    pub fn since(&self, held: Option<(u64, u64)>) -> Option<Vec<u8>> {
        if held == Some(self.list.position()) {
            return None;
        }
        let delta = held.and_then(|base| Some((base, self.changes_since(base)?)));
        Some(match delta {
            Some((base, changes)) if changes.len() <= self.list.len() => {
                Update::delta(&self.head, base, &changes)
            }
            _ => Update::full(&self.head, self.list.entries()),
        })
    }

    fn changes_since(&self, base: (u64, u64)) -> Option<Changes> {
        let first = self.steps.iter().position(|step| step.from == base)?;
        let steps = self.steps.iter().skip(first);
        Some(steps.fold(Changes::default(), |all, step| all.then(&step.changes)))
    }
}
