//! Looks for each condition in what is in force.

use identity::UnixTime;

use super::files;
use super::finding::{Condition, Finding, Severity};
use crate::ca::CaCertificate;
use crate::health::Health;
use crate::inventory::{InventoryError, Vitals};
use crate::settings::names;

impl Health {
    /// Every condition that holds, the worst first.
    ///
    /// # Errors
    /// [`InventoryError`] if the record cannot be read at all.
    pub(crate) async fn diagnose(&self) -> Result<Vec<Finding>, InventoryError> {
        let now = self.issuance.now();
        let mut found = Findings::default();
        for obstacle in self.obstacles().await {
            let condition = match obstacle.check {
                "record" => Condition::RecordNotWritable,
                "deny_list" => Condition::ListStale,
                // Told below, with more about them.
                _ => continue,
            };
            found.add(condition, Severity::Error, obstacle.check, obstacle.problem);
        }
        self.certificates(now, &mut found);
        self.disk(&mut found);
        self.protections(&mut found);
        let vitals = self.issuance.inventory().vitals(now).await?;
        self.agents(now, &vitals, &mut found);
        requests(now, &vitals, &mut found);
        let shed = self.issuance.telemetry().seconds_since_shed();
        if let Some(seconds) = shed.filter(|seconds| *seconds < 3600) {
            let detail = format!("requests were shed, the last one {seconds} s ago");
            found.add(Condition::Overloaded, Severity::Warning, "requests", detail);
        }
        found
            .0
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(found.0)
    }

    fn certificates(&self, now: UnixTime, found: &mut Findings) {
        let issuer = self.issuance.issuer();
        expiry(Condition::RootExpires, issuer.root(), now, found);
        expiry(Condition::IssuerExpires, issuer.certificate(), now, found);
        let left = issuer.validity().not_after.secs_since(now);
        let longest = self.issuance.policy().max_ttl_seconds();
        if (0..longest).contains(&left) {
            let detail = format!(
                "the issuer ends in {}, less than the {} a leaf may live",
                span(left),
                span(longest)
            );
            let subject = issuer.certificate().subject().to_owned();
            found.add(
                Condition::LeavesShortened,
                Severity::Warning,
                subject,
                detail,
            );
        }
        if let Some((from, until)) = self.serving.validity() {
            let (left, life) = (until - now.as_secs(), until - from);
            if left * 4 < life {
                let severity = if left < 0 {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                let detail = format!("it ends in {}", span(left));
                let subject = "the authority's own certificate";
                found.add(
                    Condition::ServingCertificateExpires,
                    severity,
                    subject,
                    detail,
                );
            }
        }
    }

    fn disk(&self, found: &mut Findings) {
        let path = self.data_dir.display().to_string();
        let Some(room) = files::room(&self.data_dir) else {
            return;
        };
        if room.free < FREE_BYTES || room.free < room.all / 20 {
            let severity = if room.free < FREE_BYTES / 4 {
                Severity::Error
            } else {
                Severity::Warning
            };
            let detail = format!("{} MiB of {} MiB are free", room.free >> 20, room.all >> 20);
            found.add(Condition::DiskFull, severity, path.clone(), detail);
        }
        let (since, before) = self.started;
        let bytes = files::record_bytes(&self.data_dir);
        let grown = bytes.saturating_sub(before);
        let seconds = since.elapsed().as_secs();
        if seconds >= GROWTH_SECONDS && grown > 0 {
            // In days: bytes left, by bytes grown in a day.
            let a_day = (grown / seconds.max(1)).saturating_mul(86_400).max(1);
            let days = room.free / a_day;
            if days < GROWTH_DAYS {
                let detail = format!(
                    "{} MiB and {} MiB more a day: the disk is full in {days} days",
                    bytes >> 20,
                    a_day >> 20
                );
                found.add(
                    Condition::RecordGrows,
                    Severity::Warning,
                    path.clone(),
                    detail,
                );
            }
        }
        let journal = files::journal_bytes(&self.data_dir);
        if journal > JOURNAL_BYTES {
            let detail = format!("{} MiB", journal >> 20);
            found.add(Condition::JournalGrows, Severity::Warning, path, detail);
        }
    }

    fn protections(&self, found: &mut Findings) {
        for (path, root) in files::plain_keys(&self.data_dir) {
            let subject = path.display().to_string();
            let detail = "it lies there unencrypted".to_owned();
            let condition = if root {
                Condition::RootKeyOnline
            } else {
                Condition::KeyNotEncrypted
            };
            let severity = if root {
                Severity::Warning
            } else {
                Severity::Notice
            };
            found.add(condition, severity, subject, detail);
        }
        for path in files::private(&self.data_dir) {
            if let Some(mode) = files::open_to_others(&path) {
                let detail = format!("mode {mode:04o}, or somebody else's");
                let subject = path.display().to_string();
                found.add(Condition::OpenPermissions, Severity::Error, subject, detail);
            }
        }
        let socket = self.data_dir.join(names::ADMIN_SOCKET);
        if let Some(mode) = files::open_to_others(&socket) {
            let subject = socket.display().to_string();
            let detail = format!("mode {mode:04o}, or somebody else's");
            found.add(Condition::AdminSocketOpen, Severity::Error, subject, detail);
        }
        if let Some(address) = self.metrics_listen.filter(|a| !a.ip().is_loopback()) {
            let detail = "it is not on loopback, and asks nobody who they are".to_owned();
            let subject = address.to_string();
            found.add(Condition::MetricsExposed, Severity::Notice, subject, detail);
        }
    }

    fn agents(&self, now: UnixTime, vitals: &Vitals, found: &mut Findings) {
        let current = self.publisher.watch().borrow().history.list().position();
        for agent in self.attendance.behind(current, now, BEHIND_SECONDS) {
            let detail = format!("it has not taken the list in force for {BEHIND_SECONDS} s");
            found.add(
                Condition::AgentsBehind,
                Severity::Error,
                agent.to_string(),
                detail,
            );
        }
        let here = self.attendance.agents();
        for parent in &vitals.parents {
            if !here.iter().any(|agent| agent.to_string() == *parent) {
                let detail = "entries name it, and it is not connected".to_owned();
                found.add(
                    Condition::AgentsAbsent,
                    Severity::Warning,
                    parent.clone(),
                    detail,
                );
            }
        }
        for id in &vitals.not_renewing {
            let detail = "its newest certificate is past three quarters of its life".to_owned();
            found.add(
                Condition::NotRenewing,
                Severity::Warning,
                id.clone(),
                detail,
            );
        }
    }
}

fn expiry(condition: Condition, certificate: &CaCertificate, now: UnixTime, found: &mut Findings) {
    let left = certificate.not_after().secs_since(now);
    let life = certificate.not_after().secs_since(certificate.not_before());
    let severity = if left.saturating_mul(20) < life {
        Severity::Error
    } else if left.saturating_mul(5) < life {
        Severity::Warning
    } else {
        return;
    };
    let detail = if left < 0 {
        format!("it ended {} ago", span(left.saturating_neg()))
    } else {
        format!("it ends in {}, of {}", span(left), span(life))
    };
    found.add(
        condition,
        severity,
        certificate.subject().to_owned(),
        detail,
    );
}

fn requests(now: UnixTime, vitals: &Vitals, found: &mut Findings) {
    if vitals.alarms_last_day > 0 {
        let detail = format!("{} in the last day", vitals.alarms_last_day);
        found.add(Condition::Alarms, Severity::Error, "refusals", detail);
    }
    let (hour, before) = (vitals.refusals_last_hour, vitals.refusals_before);
    // Three times what an hour had before, and more than a handful.
    if hour >= FEW_REFUSALS && hour > before.saturating_mul(3) / 23 {
        let detail = format!("{hour} in the last hour, {before} in the 23 before it");
        found.add(
            Condition::RefusalsRise,
            Severity::Warning,
            "refusals",
            detail,
        );
    }
    let ahead = vitals
        .newest_issue
        .map_or(0, |newest| newest - now.as_secs());
    if ahead > CLOCK_SECONDS {
        let detail = format!("the newest certificate on record was issued {ahead} s from now");
        found.add(Condition::ClockBehind, Severity::Error, "clock", detail);
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        condition: Condition,
        severity: Severity,
        subject: impl Into<String>,
        detail: String,
    ) {
        self.0.push(Finding {
            condition,
            severity,
            subject: subject.into(),
            detail,
        });
    }
}

/// Seconds in the largest unit that has at least two of them.
fn span(seconds: i64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7200.. => format!("{} hours", seconds / 3600),
        120.. => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// Less is nearly full, as is less than a twentieth of the disk.
const FREE_BYTES: u64 = 512 << 20;
/// How long growth is watched before anything is concluded from it.
const GROWTH_SECONDS: u64 = 600;
const GROWTH_DAYS: u64 = 30;
/// Folded in at every few MiB; this much only gathers behind a reader that does not end.
const JOURNAL_BYTES: u64 = 256 << 20;
/// Half of a list's life.
pub(crate) const BEHIND_SECONDS: i64 = 30;
const FEW_REFUSALS: u64 = 10;
const CLOCK_SECONDS: i64 = 60;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_condition_has_a_name_of_its_own_and_a_remedy() {
        let codes: BTreeSet<_> = Condition::ALL.iter().map(|c| c.code()).collect();
        assert_eq!(codes.len(), Condition::ALL.len());
        assert!(Condition::ALL.iter().all(|c| c.remedy().len() > 20));
    }

    #[test]
    fn refusals_are_only_told_when_they_rise() {
        let told = |hour, before| {
            let vitals = Vitals {
                refusals_last_hour: hour,
                refusals_before: before,
                ..Vitals::default()
            };
            let mut found = Findings::default();
            requests(UnixTime::from_secs(0), &vitals, &mut found);
            found.0.len()
        };
        assert_eq!(told(9, 0), 0);
        assert_eq!(told(10, 0), 1);
        assert_eq!(told(30, 230), 0);
        assert_eq!(told(31, 230), 1);
    }

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        for (seconds, text) in [
            (-5, "-5 s"),
            (119, "119 s"),
            (120, "2 minutes"),
            (7200, "2 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
