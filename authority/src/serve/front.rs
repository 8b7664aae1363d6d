//! What stands between a request for a certificate and the work on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::issue::Caller;
use crate::limits::{Admission, Lane, Limits, Overload, Permit, SpiffeIdText, deadline};
use crate::metrics::Telemetry;
use crate::serve::overload;

/// The doors in front of proof and issuance; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// Examination of proofs, by address.
    pub(crate) proving: Admission,
    /// Issuance, by proven identity.
    pub(crate) issuing: Admission,
    nodes: Arc<[SpiffeIdText]>,
    telemetry: Arc<Telemetry>,
}

/// A request at the front.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    front: &'a Front,
    arrived: Instant,
    deadline: Option<Instant>,
    peer: Option<std::net::IpAddr>,
    answered: bool,
}

impl Front {
    pub(crate) fn new(limits: &Limits, telemetry: Arc<Telemetry>) -> Self {
        Self {
            proving: Admission::new(limits.proving()),
            issuing: Admission::new(limits.issuing()),
            nodes: limits.node_accounts.clone().into(),
            telemetry,
        }
    }

    /// A request has come in.
    pub(crate) fn visit<T>(&self, request: &Request<T>) -> Visit<'_> {
        let arrived = Instant::now();
        Visit {
            front: self,
            arrived,
            deadline: deadline::of(request.metadata(), arrived),
            peer: request.remote_addr().map(|address| address.ip()),
            answered: false,
        }
    }
}

impl Visit<'_> {
    /// Waits for leave to examine the proof.
    pub(crate) async fn prove(&self) -> Result<Permit, Status> {
        let lane = Lane::at(self.peer);
        self.judge(self.front.proving.enter(lane, self.deadline).await)
    }

    /// Waits for leave to issue to `caller`.
    pub(crate) async fn issue(&self, caller: &Caller) -> Result<Permit, Status> {
        let lane = Lane::of(caller, self.peer, &self.front.nodes);
        let permit = self.judge(self.front.issuing.enter(lane, self.deadline).await)?;
        // Time went by with the proof and in the queue: nothing is signed for who has left.
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return self.judge(Err(Overload::DeadlinePassed));
        }
        Ok(permit)
    }

    /// Counts the answer.
    pub(crate) fn answered(mut self, code: Code) {
        self.answered = true;
        self.count(code);
    }

    fn judge(&self, entered: Result<Permit, Overload>) -> Result<Permit, Status> {
        entered.map_err(|overload| {
            self.front.telemetry.shed(overload.code());
            tracing::debug!(%overload, peer = ?self.peer, "shed");
            overload::status(overload)
        })
    }

    fn count(&self, code: Code) {
        let took: Duration = self.arrived.elapsed();
        self.front.telemetry.answered(took, code_name(code));
    }
}

impl Drop for Visit<'_> {
    /// The call was dropped: its caller hung up, or its deadline passed meanwhile.
    fn drop(&mut self) {
        if !self.answered {
            self.count(Code::Cancelled);
        }
    }
}

/// gRPC's own names of its codes, in lower case.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
