//! Rules and requests of a running authority.

use api::issuance::{GetRulesRequest, ListRequestsRequest};
use authority::issuance::Replay;
use serde::Serialize;

use crate::admin;
use crate::args::AdminArgs;
use crate::failure::Failure;
use crate::output::{self, Format};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    source: String,
    sha256: String,
    trust_domain: String,
    default_ttl_seconds: i64,
    max_ttl_seconds: i64,
    reloads: u64,
    refused: u64,
}

pub(super) async fn show(admin: &AdminArgs, format: Format, text: bool) -> Result<(), Failure> {
    let mut client = admin::issuance(admin).await?;
    let answer = client.get_rules(GetRulesRequest {}).await?.into_inner();
    if text {
        return output::line(answer.text.trim_end());
    }
    let rules = Rules {
        source: answer.source,
        sha256: answer.sha256,
        trust_domain: answer.trust_domain,
        default_ttl_seconds: answer.default_ttl_seconds,
        max_ttl_seconds: answer.max_ttl_seconds,
        reloads: answer.reloads,
        refused: answer.refused,
    };
    let fields = vec![
        ("source", rules.source.clone()),
        ("sha256", rules.sha256.clone()),
        ("trust domain", rules.trust_domain.clone()),
        (
            "default lifetime",
            output::duration(rules.default_ttl_seconds),
        ),
        ("longest lifetime", output::duration(rules.max_ttl_seconds)),
        ("reloads", rules.reloads.to_string()),
        ("refused contents", rules.refused.to_string()),
    ];
    output::object(format, &rules, fields)
}

pub(super) async fn requests(admin: &AdminArgs, last: u32) -> Result<(), Failure> {
    for request in self::last(admin, last).await? {
        let line = serde_json::to_string(&request)
            .map_err(|error| Failure::Serialize(error.to_string()))?;
        output::line(&line)?;
    }
    Ok(())
}

/// The last requests, newest first.
pub(super) async fn last(admin: &AdminArgs, limit: u32) -> Result<Vec<Replay>, Failure> {
    let mut client = admin::issuance(admin).await?;
    let answer = client.list_requests(ListRequestsRequest { limit }).await?;
    answer
        .into_inner()
        .requests
        .into_iter()
        .map(|noted| {
            Ok(Replay {
                at: noted.at,
                facts: serde_json::from_str(&noted.facts_json)
                    .map_err(|error| Failure::part("request of the authority", error))?,
                allowed: Some(noted.allowed),
                rule: Some(noted.rule).filter(|rule| !rule.is_empty()),
            })
        })
        .collect()
}
