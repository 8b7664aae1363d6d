//! The metrics' names and meanings.

use metrics::{Recorder, Unit};

pub(super) const ISSUED: &str = "countersign_certificates_issued_total";
pub(super) const REFUSED: &str = "countersign_requests_refused_total";
pub(super) const ALARMS: &str = "countersign_alarms_total";
pub(super) const FAILED: &str = "countersign_requests_failed_total";
pub(super) const SHED: &str = "countersign_requests_shed_total";
pub(super) const TURNED_AWAY: &str = "countersign_connections_turned_away_total";
pub(super) const ADMIN: &str = "countersign_admin_calls_total";
pub(super) const LATENCY: &str = "countersign_create_certificate_seconds";

pub(super) const IN_FLIGHT: &str = "countersign_requests_in_flight";
pub(super) const QUEUED: &str = "countersign_requests_queued";
pub(super) const CONNECTIONS: &str = "countersign_connections_open";
pub(super) const AGENTS: &str = "countersign_agents_connected";
pub(super) const AGENTS_BEHIND: &str = "countersign_agents_behind";
pub(super) const EXPIRY: &str = "countersign_ca_expiry_timestamp_seconds";
pub(super) const LIST_SEQUENCE: &str = "countersign_deny_list_sequence";
pub(super) const LIST_AGE: &str = "countersign_deny_list_age_seconds";
pub(super) const LIST_ENTRIES: &str = "countersign_deny_list_entries";
pub(super) const RECORD_BYTES: &str = "countersign_record_bytes";
pub(super) const DISK_FREE: &str = "countersign_data_disk_free_bytes";
pub(super) const READY: &str = "countersign_ready";
pub(super) const CLOCK: &str = "countersign_clock_timestamp_seconds";

// Istiod's, for dashboards that have them. Its own names end in `_count`, not `_total`.
pub(super) const CITADEL_CSRS: &str = "citadel_server_csr_count";
pub(super) const CITADEL_AUTHENTICATION: &str = "citadel_server_authentication_failure_count";
pub(super) const CITADEL_SIGN_ERRORS: &str = "citadel_server_csr_sign_err_count";
pub(super) const CITADEL_ISSUED: &str = "citadel_server_success_cert_issuance_count";
pub(super) const CITADEL_ROOT_EXPIRY: &str = "citadel_server_root_cert_expiry_timestamp";
pub(super) const CITADEL_ROOT_SECONDS: &str = "citadel_server_root_cert_expiry_seconds";
pub(super) const CITADEL_CHAIN_EXPIRY: &str = "citadel_server_cert_chain_expiry_timestamp";
pub(super) const CITADEL_CHAIN_SECONDS: &str = "citadel_server_cert_chain_expiry_seconds";

/// From a request that only waits for the disk to one that waited for its turn.
pub(super) const LATENCY_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

const COUNTERS: [(&str, &str); 11] = [
    (
        ISSUED,
        "Certificates issued and on record, by the caller's proof.",
    ),
    (REFUSED, "Requests refused, by the rule that failed."),
    (ALARMS, "Refusals that may be an attack."),
    (FAILED, "Requests that failed by a fault of the authority."),
    (
        SHED,
        "Requests shed because too many came, by the bound that was hit.",
    ),
    (
        TURNED_AWAY,
        "Connections not let in or closed, by the bound that was hit.",
    ),
    (
        ADMIN,
        "Calls of the administration over the network, by role and outcome.",
    ),
    (
        CITADEL_CSRS,
        "As istiod counts: requests whose caller was known.",
    ),
    (
        CITADEL_AUTHENTICATION,
        "As istiod counts: requests whose caller was not known.",
    ),
    (
        CITADEL_SIGN_ERRORS,
        "As istiod counts: requests that could not be signed.",
    ),
    (CITADEL_ISSUED, "As istiod counts: certificates issued."),
];

const GAUGES: [(&str, &str); 17] = [
    (IN_FLIGHT, "Requests worked on now, by stage."),
    (QUEUED, "Requests that wait for their turn now, by stage."),
    (
        CONNECTIONS,
        "Connections to the gRPC listener that are open now.",
    ),
    (
        AGENTS,
        "Agents that have a stream of the deny list open now.",
    ),
    (
        AGENTS_BEHIND,
        "Of these, the ones that have not taken the current list for 30 s.",
    ),
    (
        EXPIRY,
        "Last second of the certificates that sign now, by which: root, intermediate, chain, serving.",
    ),
    (LIST_SEQUENCE, "Sequence of the deny list in force."),
    (LIST_AGE, "Seconds since the deny list in force was signed."),
    (LIST_ENTRIES, "Certificates on the deny list in force."),
    (RECORD_BYTES, "Size of the record's files."),
    (DISK_FREE, "Room left on the disk of the data folder."),
    (
        READY,
        "1 if the authority is ready to issue, else 0; /readyz says why.",
    ),
    (CLOCK, "The authority's clock."),
    (
        CITADEL_ROOT_EXPIRY,
        "As istiod tells: last second of the root.",
    ),
    (
        CITADEL_ROOT_SECONDS,
        "As istiod tells: seconds the root is still valid.",
    ),
    (
        CITADEL_CHAIN_EXPIRY,
        "As istiod tells: last second of the first certificate of the chain to expire.",
    ),
    (
        CITADEL_CHAIN_SECONDS,
        "As istiod tells: seconds the chain is still valid.",
    ),
];

pub(super) fn describe(recorder: &impl Recorder) {
    for (name, text) in COUNTERS {
        recorder.describe_counter(name.into(), None, text.into());
    }
    for (name, text) in GAUGES {
        recorder.describe_gauge(name.into(), None, text.into());
    }
    recorder.describe_histogram(
        LATENCY.into(),
        Some(Unit::Seconds),
        "From the arrival of a CreateCertificate to its answer, waiting included, by gRPC code."
            .into(),
    );
}
