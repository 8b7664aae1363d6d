//! Taking the client's certificate back on an open connection, and giving it again.

use std::time::{Duration, Instant};

use super::{LOG_LIMIT, LOOK, Once, TAKEN_BACK_WITHIN, observed};
use crate::failure::Failure;
use crate::up::decisions::Decision;

/// What suspending the client's certificate did.
#[derive(Debug)]
struct Suspension {
    /// How long until the first 403.
    denied: Option<Duration>,
    /// What the filter said of it.
    text: String,
    /// Whether it was on a connection that had carried allowed requests before.
    open: bool,
}

impl Once {
    /// Suspends the client's certificate with the command a person would use, and takes it back.
    pub(super) async fn suspend_and_resume(&mut self) -> Result<(), Failure> {
        let allowed = self.until_status(200, LOG_LIMIT).await?;
        self.row(
            "before suspending",
            "200",
            &observed(allowed),
            allowed.is_some(),
        );
        // Connections are short-lived on purpose, so one may end just then; another try meets an open one.
        const TRIES: usize = 3;
        let mut seen = self.suspend().await?;
        for _ in 1..TRIES {
            if seen.open || seen.denied.is_none() {
                break;
            }
            self.resume().await?;
            seen = self.suspend().await?;
        }
        let expected = format!("403 within {} s", TAKEN_BACK_WITHIN.as_secs());
        let denied = seen.denied;
        self.row("suspended", &expected, &observed(denied), denied.is_some());
        self.row(
            "on the open connection",
            "suspended, open since before",
            &seen.text,
            seen.open,
        );

        let allowed = self.resume().await?;
        let expected = format!("200 within {} s", TAKEN_BACK_WITHIN.as_secs());
        self.row("resumed", &expected, &observed(allowed), allowed.is_some());
        Ok(())
    }

    async fn suspend(&mut self) -> Result<Suspension, Failure> {
        self.look()?;
        let before = self.inbound.len();
        self.countersign(&["cert", "suspend", "--reason", "demo", "--id"])
            .await?;
        let denied = self.until_status(403, TAKEN_BACK_WITHIN).await?;
        let decision = self.decision_on_suspension(before).await?;
        let open = decision.as_ref().is_some_and(|decision| {
            self.inbound.iter().take(before).any(|earlier| {
                earlier.verdict == "allow" && earlier.connection == decision.connection
            })
        });
        let text = decision.map_or_else(
            || "no such decision".to_owned(),
            |decision| {
                let connection = decision.connection.unwrap_or_default();
                let age = if open { "open since before" } else { "new" };
                format!("{}, connection {connection} {age}", decision.reason)
            },
        );
        Ok(Suspension { denied, text, open })
    }

    /// Takes the suspension back; how long it took until a request was allowed.
    async fn resume(&mut self) -> Result<Option<Duration>, Failure> {
        self.countersign(&["cert", "resume", "--id"]).await?;
        self.until_status(200, TAKEN_BACK_WITHIN).await
    }

    async fn decision_on_suspension(&mut self, from: usize) -> Result<Option<Decision>, Failure> {
        let begun = Instant::now();
        loop {
            self.look()?;
            let found = self
                .inbound
                .iter()
                .skip(from)
                .find(|decision| decision.reason == "suspended");
            if found.is_some() || begun.elapsed() > LOG_LIMIT {
                return Ok(found.cloned());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
