//! `countersign audit`: the log of everything the authority did.

use std::io::IsTerminal as _;

use api::record::prove_inclusion_request::What;
use api::record::{
    GetTreeHeadRequest, ListLeavesRequest, ProveConsistencyRequest, ProveInclusionRequest,
};
use authority::audit::event;
use authority::audit::key::LogPublicKey;
use authority::audit::merkle::{Hash, verify_consistency, verify_inclusion};
use authority::audit::note::TreeHead;
use authority::audit::position::Position;
use authority::audit::verify::{Expected, Progress, Report, verify};
use serde::Serialize;
use serde_json::Value;

use crate::admin;
use crate::args::{AuditCommand, VerifyArgs};
use crate::failure::Failure;
use crate::output::{self, Format, Row};

pub(crate) async fn run(command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify(args) => check(args).await,
        AuditCommand::Head { admin, output } => {
            let mut client = admin::record(&admin).await?;
            let answer = client.get_tree_head(GetTreeHeadRequest { size: 0 }).await?;
            head(output.output, answer.into_inner())
        }
        AuditCommand::Log {
            admin,
            output,
            before,
            limit,
        } => {
            let mut client = admin::record(&admin).await?;
            let answer = client
                .list_leaves(ListLeavesRequest { before, limit })
                .await?;
            let leaves = answer.into_inner().leaves.into_iter();
            let rows: Vec<_> = leaves.map(Shown::from).collect();
            output::list(output.output, &rows)
        }
        AuditCommand::Prove {
            admin,
            output,
            serial,
            log_key,
        } => {
            let mut client = admin::record(&admin).await?;
            let key = match log_key {
                Some(path) => {
                    LogPublicKey::read(&path).map_err(|error| Failure::part("audit log", error))?
                }
                None => {
                    let answer = client.get_tree_head(GetTreeHeadRequest { size: 0 }).await?;
                    LogPublicKey::from_pem(&answer.into_inner().public_key_pem).ok_or_else(
                        || Failure::Check("the authority's log has no key".to_owned()),
                    )?
                }
            };
            let request = ProveInclusionRequest {
                what: Some(What::Serial(serial)),
            };
            let answer = client.prove_inclusion(request).await?.into_inner();
            prove(output.output, answer, &key)
        }
        AuditCommand::Consistency {
            admin,
            output,
            old,
            new,
            root,
        } => {
            let mut client = admin::record(&admin).await?;
            let answer = client.prove_consistency(ProveConsistencyRequest { old, new });
            consistency(output.output, answer.await?.into_inner(), root.as_deref())
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    sound: bool,
    leaves: u64,
    root: String,
    signed_heads: u64,
    last_head_size: Option<u64>,
    leaves_after_it: u64,
    certificates: u64,
    from_before_the_log: u64,
    refusals: u64,
    refusals_not_yet_in_the_log: u64,
    findings: Vec<String>,
    total_findings: u64,
}

impl From<Report> for Verified {
    fn from(report: Report) -> Self {
        Self {
            sound: report.is_sound(),
            leaves: report.size,
            root: report.root.map(|root| root.to_string()).unwrap_or_default(),
            signed_heads: report.heads,
            last_head_size: report.last_head.map(|head| head.size),
            leaves_after_it: report.unsigned,
            certificates: report.certificates,
            from_before_the_log: report.before_the_log,
            refusals: report.refusals,
            refusals_not_yet_in_the_log: report.refusals_without_leaf,
            findings: report.findings.iter().map(ToString::to_string).collect(),
            total_findings: report.total_findings,
        }
    }
}

async fn check(args: VerifyArgs) -> Result<(), Failure> {
    let failed = |error| Failure::part("audit log", error);
    let key = args
        .log_key
        .unwrap_or_else(|| args.data_dir.join(authority::names::AUDIT_PUBLIC_KEY));
    let public_key = LogPublicKey::read(&key).map_err(|error| Failure::part("audit log", error))?;
    let beside = || args.data_dir.join(authority::names::POSITION);
    let position = args.position.or_else(|| args.file.is_none().then(beside));
    let position = match position {
        Some(path) => Position::read(&path).map_err(|error| Failure::part("position", error))?,
        None => None,
    };
    let expected = Expected {
        public_key,
        position,
    };
    let database = args.data_dir.join(authority::names::DATABASE);
    let path = args.file.unwrap_or(database);
    let shows = std::io::stderr().is_terminal();
    let report = verify(&path, &expected, |progress| {
        if shows {
            show(progress);
        }
    });
    let report = report.await.map_err(failed)?;
    if shows {
        eprint!("\r\x1b[K");
    }
    let verified = Verified::from(report);
    let mut fields = vec![
        (
            "sound",
            if verified.sound { "yes" } else { "NO" }.to_owned(),
        ),
        ("leaves", verified.leaves.to_string()),
        ("root", verified.root.clone()),
        ("signed heads", verified.signed_heads.to_string()),
        (
            "leaves after the last",
            verified.leaves_after_it.to_string(),
        ),
        ("certificates", verified.certificates.to_string()),
        (
            "from before the log",
            verified.from_before_the_log.to_string(),
        ),
        ("refusals", verified.refusals.to_string()),
        (
            "not yet in the log",
            verified.refusals_not_yet_in_the_log.to_string(),
        ),
    ];
    fields.extend(
        verified
            .findings
            .iter()
            .map(|found| ("wrong", found.clone())),
    );
    output::object(args.output.output, &verified, fields)?;
    match verified.total_findings {
        0 => Ok(()),
        1 => Err(Failure::Check(
            "the record is not sound: 1 finding".to_owned(),
        )),
        count => Err(Failure::Check(format!(
            "the record is not sound: {count} findings"
        ))),
    }
}

fn show(progress: Progress) {
    eprint!("\r\x1b[Kchecking {} ({})", progress.step, progress.done);
}

fn head(format: Format, answer: api::record::GetTreeHeadResponse) -> Result<(), Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        note: String,
        public_key: String,
        verifier_key: String,
    }
    if format == Format::Table {
        // As it is, so that it can be kept and verified.
        return output::line(answer.note.trim_end());
    }
    let head = Head {
        note: answer.note,
        public_key: answer.public_key_pem,
        verifier_key: answer.verifier_key,
    };
    output::object(format, &head, Vec::new())
}

/// A leaf as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    position: u64,
    leaf: Value,
}

impl From<api::record::AuditLeaf> for Shown {
    fn from(leaf: api::record::AuditLeaf) -> Self {
        Self {
            position: leaf.position,
            leaf: serde_json::from_str(&leaf.leaf).unwrap_or(Value::String(leaf.leaf)),
        }
    }
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["position", "time", "what", "who", "of"];

    fn cells(&self) -> Vec<String> {
        let text = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| self.leaf.get(name))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let at = self.leaf.get("at").and_then(Value::as_i64).unwrap_or(0);
        let what = match text(&["action"]) {
            action if action.is_empty() => text(&["kind"]),
            action => action,
        };
        vec![
            self.position.to_string(),
            output::time(at),
            what,
            text(&["operator", "caller"]),
            match self.leaf.get("codes") {
                Some(codes) => codes.to_string(),
                None => text(&[
                    "serial",
                    "name",
                    "spiffe_id",
                    "id",
                    "subject",
                    "trust_domain",
                ]),
            },
        ]
    }
}

fn prove(
    format: Format,
    answer: api::record::ProveInclusionResponse,
    key: &LogPublicKey,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Proof {
        position: u64,
        leaf: String,
        path: Vec<String>,
        note: String,
        log_id: String,
    }
    let origin = answer.note.lines().next().unwrap_or_default();
    let head = TreeHead::open(&answer.note, origin, key)
        .map_err(|error| Failure::part("signed tree head", error))?;
    let path = hashes(&answer.path)?;
    let leaf = event::hash(&answer.leaf);
    if !verify_inclusion(&leaf, answer.position, head.size, &path, &head.root) {
        return Err(Failure::Check(
            "the authority's proof does not lead to its signed tree head".to_owned(),
        ));
    }
    let fields = vec![
        (
            "proven",
            "yes, the hashes lead to the signed root".to_owned(),
        ),
        ("leaf", answer.leaf.clone()),
        ("position", answer.position.to_string()),
        ("log size", head.size.to_string()),
        ("root", head.root.to_string()),
        ("signed", output::time(head.at.as_secs())),
        ("key", key.id()),
        ("hashes", answer.path.len().to_string()),
    ];
    let proof = Proof {
        position: answer.position,
        leaf: answer.leaf,
        path: answer.path,
        note: answer.note,
        log_id: key.id(),
    };
    output::object(format, &proof, fields)
}

fn consistency(
    format: Format,
    answer: api::record::ProveConsistencyResponse,
    root: Option<&str>,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Proof {
        old: u64,
        old_root: String,
        new: u64,
        new_root: String,
        path: Vec<String>,
    }
    let hash = |text: &str| {
        let hash = text.trim().to_ascii_lowercase().parse::<Hash>();
        hash.map_err(|error| Failure::Check(format!("{text:?}: {error}")))
    };
    // What was known then counts, not what is said now.
    let old_root = hash(root.unwrap_or(&answer.old_root))?;
    let new_root = hash(&answer.new_root)?;
    let path = hashes(&answer.path)?;
    if !verify_consistency((answer.old, old_root), (answer.new, new_root), &path) {
        return Err(Failure::Check(format!(
            "the log of {} leaves is not the beginning of that of {}: it was rewritten",
            answer.old, answer.new
        )));
    }
    let fields = vec![
        ("proven", "yes, the log was only appended to".to_owned()),
        ("old", format!("{} {old_root}", answer.old)),
        ("new", format!("{} {new_root}", answer.new)),
        ("hashes", answer.path.len().to_string()),
    ];
    let proof = Proof {
        old: answer.old,
        old_root: answer.old_root,
        new: answer.new,
        new_root: answer.new_root,
        path: answer.path,
    };
    output::object(format, &proof, fields)
}

fn hashes(texts: &[String]) -> Result<Vec<Hash>, Failure> {
    let parsed = texts.iter().map(|text| text.parse());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::part("proof", error))
}
