//! The record with a million certificates: how long each indexed query takes, how fast certificates
//! are issued into it, and how long checking it takes. Writes `target/bench/record.json`.
//!
//! Arguments: the number of certificates, 1,000,000 where there is none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a bench that fails ends"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use authority::bench::InProcess;
use authority::inventory::search::Search;
use identity::{SpiffeId, TrustDomain, UnixTime};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

/// A figure.
struct Figure {
    case: String,
    metric: &'static str,
    value: f64,
    unit: &'static str,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

async fn run() {
    let count: i64 = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let out = target.join("bench");
    std::fs::create_dir_all(&out).unwrap();
    let dir = tempfile::TempDir::new_in(&out).unwrap();
    let data = dir.path().join("data");
    let mut figures = Vec::new();

    let authority = open(&data).await;
    issue(&authority, "issue-empty", &mut figures).await;
    authority.close().await;
    fill(&data.join("countersign.db"), count).await;
    let authority = open(&data).await;
    issue(&authority, "issue-full", &mut figures).await;
    queries(&authority, count, &mut figures).await;
    let proving = Instant::now();
    authority.inventory().expiry(now()).await.unwrap();
    figures.push(Figure {
        case: "expiry-report".to_owned(),
        metric: "time",
        value: proving.elapsed().as_secs_f64() * 1e3,
        unit: "ms",
    });
    authority.close().await;

    let rows: Vec<_> = figures
        .iter()
        .map(|figure| {
            serde_json::json!({
                "case": figure.case,
                "metric": figure.metric,
                "value": figure.value,
                "unit": figure.unit,
            })
        })
        .collect();
    let file = out.join("record.json");
    std::fs::write(&file, serde_json::to_string_pretty(&rows).unwrap() + "\n").unwrap();
    for figure in &figures {
        println!(
            "{:<22} {:<5} {:>12.3} {}",
            figure.case, figure.metric, figure.value, figure.unit
        );
    }
    println!("{count} certificates; figures in {}", file.display());
}

fn now() -> UnixTime {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    UnixTime::from_secs(since.as_secs().try_into().unwrap())
}

async fn open(data: &Path) -> InProcess {
    InProcess::open(data, TrustDomain::new("example.org").unwrap())
        .await
        .unwrap()
}

/// Certificates in a second with 64 callers, each durable, with its leaf in the audit log.
async fn issue(authority: &InProcess, case: &str, figures: &mut Vec<Figure>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let begun = Instant::now();
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let (authority, csr) = (authority.clone(), csr.clone());
            tokio::spawn(async move {
                let id = SpiffeId::new(format!("spiffe://example.org/ns/bench/sa/app-{caller}"));
                let id = id.unwrap();
                let mut issued = 0_u32;
                while begun.elapsed() < ISSUING {
                    authority.issue(&csr, id.clone()).await.unwrap();
                    issued += 1;
                }
                issued
            })
        })
        .collect();
    let mut issued = 0;
    for caller in callers {
        issued += caller.await.unwrap();
    }
    figures.push(Figure {
        case: case.to_owned(),
        metric: "rate",
        value: f64::from(issued) / begun.elapsed().as_secs_f64(),
        unit: "1/s",
    });
}

/// Rows as a mesh of 20 clusters would have left them, by SQL alone; indices are made at the end.
async fn fill(database: &Path, count: i64) {
    let begun = Instant::now();
    let options = SqliteConnectOptions::new().filename(database);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    for pragma in ["PRAGMA synchronous = OFF", "PRAGMA cache_size = -500000"] {
        sqlx::query(pragma).execute(&mut connection).await.unwrap();
    }
    let indices = sqlx::query(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL \
         AND tbl_name IN ('certificates', 'certificate_metadata')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for index in &indices {
        let name: String = index.get("name");
        let drop = AssertSqlSafe(format!("DROP INDEX {name}"));
        sqlx::query(drop).execute(&mut connection).await.unwrap();
    }
    for fill in [FILL_CERTIFICATES, FILL_OWNERS, FILL_COST_CENTERS] {
        sqlx::query(fill)
            .bind(count)
            .bind(now().as_secs())
            .execute(&mut connection)
            .await
            .unwrap();
    }
    for index in &indices {
        let create: String = index.get("sql");
        let create = AssertSqlSafe(create);
        sqlx::query(create).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    eprintln!("{count} rows in {:.0} s", begun.elapsed().as_secs_f64());
}

async fn queries(authority: &InProcess, count: i64, figures: &mut Vec<Figure>) {
    let first = search("proof=join_token", 200);
    let page = authority.inventory().search_certificates(&first, now());
    let serials: Vec<String> = page
        .await
        .unwrap()
        .rows
        .into_iter()
        .map(|row| row.serial)
        .collect();
    type Query<'q> = (&'q str, Box<dyn Fn(i64) -> String + 'q>);
    let some = |number: i64| number * 7_919 % count;
    let cases: Vec<Query<'_>> = vec![
        (
            "serial",
            Box::new(|n| format!("serial={}", serials[n as usize % serials.len()])),
        ),
        ("spki", Box::new(|n| format!("spki={:064x}", some(n) / 3))),
        (
            "identity",
            Box::new(|n| {
                format!(
                    "identity=spiffe://example.org/ns/ns-{}/sa/app-{}",
                    some(n) % 500,
                    some(n) % 20_000
                )
            }),
        ),
        (
            "identity-prefix",
            Box::new(|n| format!("identity~spiffe://example.org/ns/ns-{}/*", some(n) % 500)),
        ),
        ("pod", Box::new(|n| format!("pod=app-{}", some(n)))),
        (
            "pod-prefix",
            Box::new(|n| format!("pod~app-{}*", some(n) % 10_000)),
        ),
        (
            "address",
            Box::new(|n| {
                format!(
                    "address=10.{}.{}.{}",
                    some(n) % 200,
                    some(n) / 200 % 250,
                    some(n) / 50_000 % 250
                )
            }),
        ),
        (
            "node",
            Box::new(|n| format!("node=node-{}", some(n) % 5000)),
        ),
        (
            "namespace",
            Box::new(|n| format!("namespace=ns-{}", some(n) % 500)),
        ),
        (
            "cluster",
            Box::new(|n| format!("cluster=c-{}", some(n) % 20)),
        ),
        (
            "caller",
            Box::new(|n| {
                format!(
                    "caller=spiffe://example.org/countersign/agent/{}",
                    some(n) % 5000
                )
            }),
        ),
        (
            "proof",
            Box::new(|n| {
                ["proof=join_token", "proof=client_certificate"][n as usize % 2].to_owned()
            }),
        ),
        (
            "issuer",
            Box::new(|n| format!("issuer=issuer-{}", some(n) % 4)),
        ),
        (
            "key",
            Box::new(|n| ["key=rsa-2048", "key=ecdsa-p256"][n as usize % 2].to_owned()),
        ),
        ("bits", Box::new(|_| "bits>=2048".to_owned())),
        ("alg", Box::new(|_| "alg=ecdsa-with-sha256".to_owned())),
        (
            "state",
            Box::new(|n| {
                ["state=revoked", "state=suspended", "state=active"][n as usize % 3].to_owned()
            }),
        ),
        ("expires", Box::new(|n| format!("expires<{}h", n % 200 + 1))),
        (
            "expires-before",
            Box::new(|n| format!("expires<{}", date(n))),
        ),
        ("issued", Box::new(|n| format!("issued>{}d", n % 60 + 1))),
        (
            "owner",
            Box::new(|n| format!("owner=team-{}", some(n) % 300)),
        ),
        (
            "expires-and-owner",
            Box::new(|n| format!("expires<7d and owner=team-{}", some(n) % 300)),
        ),
        (
            "namespace-and-key",
            Box::new(|n| format!("namespace=ns-{} and key=rsa-2048", some(n) % 500)),
        ),
        (
            "owner-or-owner",
            Box::new(|n| {
                format!(
                    "owner=team-{} or owner=team-{}",
                    some(n) % 300,
                    (some(n) + 7) % 300
                )
            }),
        ),
        ("everything", Box::new(|_| String::new())),
    ];
    for (name, query) in &cases {
        let mut times = Vec::with_capacity(ROUNDS);
        let mut found = 0;
        for round in 0..ROUNDS {
            let search = search(&query(round.try_into().unwrap()), 50);
            let begun = Instant::now();
            let page = authority
                .inventory()
                .search_certificates(&search, now())
                .await;
            times.push(begun.elapsed());
            found += page.unwrap().rows.len();
        }
        assert!(found > 0, "{name} found nothing at all");
        times.sort();
        for (metric, share) in [("p50", 50), ("p99", 99)] {
            let time: Duration = times[times.len() * share / 100];
            figures.push(Figure {
                case: format!("query-{name}"),
                metric,
                value: time.as_secs_f64() * 1e3,
                unit: "ms",
            });
        }
    }
}

/// Days around now, as RFC 3339 dates.
fn date(number: i64) -> String {
    let at = now().as_secs() + (number % 80 - 28) * 86_400;
    time::OffsetDateTime::from_unix_timestamp(at)
        .unwrap()
        .date()
        .to_string()
}

fn search(query: &str, limit: u32) -> Search {
    Search {
        query: query.to_owned(),
        limit,
        cursor: String::new(),
    }
}

/// How often each query is asked, with other values each time.
const ROUNDS: usize = 400;
/// How long certificates are issued.
const ISSUING: Duration = Duration::from_secs(5);

const FILL_CERTIFICATES: &str = "\
INSERT INTO certificates (serial, sha256, spiffe_id, issuer_sha256, key_type, spki_sha256, \
    not_before, not_after, issued_at, caller, proof, state, state_since, reason, der, key_bits, \
    signature_algorithm, cluster, namespace, pod, node, address, metadata) \
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
SELECT lower(hex(randomblob(16))), lower(hex(randomblob(32))), \
    'spiffe://example.org/ns/ns-' || (i % 500) || '/sa/app-' || (i % 20000), 'issuer-' || (i % 4), \
    CASE WHEN i % 20 = 0 THEN 'rsa-2048' ELSE 'ecdsa-p256' END, printf('%064x', i / 3), \
    ?2 - 90 * 86400 + i * 7776000 / ?1, ?2 - 30 * 86400 + i * 7776000 / ?1, \
    ?2 - 90 * 86400 + i * 7776000 / ?1, 'spiffe://example.org/countersign/agent/' || (i % 5000), \
    CASE WHEN i % 100 = 0 THEN 'join_token' ELSE 'client_certificate' END, \
    CASE WHEN i % 100 = 7 THEN 'revoked' WHEN i % 1000 = 8 THEN 'suspended' ELSE 'good' END, \
    ?2, '', randomblob(500), CASE WHEN i % 20 = 0 THEN 2048 ELSE 256 END, 'ecdsa-with-sha256', \
    'c-' || (i % 20), 'ns-' || (i % 500), 'app-' || i, 'node-' || (i % 5000), \
    '10.' || (i % 200) || '.' || (i / 200 % 250) || '.' || (i / 50000 % 250), \
    '{\"cost-center\":\"' || (i % 50) || '\",\"owner\":\"team-' || (i % 300) || '\"}' FROM n";
const FILL_OWNERS: &str = "INSERT INTO certificate_metadata (certificate_id, name, value) \
     SELECT id, 'owner', 'team-' || (CAST(substr(pod, 5) AS INTEGER) % 300) FROM certificates \
     WHERE pod IS NOT NULL AND ?1 > 0 AND ?2 > 0";
const FILL_COST_CENTERS: &str = "INSERT INTO certificate_metadata (certificate_id, name, value) \
     SELECT id, 'cost-center', '' || (CAST(substr(pod, 5) AS INTEGER) % 50) FROM certificates \
     WHERE pod IS NOT NULL AND ?1 > 0 AND ?2 > 0";
