//! One task for each identity of the entries, for as long as it is among them.

use std::{collections::BTreeMap, sync::Arc};

use identity::SpiffeId;
use tokio::task::{AbortHandle, JoinSet};
use tracing::info;

use super::{Office, Subject};
use crate::world::Upkeep;

/// A task that keeps one certificate fresh; ends when dropped.
struct Task {
    ttl_seconds: i64,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Starts and stops the tasks as the entries change. Never returns.
pub(crate) async fn supervise(office: Arc<Office>) {
    let mut world = office.world.follow();
    let mut tasks: BTreeMap<SpiffeId, Task> = BTreeMap::new();
    // Dropped with this future, and all tasks with it.
    let mut running = JoinSet::new();
    loop {
        let entries = world.borrow_and_update().entries.clone();
        if let Some(entries) = entries {
            arrange(&office, &entries.identities(), &mut tasks, &mut running);
        }
        tokio::select! {
            changed = world.changed() => if changed.is_err() {
                return;
            },
            // Only to forget those that were aborted.
            Some(_ended) = running.join_next() => {}
        }
    }
}

fn arrange(
    office: &Arc<Office>,
    wanted: &BTreeMap<SpiffeId, i64>,
    tasks: &mut BTreeMap<SpiffeId, Task>,
    running: &mut JoinSet<()>,
) {
    let gone: Vec<SpiffeId> = tasks
        .keys()
        .filter(|id| !wanted.contains_key(*id))
        .cloned()
        .collect();
    for id in &gone {
        info!(spiffe_id = %id, "identity withdrawn");
        tasks.remove(id);
    }
    let new: Vec<&SpiffeId> = wanted
        .keys()
        .filter(|id| !tasks.contains_key(*id))
        .collect();
    if !gone.is_empty() || !new.is_empty() {
        office.world.change(|world| {
            world.workloads.retain(|id, _| wanted.contains_key(id));
            for id in new {
                world.workloads.insert(id.clone(), Upkeep::default());
            }
        });
    }
    for (id, ttl_seconds) in wanted {
        if tasks
            .get(id)
            .is_some_and(|task| task.ttl_seconds == *ttl_seconds)
        {
            continue;
        }
        let (clerk, subject) = (
            Arc::clone(office),
            Subject::Workload(id.clone(), *ttl_seconds),
        );
        let handle = running.spawn(async move { clerk.maintain(subject).await });
        let task = Task {
            ttl_seconds: *ttl_seconds,
            handle,
        };
        // Ends the task with the former lifetime, if there was one; the certificate stays.
        tasks.insert(id.clone(), task);
    }
}
