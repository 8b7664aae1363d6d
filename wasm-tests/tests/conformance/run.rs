//! Sends every request to both sides and compares.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasm_tests::fixtures::ca::{Authority, Leaf, LeafSpec};

use crate::client::{Answer, Connection, Tls};
use crate::envoy::{Running, Side};
use crate::group::Group;
use crate::request::{Caller, Link, Odd, Request, SLEEP};

/// Connections at a time; more only wait for the one worker.
const AT_A_TIME: usize = 8;

/// Certificates by whom they are for.
pub(crate) struct Leaves(BTreeMap<Caller, Leaf>);

impl Leaves {
    pub(crate) fn of<'r>(authority: &Authority, callers: impl Iterator<Item = &'r Caller>) -> Self {
        let mut leaves = BTreeMap::new();
        for caller in callers {
            if leaves.contains_key(caller) {
                continue;
            }
            let spec = match caller {
                Caller::Plaintext | Caller::NoCertificate => continue,
                Caller::Uri(id) => LeafSpec::of(id),
                Caller::Odd(odd) => odd_spec(*odd),
            };
            leaves.insert(caller.clone(), authority.issue(&spec));
        }
        Self(leaves)
    }

    pub(crate) fn get(&self, caller: &Caller) -> Option<&Leaf> {
        self.0.get(caller)
    }
}

fn odd_spec(odd: Odd) -> LeafSpec {
    match odd {
        Odd::TwoUris => {
            LeafSpec::of(SLEEP).and_uri("spiffe://cluster.local/ns/default/sa/impostor")
        }
        Odd::DnsOnly => LeafSpec::of(SLEEP).without_uri().and_dns("x/ns/dns/y"),
        Odd::SubjectOnly => LeafSpec::of(SLEEP)
            .without_uri()
            .with_organization("a/ns/subject/b"),
        Odd::DnsBeside => LeafSpec::of(SLEEP).and_dns("x/ns/dns/y"),
    }
}

/// Both sides' answers to the requests of one set, in their order.
pub(crate) type Answers = Vec<[Result<Answer, String>; 2]>;

/// Sends everything.
pub(crate) async fn all(
    groups: &Arc<Vec<Group>>,
    running: &Running,
    leaves: &Arc<Leaves>,
) -> Vec<Answers> {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let listener = running.listener;
    let tasks: Vec<_> = (0..groups.len())
        .map(|number| {
            let (groups, leaves, places) =
                (Arc::clone(groups), Arc::clone(leaves), Arc::clone(&places));
            tokio::spawn(async move {
                let _place = places.acquire().await.expect("open");
                one(&groups[number], number, listener, &leaves).await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("no panic"));
    }
    answers
}

/// Id of a request on one side, which finds its line in the decision log.
pub(crate) fn id(group: usize, request: usize) -> String {
    format!("pair-{group}-{request}")
}

async fn one(
    group: &Group,
    number: usize,
    listener: std::net::SocketAddr,
    leaves: &Leaves,
) -> Answers {
    let mut answers: Answers = Vec::new();
    let mut open: [Option<(Link, Connection)>; 2] = [None, None];
    for (place, request) in group.requests.iter().enumerate() {
        let mut both = [const { Err(String::new()) }; 2];
        for (side, slot) in Side::BOTH.into_iter().zip(0..) {
            let kept = open[slot].take();
            let kept =
                kept.filter(|(link, connection)| *link == request.link && !connection.closing);
            let answer = exchange(kept, request, side, (number, place), listener, leaves).await;
            both[slot] = match answer {
                Ok((answer, connection)) => {
                    open[slot] = Some((request.link.clone(), connection));
                    Ok(answer)
                }
                Err(error) => Err(error.to_string()),
            };
        }
        answers.push(both);
    }
    answers
}

async fn exchange(
    kept: Option<(Link, Connection)>,
    request: &Request,
    side: Side,
    (group, place): (usize, usize),
    listener: std::net::SocketAddr,
    leaves: &Leaves,
) -> io::Result<(Answer, Connection)> {
    let mut connection = match kept {
        Some((_, connection)) => connection,
        None if request.link.caller == Caller::Plaintext => {
            let mut link = request.link.clone();
            // The address finds the chain, so each side has another one; no policy names either.
            link.destination.set_ip(side.plaintext(group).into());
            if link.remote.is_ipv6() {
                link.remote.set_ip([198, 51, 100, 200].into());
            }
            Connection::open(listener, &link, None).await?
        }
        None => {
            let alpn = side.alpn(group);
            let leaf = leaves.get(&request.link.caller);
            let tls = Tls { alpn: &alpn, leaf };
            Connection::open(listener, &request.link, Some(tls)).await?
        }
    };
    let answer = connection.exchange(request, &id(group, place)).await?;
    Ok((answer, connection))
}
