//! One load for each case, in turns.

use lab::bench::cpu_time;
use lab::http::{Tls, Version};

use super::load::Load;
use super::servers::Server;
use crate::failure::Failure;
use crate::say;

/// One case: its load, and the CPU per request of each round in microseconds.
pub(crate) struct Lane {
    load: Load,
    rounds: Vec<f64>,
}

impl Lane {
    /// Opens its connections and sends `warm_up` requests that do not count.
    pub(crate) async fn open(
        server: &Server,
        tls: &Tls,
        version: Version,
        warm_up: u32,
    ) -> Result<Self, Failure> {
        let mut load = Load::open(server, tls, version).await?;
        load.run(warm_up).await?;
        let rounds = Vec::new();
        Ok(Self { load, rounds })
    }

    /// CPU per request of each round, in microseconds.
    pub(crate) fn rounds(&self) -> &[f64] {
        &self.rounds
    }
}

/// Measures `rounds` rounds of `requests` requests for each case; the cases take turns, and the turn moves on by
/// one each round.
pub(crate) async fn take_turns(
    servers: &mut [Server],
    lanes: &mut [Lane],
    rounds: u32,
    requests: u32,
    label: &str,
) -> Result<(), Failure> {
    let mut turns: Vec<_> = servers.iter_mut().zip(lanes).collect();
    for round in 1..=rounds {
        say(&format!("{label}round {round} of {rounds}"));
        for (server, lane) in &mut turns {
            let pid = server.process_id();
            let used = || cpu_time(pid).map_err(Failure::part("CPU time of Envoy"));
            let before = used()?;
            let sent = lane.load.run(requests).await?;
            let spent = used()?.saturating_sub(before);
            lane.rounds
                .push(spent.as_secs_f64() * 1e6 / f64::from(sent));
        }
        // Nobody is always the one after the most expensive.
        turns.rotate_left(1);
    }
    Ok(())
}

/// What a case took more than the bare one, round by round.
pub(crate) fn added(rounds: &[f64], bare: &[f64]) -> Vec<f64> {
    let pairs = rounds.iter().zip(bare);
    pairs.map(|(ours, bare)| ours - bare).collect()
}
