//! `when`: attribute keys and their values.

use crate::{
    authorization_policy as schema,
    error::Problem,
    rule::{Condition, Field},
};

use super::{
    fields::{Fields, Kind},
    report::{Path, Report},
};

/// Appends the conditions that `written` stands for: one for `values`, one for `notValues`.
pub(super) fn compile(
    index: usize,
    written: &schema::Condition,
    fields: &Fields<'_>,
    path: &Path,
    report: &mut Report,
    into: &mut Vec<Condition>,
) {
    if written.values.is_none() && written.not_values.is_none() {
        report.problem(
            path,
            Problem::Missing {
                expected: "values or notValues",
            },
        );
    }
    let lists = [
        ("values", &written.values, false),
        ("notValues", &written.not_values, true),
    ];
    for (name, values, negated) in lists {
        let Some(values) = values else { continue };
        let kind = match kind(&written.key) {
            Ok(kind) => kind,
            // Once is enough; it is the key that is wrong.
            Err(problem) => return report.problem(&path.field("key"), problem),
        };
        if let Some(test) = fields.test(kind, values, &path.field(name), report) {
            into.push(Condition {
                field: Field::When(index, name),
                negated,
                test,
            });
        }
    }
}

/// Istio's attribute names, security.istio.io "Authorization Policy Conditions".
fn kind(key: &str) -> Result<Kind, Problem> {
    Ok(match key {
        "source.ip" => Kind::SourceIp,
        "source.namespace" => Kind::Namespace,
        "source.serviceAccount" => Kind::ServiceAccount,
        "source.principal" => Kind::Principal,
        "destination.ip" => Kind::DestinationIp,
        "destination.port" => Kind::DestinationPort,
        "connection.sni" => Kind::Sni,
        "" => {
            return Err(Problem::Missing {
                expected: "the attribute's name",
            });
        }
        "remote.ip"
        | "source.trustDomain"
        | "request.auth.principal"
        | "request.auth.audiences"
        | "request.auth.presenter" => return Err(not_supported(key)),
        _ => return map_kind(key),
    })
}

/// Keys of the form `map[key]`.
fn map_kind(key: &str) -> Result<Kind, Problem> {
    let unknown = || Problem::UnknownKey {
        key: key.to_owned(),
    };
    let (map, rest) = key.split_once('[').ok_or_else(unknown)?;
    let name = rest
        .strip_suffix(']')
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            let expected = "an attribute of the form name[key]";
            Problem::Invalid {
                value: key.to_owned(),
                expected,
            }
        })?;
    match map {
        "request.headers" if is_header_name(name) => {
            Ok(Kind::Header(name.to_ascii_lowercase().into()))
        }
        "request.headers" => {
            let expected = "a header's name";
            Err(Problem::Invalid {
                value: name.to_owned(),
                expected,
            })
        }
        "request.auth.claims" => Err(not_supported(key)),
        map if map.starts_with("experimental.") => Err(not_supported(key)),
        _ => Err(unknown()),
    }
}

fn not_supported(key: &str) -> Problem {
    Problem::NotSupportedYet {
        what: key.to_owned(),
    }
}

/// RFC 9110 §5.1 token, or a pseudo-header of it.
fn is_header_name(name: &str) -> bool {
    let token = name.strip_prefix(':').unwrap_or(name);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !token.is_empty() && token.bytes().all(is_token)
}
