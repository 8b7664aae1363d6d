//! Leaves, nodes and signed heads.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt as _;
use sqlx::{Row as _, SqliteConnection};

use super::{Expected, PROGRESS_ROWS, Progress, Report};
use crate::audit::event::{self, Event, Leaf, Start};
use crate::audit::merkle::{Block, Frontier, Hash};
use crate::audit::note::{TreeHead, origin};
use crate::inventory::log::{is_stored, signed};

/// What the leaves tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The first leaf.
    pub(super) start: Option<Start>,
    /// How many leaves of each kind.
    pub(super) kinds: BTreeMap<&'static str, u64>,
    /// Entries that were created and not deleted, and the leaf of each.
    pub(super) entries: HashMap<String, i64>,
    /// The root where the position says that a head was signed.
    pub(super) root_at_position: Option<Hash>,
    /// Leaves of refusals; of alarms second.
    pub(super) refusals: [Vec<i64>; 2],
}

struct Head {
    size: i64,
    at: i64,
    root: String,
    note: String,
}

/// Checks them; gives what the leaves tell.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    expected: &Expected,
    report: &mut Report,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<Told, sqlx::Error> {
    let nodes = nodes(connection, report).await?;
    let mut heads = heads(connection).await?.into_iter().peekable();
    let mut told = Told::default();
    let mut frontier = Frontier::default();
    let mut found_nodes = 0;
    let mut leaves = sqlx::query(LEAVES).fetch(connection);
    while let Some(row) = leaves.try_next().await? {
        let position: i64 = row.try_get("position")?;
        let place = format!("leaf {position}");
        if signed(frontier.size())? != position {
            report.find(&place, format!("leaf {} is missing", frontier.size()));
            // Nothing after a gap can be held against anything.
            break;
        }
        let body: &str = row.try_get("body")?;
        let hash = event::hash(body);
        if row.try_get::<&[u8], _>("hash")? != hash.0.as_slice() {
            report.find(&place, "its hash is not that of its content");
        }
        match Leaf::parse(body) {
            Ok(leaf) => told.take(position, leaf, report),
            Err(error) => report.find(&place, error.to_string()),
        }
        for (block, hash) in frontier.push(hash) {
            if is_stored(block.level) {
                found_nodes += usize::from(check_node(&nodes, block, hash, report));
            }
        }
        let known = expected.position.as_ref();
        if known.is_some_and(|known| known.size == frontier.size()) {
            told.root_at_position = Some(frontier.root());
        }
        while let Some(head) = heads.next_if(|head| head.size == position.saturating_add(1)) {
            check_head(&head, &frontier, (expected, &told), report);
        }
        if frontier.size().is_multiple_of(PROGRESS_ROWS) {
            progress(Progress {
                step: "leaves",
                done: frontier.size(),
            });
        }
    }
    drop(leaves);
    for head in heads {
        report.find(
            format!("signed head of size {}", head.size),
            "the log has no leaves for it",
        );
    }
    if found_nodes < nodes.len() {
        report.find("nodes", "some are stored that no leaves complete");
    }
    finish(frontier, expected, &told, report);
    Ok(told)
}

fn finish(frontier: Frontier, expected: &Expected, told: &Told, report: &mut Report) {
    report.size = frontier.size();
    report.root = Some(frontier.root());
    let signed = report.last_head.as_ref().map_or(0, |head| head.size);
    report.unsigned = report.size.saturating_sub(signed);
    match &told.start {
        None => report.find("leaf 0", "it is not the beginning of a log"),
        Some(start) if start.log != expected.public_key.id() => report.find(
            "leaf 0",
            format!(
                "it begins the log of the key {}, not of {}",
                start.log,
                expected.public_key.id()
            ),
        ),
        Some(_) => {}
    }
    if report.heads == 0 {
        report.find("signed heads", "there is none");
    }
}

fn check_node(nodes: &HashMap<Block, Hash>, block: Block, hash: Hash, report: &mut Report) -> bool {
    let stored = nodes.get(&block);
    let place = || format!("node {} of level {}", block.index, block.level);
    match stored {
        None => report.find(place(), "it is missing"),
        Some(stored) if *stored != hash => {
            report.find(place(), "it is not the hash of what is below it");
        }
        Some(_) => {}
    }
    stored.is_some()
}

fn check_head(
    stored: &Head,
    frontier: &Frontier,
    (expected, told): (&Expected, &Told),
    report: &mut Report,
) {
    report.heads = report.heads.saturating_add(1);
    let place = format!("signed head of size {}", stored.size);
    let Some(start) = &told.start else {
        return report.find(place, "it is of no log that has a beginning");
    };
    let origin = origin(&start.trust_domain, &expected.public_key);
    let head = match TreeHead::open(&stored.note, &origin, &expected.public_key) {
        Ok(head) => head,
        Err(error) => return report.find(place, error.to_string()),
    };
    if head.size != frontier.size() || head.root != frontier.root() {
        report.find(&place, "it does not fit the leaves");
    }
    if stored.root != head.root.to_string() || stored.at != head.at.as_secs() {
        report.find(&place, "what is stored beside it is not what it says");
    }
    report.last_head = Some(head);
}

impl Told {
    fn take(&mut self, position: i64, leaf: Leaf, report: &mut Report) {
        let count = self.kinds.entry(leaf.event.kind()).or_default();
        *count = count.saturating_add(1);
        let place = || format!("leaf {position}");
        match leaf.event {
            Event::Start(start) if position == 0 => self.start = Some(start),
            Event::Start(_) => report.find(place(), "a log begins once"),
            Event::EntryCreated(entry) => {
                let before = self.entries.insert(entry.id, position);
                if before.is_some() {
                    report.find(place(), "the entry was there already");
                }
            }
            Event::EntryDeleted { id, .. } => {
                let there = self.entries.remove(&id);
                if there.is_none() {
                    report.find(place(), "the entry deleted was not there");
                }
            }
            Event::Refusals(refusals) => {
                let [others, alarms] = &mut self.refusals;
                let leaves = if refusals.alarm { alarms } else { others };
                leaves.push(position);
            }
            _ => {}
        }
    }

    /// How many leaves of a kind.
    pub(super) fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }
}

/// The stored nodes, one for 256 leaves.
async fn nodes(
    connection: &mut SqliteConnection,
    report: &mut Report,
) -> Result<HashMap<Block, Hash>, sqlx::Error> {
    let mut nodes = HashMap::new();
    let mut rows = sqlx::query(NODES).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (level, index): (i64, i64) = (row.try_get("level")?, row.try_get("position")?);
        let bytes: &[u8] = row.try_get("hash")?;
        match (
            u32::try_from(level),
            u64::try_from(index),
            Hash::try_from(bytes),
        ) {
            (Ok(level), Ok(index), Ok(hash)) => {
                nodes.insert(Block { level, index }, hash);
            }
            _ => report.find(format!("node {index} of level {level}"), "it is none"),
        }
    }
    Ok(nodes)
}

async fn heads(connection: &mut SqliteConnection) -> Result<Vec<Head>, sqlx::Error> {
    let rows = sqlx::query(HEADS).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(Head {
                size: row.try_get("size")?,
                at: row.try_get("at")?,
                root: row.try_get("root")?,
                note: row.try_get("note")?,
            })
        })
        .collect()
}

const LEAVES: &str = "SELECT position, hash, body FROM audit_leaves ORDER BY position";
const NODES: &str = "SELECT level, position, hash FROM audit_nodes";
const HEADS: &str = "SELECT size, at, root, note FROM audit_heads ORDER BY size";
