//! `countersign policy publish`: policies for every filter that names the bundle.

use std::collections::BTreeMap;

use api::admin::{GetPolicyBundleRequest, PolicyBundle, PublishPolicyBundleRequest};
use identity::policy_bundle::{BundleName, MAX_BODY_BYTES};
use serde::Serialize;
use serde_json::Value;
use tonic::Code;
use wasm_tests::runner::{Sources, Written};

use super::check::{self, counted};
use super::sources;
use crate::admin::{self, Admin};
use crate::args::PublishArgs;
use crate::failure::Failure;
use crate::output::{self, Format, Row};

/// Kind, namespace and name of a policy.
type Name = (String, String, String);

/// What a program is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    name: String,
    /// Whether the policies are published now.
    published: bool,
    /// That of the bundle in force; 0 where there is none.
    sequence: u64,
    policies: usize,
    bytes: usize,
    changes: Vec<Change>,
}

/// What becomes of one policy.
#[derive(Debug, Eq, PartialEq, Serialize)]
struct Change {
    change: &'static str,
    kind: String,
    namespace: String,
    name: String,
}

pub(super) async fn run(args: &PublishArgs) -> Result<(), Failure> {
    let read = sources::require(&args.sources)?;
    let problems = check::compile(&read)?;
    if !problems.is_empty() {
        return Err(sources::failed(&problems));
    }
    let policies = by_name(&read)?;
    let body = body(policies.values().copied())?;
    // What is signed, as each filter will read it.
    policy::config::compile_policies(&body, &check::scope(&read)?)
        .map_err(|errors| Failure::Policies(errors.iter().map(ToString::to_string).collect()))?;
    let mut admin = admin::connect(&args.admin).await?;
    let (before, sequence) = published(&mut admin, &args.name).await?;
    let mut outcome = Outcome {
        name: args.name.to_string(),
        published: false,
        sequence,
        policies: policies.len(),
        bytes: body.len(),
        changes: changes(&before, &policies),
    };
    if !args.dry_run {
        let request = PublishPolicyBundleRequest {
            name: args.name.to_string(),
            policies: body,
            replaces: sequence,
        };
        let answer = admin.publish_policy_bundle(request).await?.into_inner();
        outcome.published = true;
        outcome.sequence = answer.bundle.map_or(0, |bundle| bundle.sequence);
    }
    show(args.output.output, &outcome)?;
    if args.output.output == Format::Table {
        warn_of_what_the_proxy_does(&read)?;
    }
    Ok(())
}

/// The policies in the order of their names, so that the same ones are the same bundle.
fn by_name(read: &Sources) -> Result<BTreeMap<Name, &Value>, Failure> {
    let mut all = BTreeMap::new();
    let mut twice = Vec::new();
    for written in read.policies() {
        if all.insert(name_of(written), written.value()).is_some() {
            let problem = written.error(
                "metadata.name",
                "a policy of this kind and name came before",
            );
            twice.push(problem);
        }
    }
    if twice.is_empty() {
        Ok(all)
    } else {
        Err(sources::failed(&twice))
    }
}

fn name_of(written: &Written) -> Name {
    (
        written.kind().to_owned(),
        written.namespace().to_owned(),
        written.name().to_owned(),
    )
}

/// What is signed: a JSON list, as `policies` of a plug-in configuration.
fn body<'a>(policies: impl Iterator<Item = &'a Value>) -> Result<Vec<u8>, Failure> {
    let body = serde_json::to_vec(&policies.collect::<Vec<_>>())
        .map_err(|error| Failure::Serialize(error.to_string()))?;
    if body.len() > MAX_BODY_BYTES {
        return Err(Failure::Check(format!(
            "the policies are {} bytes, a bundle may have {MAX_BODY_BYTES}: publish them in several bundles, each \
             for the workloads that need them",
            body.len()
        )));
    }
    Ok(body)
}

/// The policies that are published, and their sequence; none and 0 where nothing is.
async fn published(
    admin: &mut Admin,
    name: &BundleName,
) -> Result<(BTreeMap<Name, Value>, u64), Failure> {
    let request = GetPolicyBundleRequest {
        name: name.to_string(),
    };
    let answer = match admin.get_policy_bundle(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok((BTreeMap::new(), 0)),
        Err(status) => return Err(status.into()),
    };
    let policies: Vec<Value> = serde_json::from_slice(&answer.policies)
        .map_err(|error| Failure::part(format!("the published bundle {name}"), error))?;
    let text = |policy: &Value, pointer| {
        let text = policy.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let named = policies.into_iter().map(|policy| {
        let name = (
            text(&policy, "/kind"),
            text(&policy, "/metadata/namespace"),
            text(&policy, "/metadata/name"),
        );
        (name, policy)
    });
    let sequence = answer
        .bundle
        .map_or(0, |PolicyBundle { sequence, .. }| sequence);
    Ok((named.collect(), sequence))
}

fn changes(before: &BTreeMap<Name, Value>, after: &BTreeMap<Name, &Value>) -> Vec<Change> {
    let change = |change, (kind, namespace, name): &Name| Change {
        change,
        kind: kind.clone(),
        namespace: namespace.clone(),
        name: name.clone(),
    };
    let come = after
        .iter()
        .filter_map(|(name, policy)| match before.get(name) {
            None => Some(change("added", name)),
            Some(old) if old != *policy => Some(change("changed", name)),
            Some(_) => None,
        });
    let gone = before.keys().filter(|name| !after.contains_key(name));
    come.chain(gone.map(|name| change("removed", name)))
        .collect()
}

fn show(format: Format, outcome: &Outcome) -> Result<(), Failure> {
    if format != Format::Table {
        return output::object(format, outcome, Vec::new());
    }
    if !outcome.changes.is_empty() {
        output::list(format, &outcome.changes)?;
    }
    let count = counted(outcome.policies, "policy", "policies");
    let (name, bytes, sequence) = (&outcome.name, outcome.bytes, outcome.sequence);
    output::line(&match (outcome.published, outcome.changes.is_empty()) {
        (true, false) => format!("{name} {sequence} is published: {count}, {bytes} bytes"),
        (true, true) => format!("{name} {sequence} was published before, nothing changes"),
        (false, false) => format!("{name} would have {count}, {bytes} bytes; nothing is published"),
        (false, true) => format!("{name} would not change"),
    })
}

/// What a filter cannot do is for the proxy's own filters, which no bundle reaches.
fn warn_of_what_the_proxy_does(read: &Sources) -> Result<(), Failure> {
    let is_custom =
        |written: &&Written| written.part("spec.action").and_then(Value::as_str) == Some("CUSTOM");
    let custom = read.policies().iter().filter(is_custom).count();
    let tokens = read.policies().iter();
    let tokens = tokens
        .filter(|written| written.kind() == "RequestAuthentication")
        .count();
    if custom > 0 {
        output::line(&format!(
            "note: {} for a provider: only filters whose configuration names it in `customProviders` take the \
             bundle, and their proxy has to ask it",
            counted(custom, "CUSTOM policy is", "CUSTOM policies are"),
        ))?;
    }
    if tokens > 0 {
        output::line(&format!(
            "note: {} for the proxy, which must have it in its own configuration",
            counted(
                tokens,
                "RequestAuthentication is",
                "RequestAuthentications are"
            ),
        ))?;
    }
    Ok(())
}

impl Row for Change {
    const HEADS: &'static [&'static str] = &["change", "kind", "namespace", "name"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.change.to_owned(),
            self.kind.clone(),
            self.namespace.clone(),
            self.name.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(name: &str) -> Name {
        let kind = "AuthorizationPolicy".to_owned();
        (kind, "default".to_owned(), name.to_owned())
    }

    #[test]
    fn says_what_comes_what_goes_and_what_differs() {
        let (one, two) = (json!({"spec": 1}), json!({"spec": 2}));
        let before = [("kept", &one), ("gone", &one), ("other", &one)];
        let before = before.map(|(text, policy)| (name(text), policy.clone()));
        let after = [("kept", &one), ("new", &one), ("other", &two)];
        let after = after.map(|(text, policy)| (name(text), policy));
        let found = changes(&before.into(), &after.into());
        let found: Vec<_> = found
            .iter()
            .map(|change| (change.change, change.name.as_str()))
            .collect();
        assert_eq!(
            found,
            [("added", "new"), ("changed", "other"), ("removed", "gone")]
        );
    }
}
