//! What is found, and what to do about it.

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Severity {
    /// Worth knowing.
    Notice,
    /// It will hurt if nothing is done.
    Warning,
    /// It hurts now, or a protection is gone.
    Error,
}

/// One condition that holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    pub(crate) condition: Condition,
    pub(crate) severity: Severity,
    /// What it is about: a file, an identity, a certificate.
    pub(crate) subject: String,
    /// What was found, with the numbers.
    pub(crate) detail: String,
}

/// Conditions that are looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Condition {
    RootExpires,
    IssuerExpires,
    ServingCertificateExpires,
    LeavesShortened,
    ClockBehind,
    ListStale,
    RecordNotWritable,
    RecordGrows,
    JournalGrows,
    DiskFull,
    KeyNotEncrypted,
    RootKeyOnline,
    OpenPermissions,
    AgentsBehind,
    AgentsAbsent,
    NotRenewing,
    RefusalsRise,
    Alarms,
    Overloaded,
    MetricsExposed,
    AdminSocketOpen,
}

impl Condition {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 21] = [
        Self::RootExpires,
        Self::IssuerExpires,
        Self::ServingCertificateExpires,
        Self::LeavesShortened,
        Self::ClockBehind,
        Self::ListStale,
        Self::RecordNotWritable,
        Self::RecordGrows,
        Self::JournalGrows,
        Self::DiskFull,
        Self::KeyNotEncrypted,
        Self::RootKeyOnline,
        Self::OpenPermissions,
        Self::AgentsBehind,
        Self::AgentsAbsent,
        Self::NotRenewing,
        Self::RefusalsRise,
        Self::Alarms,
        Self::Overloaded,
        Self::MetricsExposed,
        Self::AdminSocketOpen,
    ];

    /// Stable name.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::RootExpires => "root_expires",
            Self::IssuerExpires => "issuer_expires",
            Self::ServingCertificateExpires => "serving_certificate_expires",
            Self::LeavesShortened => "leaves_shortened",
            Self::ClockBehind => "clock_behind",
            Self::ListStale => "deny_list_stale",
            Self::RecordNotWritable => "record_not_writable",
            Self::RecordGrows => "record_grows",
            Self::JournalGrows => "journal_grows",
            Self::DiskFull => "disk_nearly_full",
            Self::KeyNotEncrypted => "key_not_encrypted",
            Self::RootKeyOnline => "root_key_online",
            Self::OpenPermissions => "open_permissions",
            Self::AgentsBehind => "agents_behind",
            Self::AgentsAbsent => "agents_absent",
            Self::NotRenewing => "not_renewing",
            Self::RefusalsRise => "refusals_rise",
            Self::Alarms => "alarms",
            Self::Overloaded => "overloaded",
            Self::MetricsExposed => "metrics_exposed",
            Self::AdminSocketOpen => "admin_socket_open",
        }
    }

    /// What to do.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Self::RootExpires => {
                "make a new root in time and let it be trusted everywhere beside the old one \
                 before anything is issued below it"
            }
            Self::IssuerExpires => "have a new intermediate signed by the root and put it in place",
            Self::ServingCertificateExpires => {
                "it should have renewed itself: the log says why not; a restart issues a new one"
            }
            Self::LeavesShortened => {
                "no leaf outlives its issuer: replace the intermediate, or agents will renew ever \
                 more often"
            }
            Self::ClockBehind => "set the machine's clock, and keep it with NTP",
            Self::ListStale => {
                "filters deny everything by now: the log says why no list was signed; check disk \
                 and clock"
            }
            Self::RecordNotWritable => "check disk space and permissions; the log has the error",
            Self::RecordGrows => {
                "at this rate the disk is full soon: longer-lived leaves, fewer renewals, or a \
                 larger disk"
            }
            Self::JournalGrows => {
                "something reads the record for long and keeps the journal from being folded in: \
                 end long queries and backups"
            }
            Self::DiskFull => "make room: without it nothing can be issued or revoked",
            Self::KeyNotEncrypted => {
                "whoever reads the file, or a backup of it, can issue anything: keep the key \
                 encrypted or in a PKCS#11 module"
            }
            Self::RootKeyOnline => {
                "the root's key is only needed to sign intermediates: move it off this machine"
            }
            Self::OpenPermissions => "chmod go-rwx; if others could read a key, replace it",
            Self::AgentsBehind => {
                "their filters will deny everything when their list expires: look at the agent and \
                 at the network to it"
            }
            Self::AgentsAbsent => {
                "start the agent, or delete its entries: `countersign entry list`"
            }
            Self::NotRenewing => {
                "they will be without a certificate: look at the agent's log and at `countersign \
                 cert list`, and at refusals for the identity"
            }
            Self::RefusalsRise => "see what is refused and to whom, in the record of refusals",
            Self::Alarms => {
                "tokens or certificates were used by somebody who should not have them: see the \
                 record of refusals"
            }
            Self::Overloaded => {
                "requests were sent away to come again: see countersign_requests_shed_total; spread \
                 restarts, lengthen lifetimes or raise `limits`"
            }
            Self::MetricsExposed => {
                "anybody who reaches it reads the metrics: listen on loopback, or keep it in a \
                 network of its own"
            }
            Self::AdminSocketOpen => {
                "whoever opens the socket is operator: restart the authority, which makes it anew \
                 with mode 0600"
            }
        }
    }
}

impl Severity {
    /// Stable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
