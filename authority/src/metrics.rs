//! What the authority counts, in Prometheus' terms.
//!
//! Every authority has a recorder of its own, not the process's global one. Counters are kept as
//! things happen; whatever can be asked for (expiry of the certificates that sign now, the deny
//! list, the record's size) is asked for when somebody reads the metrics, so that it is never stale.
//! Labels come from closed sets: no identity, address or message is a label.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Key, Label, Level, Metadata, Recorder as _, SharedString};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::issue::{Proof, Refusal, RefusalClass};

pub use self::settings::MetricsSettings;

pub(crate) mod listener;
pub(crate) mod names;
pub(crate) mod scrape;
mod settings;

/// Counts; shared by all parts of one authority.
pub(crate) struct Telemetry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    last_shed: Mutex<Option<Instant>>,
    last_issued: Mutex<Option<Instant>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        let latency = Matcher::Full(names::LATENCY.to_owned());
        let builder = PrometheusBuilder::new();
        let builder: Result<_, BuildError> =
            builder.set_buckets_for_metric(latency, &names::LATENCY_BUCKETS);
        // Only an empty list of buckets is refused.
        let recorder = builder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        names::describe(&recorder);
        Self {
            recorder,
            handle,
            last_shed: Mutex::default(),
            last_issued: Mutex::default(),
        }
    }
}

impl Telemetry {
    /// A certificate was issued.
    pub(crate) fn issued(&self, proof: Proof) {
        *self
            .last_issued
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.add(
            names::ISSUED,
            vec![Label::from_static_parts("proof", proof.as_str())],
        );
        self.add(names::CITADEL_ISSUED, Vec::new());
        self.add(names::CITADEL_CSRS, Vec::new());
    }

    /// A request was refused by a rule.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let code = Label::from_static_parts("code", refusal.code());
        self.add(names::REFUSED, vec![code]);
        if refusal.is_alarm() {
            self.add(names::ALARMS, Vec::new());
        }
        match refusal.class() {
            RefusalClass::Unauthenticated => self.add(names::CITADEL_AUTHENTICATION, Vec::new()),
            _ => self.add(names::CITADEL_CSRS, Vec::new()),
        }
    }

    /// A request failed by a fault of ours.
    pub(crate) fn failed(&self) {
        self.add(names::FAILED, Vec::new());
        self.add(names::CITADEL_CSRS, Vec::new());
        self.add(names::CITADEL_SIGN_ERRORS, Vec::new());
    }

    /// A request was shed.
    pub(crate) fn shed(&self, code: &'static str) {
        *self
            .last_shed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.add(names::SHED, vec![Label::from_static_parts("code", code)]);
    }

    /// How long ago a certificate was issued, and so the record written, if ever one was.
    pub(crate) fn since_issued(&self) -> Option<Duration> {
        let last = *self
            .last_issued
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last.elapsed())
    }

    /// Seconds since a request was shed, if ever one was.
    pub(crate) fn seconds_since_shed(&self) -> Option<u64> {
        let last = *self
            .last_shed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last.elapsed().as_secs())
    }

    /// A connection was not let in, or had to go.
    pub(crate) fn turned_away(&self, code: &'static str) {
        self.add(
            names::TURNED_AWAY,
            vec![Label::from_static_parts("code", code)],
        );
    }

    /// A call of the administration came in.
    pub(crate) fn administered(&self, role: &'static str, outcome: &'static str) {
        let labels = vec![
            Label::from_static_parts("role", role),
            Label::from_static_parts("outcome", outcome),
        ];
        self.add(names::ADMIN, labels);
    }

    /// A request for a certificate was answered, with whatever, after `took`.
    pub(crate) fn answered(&self, took: Duration, code: &'static str) {
        let labels = vec![Label::from_static_parts("code", code)];
        let key = Key::from_parts(names::LATENCY, labels);
        let histogram = self.recorder.register_histogram(&key, &METADATA);
        histogram.record(took.as_secs_f64());
    }

    /// Sets what is asked for when metrics are read.
    pub(crate) fn set(&self, name: &'static str, labels: Vec<Label>, value: f64) {
        let key = Key::from_parts(SharedString::const_str(name), labels);
        self.recorder.register_gauge(&key, &METADATA).set(value);
    }

    /// Everything, in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds the latest latencies into their buckets. To be called now and then, or they pile up.
    pub(crate) fn fold(&self) {
        self.handle.run_upkeep();
    }

    fn add(&self, name: &'static str, labels: Vec<Label>) {
        let key = Key::from_parts(SharedString::const_str(name), labels);
        self.recorder.register_counter(&key, &METADATA).increment(1);
    }
}

const METADATA: Metadata<'static> = Metadata::new("countersign", Level::INFO, None);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::ProofFault;

    #[test]
    fn counts_under_our_names_and_istiods() {
        let telemetry = Telemetry::default();
        telemetry.issued(Proof::JoinToken);
        telemetry.issued(Proof::ClientCertificate);
        telemetry.refused(&Refusal::Proof(ProofFault::TokenSpentByOther));
        telemetry.refused(&Refusal::TtlTooLong { asked: 2, max: 1 });
        telemetry.failed();
        telemetry.shed("queue_full");
        telemetry.answered(Duration::from_millis(3), "ok");
        let text = telemetry.render();
        for line in [
            "countersign_certificates_issued_total{proof=\"join_token\"} 1",
            "countersign_certificates_issued_total{proof=\"client_certificate\"} 1",
            "countersign_requests_refused_total{code=\"token_spent_by_other\"} 1",
            "countersign_requests_refused_total{code=\"ttl_too_long\"} 1",
            "countersign_alarms_total 1",
            "countersign_requests_failed_total 1",
            "countersign_requests_shed_total{code=\"queue_full\"} 1",
            "countersign_create_certificate_seconds_bucket{code=\"ok\",le=\"0.0025\"} 0",
            "countersign_create_certificate_seconds_bucket{code=\"ok\",le=\"0.005\"} 1",
            "countersign_create_certificate_seconds_count{code=\"ok\"} 1",
            "citadel_server_success_cert_issuance_count 2",
            "citadel_server_csr_count 4",
            "citadel_server_authentication_failure_count 1",
            "citadel_server_csr_sign_err_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(
            text.contains("# HELP countersign_certificates_issued_total "),
            "{text}"
        );
    }

    #[test]
    fn two_authorities_do_not_count_together() {
        let (one, two) = (Telemetry::default(), Telemetry::default());
        one.failed();
        assert!(one.render().contains("countersign_requests_failed_total 1"));
        assert!(!two.render().contains("countersign_requests_failed_total 1"));
    }
}
