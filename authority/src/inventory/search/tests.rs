use identity::SpiffeId;
use tempfile::TempDir;

use super::parse::{Problem, parse};
use super::*;
use crate::inventory::{
    CertificateState, Guard, NewCertificate, Origin, RequestContext, Selector, StateAction,
    WriterTask,
};
use crate::issue::{IssuedSvid, KeyType, random_serial};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn now() -> UnixTime {
    UnixTime::from_secs(NOW)
}

struct Wanted {
    id: &'static str,
    expires: i64,
    owner: Option<&'static str>,
    pod: Option<&'static str>,
    rsa: bool,
}

const fn wanted(id: &'static str, expires: i64, owner: Option<&'static str>) -> Wanted {
    Wanted {
        id,
        expires,
        owner,
        pod: None,
        rsa: false,
    }
}

async fn record(inventory: &Inventory, number: i64, wanted: &Wanted) -> String {
    let serial = random_serial().unwrap();
    let mut context = RequestContext::default();
    if let Some(owner) = wanted.owner {
        context.metadata.insert("owner", owner).unwrap();
    }
    context.location.pod = wanted.pod.map(str::to_owned);
    let new = NewCertificate {
        svid: IssuedSvid {
            der: vec![1],
            sha256: crate::crypto::sha256_hex(serial.as_bytes()),
            serial,
            spiffe_id: SpiffeId::new(wanted.id).unwrap(),
            issuer_sha256: "ab".to_owned(),
            key_type: if wanted.rsa {
                KeyType::Rsa { bits: 2048 }
            } else {
                KeyType::EcdsaP256
            },
            spki_sha256: "cd".to_owned(),
            not_before: now(),
            not_after: UnixTime::from_secs(NOW + wanted.expires),
            entry_id: None,
        },
        caller: "uid:0".to_owned(),
        proof: "operator",
        issued_at: UnixTime::from_secs(NOW - 100 * number),
        origin: Origin {
            proven_at: UnixTime::from_secs(NOW),
            proven_by: "operator".to_owned(),
            evidence_sha256: String::new(),
            selectors: Vec::new(),
        },
        rule: String::new(),
        context,
    };
    inventory
        .record_certificate(new, Guard::default())
        .await
        .unwrap();
    serial.to_string()
}

const A: &str = "spiffe://td/ns/prod/sa/a";
const B: &str = "spiffe://td/ns/prod/sa/b";
const C: &str = "spiffe://td/ns/test/sa/c";

async fn filled() -> (TempDir, Inventory, WriterTask, Vec<String>) {
    let dir = TempDir::new().unwrap();
    let (inventory, task) = Inventory::open(&dir.path().join("db"), "td").await.unwrap();
    let all = [
        wanted(A, 2 * DAY, Some("payments")),
        wanted(B, 8 * DAY, Some("payments")),
        Wanted {
            pod: Some("web-0"),
            rsa: true,
            ..wanted(C, 3 * DAY, Some("it's \"x\""))
        },
        wanted(A, -DAY, Some("billing")),
        Wanted {
            pod: Some("web-1"),
            ..wanted(A, DAY, None)
        },
    ];
    let mut serials = Vec::new();
    for (number, wanted) in (0..).zip(&all) {
        serials.push(record(&inventory, number, wanted).await);
    }
    let selector = Selector::Serial(serials[1].clone());
    let revoked = inventory.change_state(
        selector,
        StateAction::Revoke,
        String::new(),
        String::new(),
        now(),
    );
    revoked.await.unwrap().unwrap();
    (dir, inventory, task, serials)
}

async fn find(inventory: &Inventory, serials: &[String], query: &str) -> Vec<usize> {
    let search = Search {
        query: query.to_owned(),
        limit: 100,
        cursor: String::new(),
    };
    let page = inventory.search_certificates(&search, now()).await;
    let page = page.unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(page.next, "");
    let number = |serial: &str| serials.iter().position(|known| known == serial).unwrap();
    page.rows.iter().map(|row| number(&row.serial)).collect()
}

#[tokio::test]
async fn queries_find_what_they_say() {
    let (_dir, inventory, _task, serials) = filled().await;
    let serial = format!("serial={}", serials[2].to_uppercase());
    for (query, found) in [
        ("", vec![4, 3, 2, 1, 0]),
        (serial.as_str(), vec![2]),
        ("expires<7d", vec![4, 0, 2]),
        ("expires<7d and owner=payments", vec![0]),
        ("owner=payments", vec![1, 0]),
        ("meta.owner=payments", vec![1, 0]),
        ("owner~\"pay*\"", vec![1, 0]),
        ("owner!=payments", vec![4, 3, 2]),
        ("not owner=payments", vec![4, 3, 2]),
        ("owner=\"it's \\\"x\\\"\"", vec![2]),
        ("owner=payments or owner=billing", vec![3, 1, 0]),
        (
            "(owner=payments or pod=web-1) and identity~spiffe://td/ns/prod/*",
            vec![0, 4, 1],
        ),
        ("not (owner=payments or owner=billing)", vec![4, 2]),
        ("state=revoked", vec![1]),
        ("state!=revoked and owner=payments", vec![0]),
        ("state=active and key=rsa-2048", vec![2]),
        ("bits>=2048", vec![2]),
        (
            "bits<2048 and not identity=spiffe://td/ns/prod/sa/a",
            vec![1],
        ),
        ("namespace=test", vec![2]),
        ("namespace!=test and pod~web-?", vec![4]),
        ("pod!=web-0", vec![4, 3, 1, 0]),
        ("pod!~web-*", vec![3, 1, 0]),
        ("identity~*sa/c", vec![2]),
        ("expires<0s", vec![3]),
        ("expires>7d", vec![1]),
        ("not expires<7d", vec![3, 1]),
        ("expires<2027-01-15", vec![3]),
        (
            "expires>=2027-01-18T00:00:00Z and expires<2027-01-19T00:00:00+01:00",
            vec![2],
        ),
        ("issued<150s", vec![0, 1]),
        ("issued>150s", vec![2, 3, 4]),
        ("caller=uid:0 and proof=operator", vec![4, 3, 2, 1, 0]),
        ("spki=CD AND issuer=ab", vec![4, 3, 2, 1, 0]),
        ("alg=unknown", vec![4, 3, 2, 1, 0]),
    ] {
        assert_eq!(find(&inventory, &serials, query).await, found, "{query}");
    }
}

#[tokio::test]
async fn pages_hold_everything_once() {
    let (_dir, inventory, _task, serials) = filled().await;
    for query in [
        "",
        "owner=payments or owner=billing or pod=web-0 or pod=web-1",
        "expires>=1970-01-01",
        "issued>=0s",
        "identity~spiffe*",
        "namespace=prod or namespace=test",
        "proof=operator",
    ] {
        let mut search = Search {
            query: query.to_owned(),
            limit: 2,
            cursor: String::new(),
        };
        let mut found = Vec::new();
        loop {
            let page = inventory.search_certificates(&search, now()).await.unwrap();
            assert!(page.rows.len() <= 2);
            found.extend(page.rows.into_iter().map(|row| row.serial));
            if page.next.is_empty() {
                break;
            }
            search.cursor = page.next;
        }
        let mut expected = serials.clone();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{query}");
    }
    // A cursor of another query, or of nobody.
    let first = Search {
        query: "expires>=1970-01-01".to_owned(),
        limit: 1,
        cursor: String::new(),
    };
    let next = inventory
        .search_certificates(&first, now())
        .await
        .unwrap()
        .next;
    for (query, cursor) in [
        ("", next.as_str()),
        ("", "x"),
        ("", "e30"),
        ("", &"A".repeat(9000)),
    ] {
        let search = Search {
            query: query.to_owned(),
            limit: 1,
            cursor: cursor.to_owned(),
        };
        let refused = inventory
            .search_certificates(&search, now())
            .await
            .unwrap_err();
        assert!(matches!(refused, SearchError::Cursor), "{refused}");
    }
}

#[tokio::test]
async fn values_are_never_part_of_a_statement() {
    let (_dir, inventory, _task, serials) = filled().await;
    let hostile = [
        "' OR 1=1 --",
        "x'; DROP TABLE certificates; --",
        "?1",
        "%",
        "\u{0}",
        "[a-z]",
        ")) OR ((1=1",
    ];
    for value in hostile {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        for field in [
            "serial",
            "identity",
            "pod",
            "caller",
            "owner",
            "meta.x",
            "key",
            "namespace",
        ] {
            for operator in ["=", "~"] {
                let query = format!("{field}{operator}\"{quoted}\"");
                assert_eq!(
                    find(&inventory, &serials, &query).await,
                    [0_usize; 0],
                    "{query}"
                );
            }
        }
    }
    assert_eq!(find(&inventory, &serials, "").await.len(), 5);
    let tree = parse("owner=\"' OR 1=1\" and pod~\"x';*\"", &CERTIFICATES, now()).unwrap();
    let plan = Plan::candidates(&CERTIFICATES, &tree).remove(0);
    let sql = plan.statement("id", None, 1).unwrap().into_string();
    assert!(!sql.contains('\''), "{sql}");
}

#[test]
fn errors_name_the_column() {
    let long = "x".repeat(MAX_QUERY_BYTES + 1);
    let many = vec!["bits=1"; MAX_TERMS + 1].join(" or ");
    let deep = format!("{}bits=1{}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH));
    for (query, column, text) in [
        ("Owner=x", 1, "is not a field"),
        ("bits=1 and Wrong=2", 12, "is not a field"),
        ("bits", 5, "expected one of = != ~"),
        ("bits=", 6, "expected a value, found the end"),
        ("bits=x", 6, "is not a whole number"),
        ("bits~4", 5, "cannot be compared with ~"),
        ("identity<x", 9, "cannot be compared with <"),
        ("expires<soon", 9, "RFC 3339"),
        ("expires<2026-02-30", 9, "RFC 3339"),
        ("expires<99999999999999999999d", 9, "RFC 3339"),
        ("state=gone", 7, "active, suspended, revoked"),
        ("(bits=1", 8, "expected `and`, `or` or `)`"),
        ("bits=1)", 7, "expected `and`, `or` or the end"),
        ("bits=1 bits=2", 8, "expected `and`, `or` or the end"),
        ("pod=\"x", 5, "has no end"),
        ("pod=\"\\n\"", 7, "after `\\`"),
        ("and", 4, "expected one of"),
        ("=1", 1, "expected a field"),
        ("é=1", 1, "is not a field"),
        ("pod=é é", 7, "expected `and`"),
        (long.as_str(), 1, "longer than"),
        (many.as_str(), 641, "more than 64"),
        (deep.as_str(), 17, "nested more than"),
    ] {
        let refused = parse(query, &CERTIFICATES, now()).expect_err(query);
        assert!(refused.to_string().contains(text), "{query}: {refused}");
        assert_eq!(refused.column, column, "{query}: {refused}");
    }
    let refused = parse("owner=x", &REFUSALS, now()).unwrap_err();
    assert!(matches!(refused.problem, Problem::UnknownField { .. }));
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_query_or_an_error(text in ".{0,200}") {
        parse(&text, &CERTIFICATES, now()).ok();
    }

    #[test]
    fn any_words_are_a_query_or_an_error(words in proptest::collection::vec(
        proptest::sample::select(vec!["and", "or", "not", "(", ")", "bits", "=", "1", "owner", "~", "\"", "expires<", "7d", "*"]), 0..40,
    )) {
        parse(&words.join(" "), &CERTIFICATES, now()).ok();
    }
}

/// No field that has an index is searched row by row, alone or beside another.
#[tokio::test]
async fn indexed_fields_are_never_scanned() {
    let (_dir, inventory, _task, _) = filled().await;
    for query in [
        "serial=aa",
        "sha256=aa",
        "spki=cd",
        "pod=web-0",
        "address=10.0.0.1",
        "identity=spiffe://td/x",
        "node=n",
        "caller=uid:0",
        "state=revoked",
        "state=suspended",
        "namespace=prod",
        "cluster=c",
        "issuer=ab",
        "key=rsa-2048",
        "bits=256",
        "bits>=2048",
        "alg=unknown",
        "proof=operator",
        "expires<7d",
        "expires>2027-01-01",
        "issued<1h",
        "issued>1h",
        "owner=payments",
        "identity~spiffe://td/*",
        "pod~web-*",
        "node~n*",
        "address~10.*",
        "owner=a or owner=b",
        "pod=a or address=b or serial=cc",
        "state=active and namespace=prod",
        "key=rsa-2048 and pod=web-0 and expires<7d",
    ] {
        let search = Search {
            query: query.to_owned(),
            limit: 50,
            cursor: String::new(),
        };
        let plan = inventory.explain_certificates(&search, now()).await;
        let plan = plan.unwrap_or_else(|error| panic!("{query}: {error}"));
        for step in &plan {
            let scans = step.starts_with("SCAN certificates") && !step.contains("USING");
            assert!(!scans && !step.contains("SCAN m"), "{query}: {plan:#?}");
        }
        let sorts = plan
            .iter()
            .any(|step| step.contains("USE TEMP B-TREE FOR ORDER BY"));
        let alternatives = query.contains(" or ");
        assert!(!sorts || alternatives, "{query}: {plan:#?}");
    }
    // Without a condition that can lead the newest come first, without sorting.
    let search = Search {
        query: "state=active".to_owned(),
        limit: 50,
        cursor: String::new(),
    };
    let plan = inventory
        .explain_certificates(&search, now())
        .await
        .unwrap();
    assert!(
        plan.iter().all(|step| !step.contains("TEMP B-TREE")),
        "{plan:#?}"
    );
}

#[tokio::test]
async fn refusals_are_searched_alike() {
    let (_dir, inventory, _task, _) = filled().await;
    for (code, alarm) in [("csr_bad", false), ("theft", true), ("csr_bad", false)] {
        let refusal = RefusalRecord {
            at: now(),
            caller: "unproven 10.0.0.1".to_owned(),
            spiffe_id: A.to_owned(),
            code: code.to_owned(),
            detail: "so it is".to_owned(),
            alarm,
        };
        inventory.record_refusal(refusal).await.unwrap();
    }
    for (query, count) in [
        ("", 3),
        ("code=csr_bad", 2),
        ("alarm=true", 1),
        ("alarm!=true and at<1h", 2),
        ("detail~*it*", 3),
        (
            "caller~\"unproven *\" and identity=spiffe://td/ns/prod/sa/a",
            3,
        ),
        ("at>1h", 0),
    ] {
        let search = Search {
            query: query.to_owned(),
            limit: 50,
            cursor: String::new(),
        };
        let page = inventory.search_refusals(&search, now()).await.unwrap();
        assert_eq!(page.rows.len(), count, "{query}");
    }
    assert_eq!(CertificateState::Good.as_str(), "good");
}
