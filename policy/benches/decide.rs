//! Decisions per second by number and shape of policies, and what a compiled set takes of memory.
//!
//! `cargo bench -p countersign-policy` measures all shapes; a part of a name (`-- callers/10000`) only those. In
//! each set exactly one policy matches the request: the one whose id comes last.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking and reports on the terminal"
)]
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(missing_docs, reason = "criterion's macros make functions")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use identity::TrustDomain;
use policy::{AuthorizationPolicy, Peer, PolicySet, Request, Scope};
use serde_json::{Value, json};

const COUNTS: [usize; 6] = [1, 10, 100, 500, 5_000, 10_000];

/// The rule of a policy by its number.
type Shape = fn(usize) -> Value;

/// What policies differ in. Each is an ALLOW policy with one rule.
const SHAPES: [(&str, Shape); 9] = [
    ("callers", |n| rule(&caller(n), "/get")),
    ("paths", |n| rule(&caller(0), &format!("/path-{n}"))),
    ("prefixes", |n| rule(&caller(0), &format!("/a-{n}/*"))),
    ("templates", |n| {
        rule(&caller(0), &format!("/v1/{{*}}/a-{n}/{{**}}"))
    }),
    ("pairs", |n| {
        rule(&caller(n / 100), &format!("/path-{}", n % 100))
    }),
    (
        "cidrs",
        |n| json!({"from": [{"source": {"ipBlocks": [format!("10.{}.{}.0/24", n / 250, n % 250)]}}]}),
    ),
    (
        "hosts",
        |n| json!({"to": [{"operation": {"hosts": [format!("*.h{n}.example.com")]}}]}),
    ),
    (
        "accounts",
        |n| json!({"from": [{"source": {"serviceAccounts": [format!("ns-{}/sa-{}", n / 50, n % 50)]}}]}),
    ),
    ("mixed", |n| match n % 4 {
        0 => rule(&caller(n), "/get"),
        1 => rule(&caller(0), &format!("/a-{n}/*")),
        2 => {
            json!({"from": [{"source": {"ipBlocks": [format!("10.{}.{}.0/24", n / 250, n % 250)]}}]})
        }
        _ => {
            json!({"to": [{"operation": {"hosts": [format!("h{n}.example.com"), format!("h{n}.example.com:*")]}}]})
        }
    }),
];

fn caller(n: usize) -> String {
    format!("cluster.local/ns/default/sa/caller-{n}")
}

fn rule(principal: &str, path: &str) -> Value {
    json!({
        "from": [{"source": {"principals": [principal]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": [path]}}],
    })
}

fn compile(count: usize, shape: Shape) -> PolicySet {
    let policies: Vec<AuthorizationPolicy> = (0..count)
        .map(|n| {
            let resource = json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": format!("allow-{n:05}"), "namespace": "default"},
                "spec": {"action": "ALLOW", "rules": [shape(n)]},
            });
            serde_json::from_value(resource).unwrap()
        })
        .collect();
    let scope = Scope::new(TrustDomain::new("cluster.local").unwrap(), "default");
    PolicySet::compile(&policies, &scope).unwrap()
}

/// What the last policy of a set allows, and what it allows to whom.
struct Asked {
    peer: Peer,
    path: String,
    host: String,
    address: [u8; 4],
}

impl Asked {
    fn of_last(shape: &str, count: usize) -> Self {
        let last = count.saturating_sub(1);
        let octet = |n: usize| u8::try_from(n).unwrap();
        let mut asked = Self {
            peer: peer(&caller(0)),
            path: "/get".to_owned(),
            host: "app.example.com".to_owned(),
            address: [192, 0, 2, 1],
        };
        let shape = match (shape, last % 4) {
            ("mixed", 0) => "callers",
            ("mixed", 1) => "prefixes",
            ("mixed", 2) => "mixed cidrs",
            ("mixed", _) => "mixed hosts",
            (shape, _) => shape,
        };
        match shape {
            "callers" => asked.peer = peer(&caller(last)),
            "paths" => asked.path = format!("/path-{last}"),
            "prefixes" => asked.path = format!("/a-{last}/items/17"),
            "templates" => asked.path = format!("/v1/tenant/a-{last}/items/17"),
            "pairs" => {
                asked.peer = peer(&caller(last / 100));
                asked.path = format!("/path-{}", last % 100);
            }
            "cidrs" => asked.address = [10, octet(last / 250), octet(last % 250), 7],
            "mixed cidrs" => {
                asked.path = "/other".to_owned();
                asked.address = [10, octet(last / 250), octet(last % 250), 7];
            }
            "hosts" => asked.host = format!("www.h{last}.example.com"),
            "mixed hosts" => {
                asked.path = "/other".to_owned();
                asked.host = format!("h{last}.example.com:8080");
            }
            "accounts" => {
                asked.peer = peer(&format!(
                    "cluster.local/ns/ns-{}/sa/sa-{}",
                    last / 50,
                    last % 50
                ))
            }
            other => unreachable!("{other}"),
        }
        asked
    }

    fn request(&self) -> Request<'_> {
        Request::new(&self.peer)
            .with_method("GET")
            .with_path(&self.path)
            .with_host(&self.host)
            .with_source_ip(self.address.into())
    }
}

fn peer(principal: &str) -> Peer {
    Peer::Workload(format!("spiffe://{principal}").parse().unwrap())
}

fn decide(criterion: &mut Criterion) {
    for (name, shape) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        for count in COUNTS {
            let set = compile(count, shape);
            let asked = Asked::of_last(name, count);
            let last = format!("allow-{:05}", count.saturating_sub(1));
            let decision = set.decide(&asked.request());
            assert_eq!(
                decision.rule().map(policy::PolicyRule::policy),
                Some(last.as_str()),
                "{name}"
            );
            let id = count.to_string();
            group.bench_function(id, |bencher| {
                bencher.iter(|| set.decide(black_box(&asked.request())))
            });
        }
        group.finish();
    }
}

/// What is left of 10,000 policies once they are compiled, by shape.
fn memory(_: &mut Criterion) {
    println!(
        "\nmemory of a compiled set of 10,000 policies, {} bits:",
        usize::BITS
    );
    for (name, shape) in SHAPES {
        let before = ALLOCATED.load(Ordering::Relaxed);
        let set = compile(10_000, shape);
        let bytes = ALLOCATED.load(Ordering::Relaxed).saturating_sub(before);
        println!("  {name}: {} KiB", bytes / 1024);
        drop(set);
    }
}

/// Counts what is allocated and not freed.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps what the trait demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps what the trait demands.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(std::time::Duration::from_secs(1))
        .warm_up_time(std::time::Duration::from_millis(300));
    targets = memory, decide
}
criterion_main!(benches);
