//! What is asked for at the moment that metrics are read.

use metrics::Label;

use crate::health::{Health, files};
use crate::limits::Admission;
use crate::metrics::names;

/// Everything in Prometheus' text format, as it is now.
pub(crate) async fn render(health: &Health) -> String {
    let telemetry = health.issuance.telemetry();
    let set = |name, value: i64| telemetry.set(name, Vec::new(), number(value));
    let now = health.issuance.now();
    let issuer = health.issuance.issuer();
    let root = issuer.root().not_after();
    let chain = issuer.certificate().not_after().min(root);
    for (which, until) in [
        ("root", Some(root.as_secs())),
        (
            "intermediate",
            Some(issuer.certificate().not_after().as_secs()),
        ),
        ("chain", Some(chain.as_secs())),
        ("serving", health.serving.validity().map(|(_, until)| until)),
    ] {
        if let Some(until) = until {
            let label = Label::from_static_parts("certificate", which);
            telemetry.set(names::EXPIRY, vec![label], number(until));
        }
    }
    set(names::CITADEL_ROOT_EXPIRY, root.as_secs());
    set(names::CITADEL_ROOT_SECONDS, root.secs_since(now));
    set(names::CITADEL_CHAIN_EXPIRY, chain.as_secs());
    set(names::CITADEL_CHAIN_SECONDS, chain.secs_since(now));
    set(names::CLOCK, now.as_secs());

    let (position, age, entries) = {
        let watch = health.publisher.watch();
        let list = watch.borrow();
        let list = list.history.list();
        let age = now.secs_since(list.head().issued);
        (list.position(), age, list.entries().len())
    };
    set(
        names::LIST_SEQUENCE,
        i64::try_from(position.1).unwrap_or(i64::MAX),
    );
    set(names::LIST_AGE, age);
    set(names::LIST_ENTRIES, count(entries));

    let behind = health.attendance.behind(position, now, BEHIND_SECONDS);
    set(names::AGENTS, count(health.attendance.agents().len()));
    set(names::AGENTS_BEHIND, count(behind.len()));
    set(names::CONNECTIONS, count(health.peers.open()));
    let bytes = files::record_bytes(&health.data_dir);
    set(
        names::RECORD_BYTES,
        i64::try_from(bytes).unwrap_or(i64::MAX),
    );
    if let Some(room) = files::room(&health.data_dir) {
        set(
            names::DISK_FREE,
            i64::try_from(room.free).unwrap_or(i64::MAX),
        );
    }
    load(health, "proof", &health.front.proving);
    load(health, "issuance", &health.front.issuing);
    set(names::READY, i64::from(health.obstacles().await.is_empty()));
    telemetry.render()
}

fn load(health: &Health, stage: &'static str, admission: &Admission) {
    let load = admission.load();
    for (name, value) in [
        (names::IN_FLIGHT, load.running),
        (names::QUEUED, load.waiting),
    ] {
        let label = Label::from_static_parts("stage", stage);
        health
            .issuance
            .telemetry()
            .set(name, vec![label], number(count(value)));
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// As floating point: exact up to 2^53, which is more than any of these gets to.
#[allow(
    clippy::as_conversions,
    reason = "there is no lossless conversion, and none is needed"
)]
const fn number(value: i64) -> f64 {
    value as f64
}

const BEHIND_SECONDS: i64 = 30;
