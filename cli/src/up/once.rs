//! The unattended run: everything is tried, and what was seen is held against what must be.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::envoy::Envoy;
use lab::http::{self, Target};
use tokio::process::Command;

use crate::failure::Failure;
use crate::output;
use crate::up::decisions::Decision;
use crate::up::envoys::IMPOSTOR;
use crate::up::layout::Side;
use crate::up::menu::{self, Call, Expected, Seen};
use crate::up::trickle::{PATH, Tally, Trickle};
use crate::up::world::World;

mod suspension;

/// Longest time from the end of `cert suspend` to the first 403, with the authority reachable.
const TAKEN_BACK_WITHIN: Duration = Duration::from_secs(2);
/// How long a decision may take to appear in Envoy's log.
const LOG_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// One thing expected, and what was seen.
#[derive(Debug)]
struct Row {
    check: String,
    expected: String,
    observed: String,
    ok: bool,
}

/// The run's state: the world, what its filters said so far, and the table.
#[derive(Debug)]
pub(crate) struct Once {
    world: World,
    inbound: Vec<Decision>,
    outbound: Vec<Decision>,
    rows: Vec<Row>,
}

/// Runs every check on a world that has just been started, and stops it.
pub(crate) async fn run(world: World, leaf_ttl: Duration) -> Result<(), Failure> {
    let mut once = Once {
        world,
        inbound: Vec::new(),
        outbound: Vec::new(),
        rows: Vec::new(),
    };
    let outcome = once.everything(leaf_ttl).await;
    let impostor_log = once.world.layout.access_log(IMPOSTOR);
    let stopped = once.world.stop().await;
    outcome?;
    stopped?;

    // Envoy writes its access log out when it ends at the latest.
    let log = fs::read_to_string(&impostor_log)
        .map_err(|error| Failure::file("read", &impostor_log, error))?;
    let mut rows = once.rows;
    rows.push(Row {
        check: "impostor's access log".to_owned(),
        expected: "empty".to_owned(),
        observed: if log.is_empty() {
            "empty".to_owned()
        } else {
            format!("{log:?}")
        },
        ok: log.is_empty(),
    });
    let failed = rows.iter().filter(|row| !row.ok).count();
    let total = rows.len();
    let cells = rows.into_iter().map(|row| {
        let mark = if row.ok { "ok" } else { "FAILED" };
        vec![mark.to_owned(), row.check, row.expected, row.observed]
    });
    output::line(&output::table(
        &["", "check", "expected", "observed"],
        cells,
    ))?;
    if failed > 0 {
        return Err(Failure::Check(format!("{failed} of {total} checks failed")));
    }
    output::line(&format!("all {total} checks passed"))
}

impl Once {
    async fn everything(&mut self, leaf_ttl: Duration) -> Result<(), Failure> {
        let tally = Arc::new(Tally::default());
        let client = self.world.layout.client_listen;
        let trickle = Trickle::start(client, Arc::clone(&tally));
        for call in menu::calls(&self.world.layout) {
            self.call(&call).await?;
        }
        self.impostor_was_not_reached().await?;
        // What is suspended is answered 403, as it must be; the trickle would count that.
        trickle.stop().await;
        self.suspend_and_resume().await?;
        let trickle = Trickle::start(client, Arc::clone(&tally));
        let rotated = self.rotations(leaf_ttl).await;
        trickle.stop().await;
        rotated?;
        let (sent, failed) = (tally.sent(), tally.failed());
        let first = tally
            .first_failure()
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        self.row(
            "requests during all that",
            "0 failed",
            &format!("{failed} of {sent} failed{first}"),
            failed == 0 && sent > 0,
        );
        if let Some(casualty) = self.world.casualty() {
            self.row("every process still runs", "yes", &casualty, false);
        }
        Ok(())
    }

    fn row(&mut self, check: &str, expected: &str, observed: &str, ok: bool) {
        let (check, expected, observed) =
            (check.to_owned(), expected.to_owned(), observed.to_owned());
        self.rows.push(Row {
            check,
            expected,
            observed,
            ok,
        });
    }

    /// Reads what the filters wrote since the last look.
    fn look(&mut self) -> Result<(), Failure> {
        let unreadable = |error| Failure::part("Envoy's log", error);
        self.inbound
            .extend(self.world.inbound.next().map_err(unreadable)?);
        self.outbound
            .extend(self.world.outbound.next().map_err(unreadable)?);
        Ok(())
    }

    async fn call(&mut self, call: &Call) -> Result<(), Failure> {
        self.look()?;
        let (inbound, outbound) = (self.inbound.len(), self.outbound.len());
        let refused = self.refused_handshakes().await?;
        let seen = call.make().await?;
        let mut seen_text = None;
        let (decision, ok) = match (&call.expected, &seen) {
            (Expected::Inbound { status, reason }, Seen::Answer { status: got, .. }) => {
                let decision = self.decision(Way::In, inbound, reason).await?;
                let ok = status == got && decision.is_some();
                (decision, ok)
            }
            (Expected::Held { reason }, Seen::Answer { status, .. }) => {
                let decision = self.decision(Way::Out, outbound, reason).await?;
                let ok = *status == 503 && decision.is_some();
                (decision, ok)
            }
            (Expected::WrongServer, Seen::Answer { status, .. }) => {
                let now = self.refused_handshakes().await?;
                let count = now.by_client.saturating_sub(refused.by_client);
                seen_text = Some(format!("{status}, refused handshakes: {count}"));
                (None, *status == 503 && count > 0)
            }
            // That curl got no answer says little; that the server turned a handshake down says why.
            (Expected::NoAnswer, Seen::Failed { .. }) => {
                let now = self.refused_handshakes().await?;
                let count = now.by_server.saturating_sub(refused.by_server);
                seen_text = Some(format!("no answer, refused handshakes: {count}"));
                (None, count > 0)
            }
            (Expected::NoAnswer, Seen::Answer { .. }) => (None, false),
            (_, Seen::Failed { .. }) => (None, false),
        };
        let observed = match (decision, &seen) {
            (Some(decision), Seen::Answer { status, .. }) => {
                let rule = decision
                    .policy
                    .map(|rule| format!(" {rule}"))
                    .unwrap_or_default();
                format!("{status} {}{rule}", decision.reason)
            }
            (_, seen) => seen_text.unwrap_or_else(|| shortened(&seen.to_string())),
        };
        self.row(call.title, &call.expected.to_string(), &observed, ok);
        Ok(())
    }

    /// How many handshakes the two Envoys have refused: sleep's with the impostor, because no SAN
    /// matched, and httpbin's with whoever came without TLS or without a certificate.
    async fn refused_handshakes(&self) -> Result<Refused, Failure> {
        let count = async |envoy: &Envoy, names: &str| {
            let stats = envoy.admin().stats(names).await;
            let stats = stats.map_err(|error| Failure::part("Envoy's statistics", error))?;
            Ok::<u64, Failure>(stats.values().sum())
        };
        Ok(Refused {
            by_client: count(
                self.world.client_envoy()?,
                "^cluster\\.hijacked\\.ssl\\.fail_verify_san$",
            )
            .await?,
            by_server: count(
                self.world.server_envoy()?,
                "^listener\\..*\\.ssl\\.(connection_error|fail_verify_no_cert)$",
            )
            .await?,
        })
    }

    /// The first decision since `from`, not on the trickle's path, with this reason.
    async fn decision(
        &mut self,
        way: Way,
        from: usize,
        reason: &str,
    ) -> Result<Option<Decision>, Failure> {
        let begun = Instant::now();
        loop {
            self.look()?;
            let decisions = match way {
                Way::In => &self.inbound,
                Way::Out => &self.outbound,
            };
            let found = decisions.iter().skip(from).find(|decision| {
                decision.reason == reason && decision.path.as_deref() != Some(PATH)
            });
            if found.is_some() || begun.elapsed() > LOG_LIMIT {
                return Ok(found.cloned());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn impostor_was_not_reached(&mut self) -> Result<(), Failure> {
        let requests = self.world.impostor_app.requests();
        self.row(
            "requests that reached the impostor",
            "0",
            &requests.to_string(),
            requests == 0,
        );
        Ok(())
    }

    /// Asks for the trickle's path until it is answered with `status`; how long that took.
    async fn until_status(
        &mut self,
        status: u16,
        limit: Duration,
    ) -> Result<Option<Duration>, Failure> {
        let target = Target::Tcp(self.world.layout.client_listen);
        let begun = Instant::now();
        while begun.elapsed() <= limit {
            let answer = http::get(&target, PATH)
                .await
                .map_err(|error| Failure::part("request through sleep's Envoy", error))?;
            if answer.status == status {
                return Ok(Some(begun.elapsed()));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(None)
    }

    /// Runs this program's own command on the client's identity, as a person would.
    async fn countersign(&self, arguments: &[&str]) -> Result<(), Failure> {
        let program =
            std::env::current_exe().map_err(|error| Failure::part("this program's path", error))?;
        let output = Command::new(program)
            .args(arguments)
            .arg(Side::Client.workload_id()?.to_string())
            .arg("--admin")
            .arg(self.world.layout.admin_socket())
            .output()
            .await
            .map_err(|error| {
                Failure::part(format!("countersign {}", arguments.join(" ")), error)
            })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::Check(format!(
            "countersign {}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }

    /// Waits until each end has seen three certificates of the other: two rotations of each leaf.
    async fn rotations(&mut self, leaf_ttl: Duration) -> Result<(), Failure> {
        const CERTIFICATES: usize = 3;
        let limit = leaf_ttl * 2 + Duration::from_secs(30);
        let begun = Instant::now();
        let (sleep, httpbin) = loop {
            self.look()?;
            let sleep = certificates(&self.inbound, &Side::Client.workload_id()?.to_string());
            let httpbin = certificates(&self.outbound, &Side::Server.workload_id()?.to_string());
            let done = sleep >= CERTIFICATES && httpbin >= CERTIFICATES;
            if done || begun.elapsed() > limit || self.world.casualty().is_some() {
                break (sleep, httpbin);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        for (name, seen) in [("sleep", sleep), ("httpbin", httpbin)] {
            let rotations = seen.saturating_sub(1);
            self.row(
                &format!("rotations of {name}'s leaf"),
                "2, seen by the peer",
                &format!("{rotations} in {} s", begun.elapsed().as_secs()),
                rotations >= CERTIFICATES - 1,
            );
        }
        Ok(())
    }
}

/// Handshakes refused so far.
#[derive(Clone, Copy, Debug)]
struct Refused {
    by_client: u64,
    by_server: u64,
}

/// Which filter decided.
#[derive(Clone, Copy, Debug)]
enum Way {
    In,
    Out,
}

/// How many certificates of `identity` were allowed.
fn certificates(decisions: &[Decision], identity: &str) -> usize {
    let digests: BTreeSet<_> = decisions
        .iter()
        .filter(|decision| decision.verdict == "allow")
        .filter(|decision| decision.peer.as_deref() == Some(identity))
        .filter_map(|decision| decision.peer_sha256.as_deref())
        .collect();
    digests.len()
}

fn observed(after: Option<Duration>) -> String {
    after.map_or_else(
        || "not seen".to_owned(),
        |after| format!("after {} ms", after.as_millis()),
    )
}

fn shortened(text: &str) -> String {
    const WIDTH: usize = 70;
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}
