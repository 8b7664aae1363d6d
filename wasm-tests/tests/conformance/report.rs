//! The comparison, and what is printed of it.

use std::collections::BTreeMap;

use envoy_config::EnvoyVersion;
use serde_json::json;

use crate::client::Answer;
use crate::explain::{Explained, explain};
use crate::group::Group;
use crate::outcome::{self, Ours, Outcome};
use crate::request::Request;
use crate::run::{Answers, id};

/// Differences that are shown whole; the rest is only counted.
const SHOWN: usize = 12;

pub(crate) struct Report {
    envoy: EnvoyVersion,
    cases: usize,
    explained: BTreeMap<Explained, usize>,
    /// One text each.
    differences: Vec<String>,
    allowed: usize,
    /// Requests that Envoy refused before any filter saw them, on both sides alike.
    refused: usize,
}

impl Report {
    pub(crate) fn new(envoy: EnvoyVersion) -> Self {
        Self {
            envoy,
            cases: 0,
            explained: BTreeMap::new(),
            differences: Vec::new(),
            allowed: 0,
            refused: 0,
        }
    }

    /// Compares what came over HTTP; `log` is Envoy's.
    pub(crate) fn http(&mut self, groups: &[Group], answers: &[Answers], log: &str) {
        let decisions = outcome::decisions(log, "requestId");
        for (number, (group, answers)) in groups.iter().zip(answers).enumerate() {
            for (place, (request, [native, ours])) in group.requests.iter().zip(answers).enumerate()
            {
                let line = decisions.get(&id(number, place));
                let status = |answer: &Result<Answer, String>| {
                    answer.as_ref().ok().map(|answer| answer.status)
                };
                if (status(native), status(ours), line) == (Some(400), Some(400), None) {
                    self.refused += 1;
                    continue;
                }
                let native = native.clone().and_then(|answer| outcome::native(&answer));
                let ours = ours
                    .clone()
                    .and_then(|answer| outcome::ours(answer.status == 200, line));
                self.add(group, request, native, ours);
            }
        }
    }

    /// Compares one request's outcomes.
    pub(crate) fn add(
        &mut self,
        group: &Group,
        request: &Request,
        native: Result<Outcome, String>,
        ours: Result<Ours, String>,
    ) {
        self.cases += 1;
        let found = match (&native, &ours) {
            (Ok(native), Ok(ours)) if *native == ours.outcome => {
                self.allowed += usize::from(native.allowed);
                if group.must_differ.is_none() {
                    return;
                }
                None
            }
            (Ok(native), Ok(ours)) => explain(request, (&group.mesh, self.envoy), native, ours)
                .filter(|rule| {
                    group
                        .must_differ
                        .is_none_or(|wanted| wanted == *rule && native.allowed)
                }),
            _ => None,
        };
        match found {
            Some(rule) => *self.explained.entry(rule).or_default() += 1,
            None => {
                let policies = json!(group.policies);
                self.differences.push(format!(
                    "{}\n  native {native:?}\n  ours {ours:?}\n  {request:?}\n  {:?}\n  {policies}",
                    group.name, group.mesh
                ));
            }
        }
    }

    /// Says how many there are by now.
    pub(crate) fn cases(&self) -> usize {
        self.cases
    }

    /// Prints it; whether no difference is left unexplained, and something was compared at all.
    pub(crate) fn finish(self) -> bool {
        for difference in self.differences.iter().take(SHOWN) {
            println!("DIFFERENCE {difference}\n");
        }
        let explained: usize = self.explained.values().sum();
        let same = self.cases - explained - self.differences.len();
        println!(
            "the same on both sides: {same}, of them {} allowed",
            self.allowed
        );
        println!(
            "refused by Envoy before any filter, not counted: {}",
            self.refused
        );
        for rule in Explained::ALL {
            let count = self.explained.get(&rule).copied().unwrap_or(0);
            println!("explained: {} ({count}): {}", rule.name(), rule.reason());
        }
        println!(
            "{} cases, {} differences, {explained} explained",
            self.cases,
            self.differences.len()
        );
        self.differences.is_empty() && self.cases > 0
    }
}
