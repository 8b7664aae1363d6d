//! What the clients of an authority have in their hands.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use lab::ready::{self, NotYet};
use serde_json::Value;

use crate::issued::Received;

/// Kept by all clients together.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Page>);

/// The ledger at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    received: Vec<Received>,
    counts: BTreeMap<&'static str, u64>,
    /// Serial number → state that a successful command left it in.
    states: BTreeMap<String, &'static str>,
    /// Highest deny list anybody saw: epoch and sequence.
    head: (u64, u64),
    /// The same when the authority was last killed.
    pub(super) head_at_death: (u64, u64),
}

impl Ledger {
    fn edit<T>(&self, edit: impl FnOnce(&mut Page) -> T) -> T {
        edit(&mut self.0.lock().unwrap())
    }

    pub(super) fn page(&self) -> Page {
        self.edit(|page| page.clone())
    }

    pub(super) fn received(&self, client: &'static str, one: Received) {
        self.edit(|page| {
            *page.counts.entry(client).or_default() += 1;
            page.received.push(one);
        });
    }

    pub(super) fn changed(&self, serial: &str, state: &'static str) {
        self.edit(|page| page.states.insert(serial.to_owned(), state));
    }

    /// A change is under way.
    pub(super) fn unsure(&self, serial: &str) {
        self.edit(|page| page.states.remove(serial));
    }

    pub(super) fn saw_list(&self, head: (u64, u64)) {
        self.edit(|page| page.head = page.head.max(head));
    }

    pub(super) fn authority_is_dead(&self) {
        self.edit(|page| page.head_at_death = page.head);
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.page().counts
    }

    /// Waits until every client has received one more certificate.
    pub(super) async fn everybody_gets_another(&self, limit: Duration) {
        let before = self.counts();
        ready::until(
            "one more certificate for everybody",
            limit,
            None,
            async || {
                let now = self.counts();
                let behind = before
                    .iter()
                    .find(|(client, count)| now[*client] <= **count);
                behind.map_or(Ok(()), |(client, _)| {
                    Err(NotYet(format!("{client} got none")))
                })
            },
        )
        .await
        .unwrap();
    }
}

impl Page {
    /// Every certificate is on record as it was received, and is in the state it was put in.
    pub(super) fn is_in(&self, record: &[Value]) {
        assert!(record.len() < 10_000, "the listing may not be complete");
        let mut by_serial = BTreeMap::new();
        for one in record {
            let twice = by_serial.insert(one["serial"].as_str().unwrap(), one);
            assert!(twice.is_none(), "on record twice: {one}");
        }
        let mut seen = BTreeMap::new();
        for one in &self.received {
            let recorded = by_serial.get(one.serial.as_str());
            let recorded = recorded.unwrap_or_else(|| panic!("not on record: {one:?}"));
            assert_eq!(recorded["sha256"], one.sha256.as_str());
            assert_eq!(recorded["spiffeId"], one.spiffe_id.as_str());
            if let Some(other) = seen.insert(&one.serial, one) {
                assert_eq!(other, one, "one serial number, two certificates");
            }
        }
        for (serial, state) in &self.states {
            assert_eq!(by_serial[serial.as_str()]["state"], *state, "{serial}");
        }
    }
}

/// The ledger must be able to tell.
mod tests {
    use serde_json::json;

    use super::*;

    fn page() -> Page {
        let ledger = Ledger::default();
        let [serial, sha256, spiffe_id] = ["01", "aa", "spiffe://x/y"].map(str::to_owned);
        ledger.received(
            "one",
            Received {
                serial,
                sha256,
                spiffe_id,
            },
        );
        ledger.changed("01", "suspended");
        ledger.page()
    }

    fn record() -> Value {
        json!({"serial": "01", "sha256": "aa", "spiffeId": "spiffe://x/y", "state": "suspended"})
    }

    #[test]
    fn accepts_a_record_with_more_in_it() {
        page().is_in(&[json!({"serial": "02"}), record()]);
    }

    #[test]
    #[should_panic(expected = "not on record")]
    fn sees_a_lost_certificate() {
        page().is_in(&[json!({"serial": "02"})]);
    }

    #[test]
    #[should_panic(expected = "01")]
    fn sees_a_lost_suspension() {
        let mut active = record();
        active["state"] = json!("active");
        page().is_in(&[active]);
    }

    #[test]
    #[should_panic(expected = "on record twice")]
    fn sees_a_number_used_twice_in_the_record() {
        page().is_in(&[record(), record()]);
    }

    #[test]
    #[should_panic(expected = "aa")]
    fn sees_another_certificate_under_the_number() {
        let mut other = record();
        other["sha256"] = json!("bb");
        page().is_in(&[other]);
    }
}
