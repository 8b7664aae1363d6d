//! `countersign policy published`: which policy bundles there are, and what is in them.

use api::admin::{GetPolicyBundleRequest, ListPolicyBundlesRequest, PolicyBundle};
use identity::policy_bundle::BundleName;
use serde::Serialize;
use serde_json::{Value, json};

use crate::admin;
use crate::args::AdminArgs;
use crate::commands::now;
use crate::failure::Failure;
use crate::output::{self, Format, Row, duration};

pub(super) async fn run(
    at: &AdminArgs,
    format: Format,
    name: Option<&BundleName>,
) -> Result<(), Failure> {
    let mut admin = admin::connect(at).await?;
    let Some(name) = name else {
        let answer = admin
            .list_policy_bundles(ListPolicyBundlesRequest {})
            .await?
            .into_inner();
        let rows: Vec<_> = answer.bundles.into_iter().map(Published::from).collect();
        return output::list(format, &rows);
    };
    let request = GetPolicyBundleRequest {
        name: name.to_string(),
    };
    let answer = admin.get_policy_bundle(request).await?.into_inner();
    let policies: Vec<Value> = serde_json::from_slice(&answer.policies)
        .map_err(|error| Failure::part(format!("the published bundle {name}"), error))?;
    if format != Format::Table {
        // As other tools write several resources, and `policy publish` reads them.
        let list = json!({"apiVersion": "v1", "kind": "List", "items": policies});
        return output::object(format, &list, Vec::new());
    }
    let rows: Vec<_> = policies.into_iter().map(Policy).collect();
    output::list(format, &rows)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    name: String,
    epoch: u64,
    sequence: u64,
    sha256: String,
    bytes: u64,
    published_at: i64,
    operator: String,
}

impl From<PolicyBundle> for Published {
    fn from(bundle: PolicyBundle) -> Self {
        let PolicyBundle {
            name,
            epoch,
            sequence,
            sha256,
            size,
            published_at,
            operator,
        } = bundle;
        Self {
            name,
            epoch,
            sequence,
            sha256,
            bytes: size,
            published_at,
            operator,
        }
    }
}

impl Row for Published {
    const HEADS: &'static [&'static str] =
        &["name", "sequence", "bytes", "published", "by", "sha256"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.sequence.to_string(),
            self.bytes.to_string(),
            format!("{} ago", duration(now().saturating_sub(self.published_at))),
            self.operator.clone(),
            self.sha256.clone(),
        ]
    }
}

/// A policy as it is published.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Policy(Value);

impl Row for Policy {
    const HEADS: &'static [&'static str] = &["kind", "namespace", "name"];

    fn cells(&self) -> Vec<String> {
        ["/kind", "/metadata/namespace", "/metadata/name"]
            .map(|pointer| {
                let text = self.0.pointer(pointer).and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            })
            .into()
    }
}
