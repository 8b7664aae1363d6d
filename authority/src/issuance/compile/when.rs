//! Conditions.

use crate::issuance::at::At;
use crate::issuance::compile::{MAX_DEPTH, Problems};
use crate::issuance::condition::{Condition, Test};
use crate::issuance::glob::Glob;
use crate::issuance::schema;
use crate::issuance::window::{self, Window};
use crate::issue::Proof;

/// Compiles a condition. `path` is where it stands in the file, `short` where in its rule.
pub(super) fn condition(
    raw: &schema::Condition,
    path: &str,
    short: &str,
    depth: usize,
    problems: &mut Problems<'_>,
) -> Condition {
    let mut parts = Vec::new();
    let part = |field: &str, test| Condition {
        path: format!("{short}.{field}"),
        test,
    };
    if let Some(names) = &raw.proof {
        let names = texts(names, &format!("{path}.proof"), problems, is_proof_name);
        parts.push(part("proof", Test::Proof(names)));
    }
    if let Some(selectors) = &raw.selectors {
        let patterns = texts(
            selectors,
            &format!("{path}.selectors"),
            problems,
            is_selector,
        );
        for (index, pattern) in patterns.iter().enumerate() {
            let test = Test::Selector(Glob::new(pattern));
            parts.push(part(&format!("selectors[{index}]"), test));
        }
    }
    for (field, ids) in [
        ("callerId", &raw.caller_id),
        ("requestedId", &raw.requested_id),
    ] {
        if let Some(ids) = ids {
            let ids = texts(ids, &format!("{path}.{field}"), problems, is_id_pattern);
            let ids = ids.iter().map(|id| Glob::path(id)).collect();
            let test = match field {
                "callerId" => Test::CallerId(ids),
                _ => Test::RequestedId(ids),
            };
            parts.push(part(field, test));
        }
    }
    if let Some(time) = &raw.time {
        let window = time_window(time, &format!("{path}.time"), problems);
        parts.push(part("time", Test::Time(window)));
    }
    nested(raw, (path, short), depth, &mut parts, problems);
    Condition {
        path: short.to_owned(),
        test: Test::All(parts),
    }
}

fn nested(
    raw: &schema::Condition,
    (path, short): (&str, &str),
    depth: usize,
    parts: &mut Vec<Condition>,
    problems: &mut Problems<'_>,
) {
    let too_deep = |at: &At<schema::Condition>, path: &str, problems: &mut Problems<'_>| {
        let is = depth >= MAX_DEPTH;
        if is {
            problems.at(at, path, format!("is nested deeper than {MAX_DEPTH}"));
        }
        is
    };
    for (field, list) in [("all", &raw.all), ("any", &raw.any)] {
        let Some(list) = list else { continue };
        let place = list.first().map(|first| At {
            value: (),
            line: first.line,
            column: first.column,
        });
        if !problems.list(list, &place.unwrap_or_default(), &format!("{path}.{field}")) {
            continue;
        }
        let mut inner = Vec::new();
        for (index, one) in list.iter().enumerate() {
            let step = format!("{field}[{index}]");
            let path = format!("{path}.{step}");
            if !too_deep(one, &path, problems) {
                let short = format!("{short}.{step}");
                inner.push(condition(&one.value, &path, &short, depth + 1, problems));
            }
        }
        let test = match field {
            "all" => Test::All(inner),
            _ => Test::Any(inner),
        };
        parts.push(Condition {
            path: format!("{short}.{field}"),
            test,
        });
    }
    if let Some(not) = &raw.not {
        let path = format!("{path}.not");
        if !too_deep(not, &path, problems) {
            let inner = condition(
                &not.value,
                &path,
                &format!("{short}.not"),
                depth + 1,
                problems,
            );
            parts.push(Condition {
                path: format!("{short}.not"),
                test: Test::Not(Box::new(inner)),
            });
        }
    }
}

fn texts(
    list: &[At<String>],
    path: &str,
    problems: &mut Problems<'_>,
    check: fn(&str) -> Result<(), &'static str>,
) -> Vec<String> {
    let place = list.first().map(|first| At {
        value: (),
        line: first.line,
        column: first.column,
    });
    problems.list(list, &place.unwrap_or_default(), path);
    for (index, text) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if problems.text(text, &path)
            && let Err(problem) = check(&text.value)
        {
            problems.at(text, &path, format!("{problem}: {:?}", text.value));
        }
    }
    list.iter().map(|text| text.value.clone()).collect()
}

fn is_proof_name(text: &str) -> Result<(), &'static str> {
    // A deny rule with a name that no proof has would never deny.
    let is_known = Proof::ALL.iter().any(|proof| proof.as_str() == text);
    is_known.then_some(()).ok_or(
        "is no proof: expected join_token, client_certificate, kubernetes, oidc, x509pop, operator \
         or authority",
    )
}

fn is_selector(text: &str) -> Result<(), &'static str> {
    let (kind, value) = text
        .split_once(':')
        .ok_or("is no selector: expected `type:value`")?;
    if kind.is_empty() || value.is_empty() {
        return Err("is no selector: type or value is empty");
    }
    // A pattern of types would also stand for proofs that are not known yet.
    if kind.contains('*') {
        return Err("has `*` in its type, which must be written out");
    }
    Ok(())
}

fn is_id_pattern(text: &str) -> Result<(), &'static str> {
    let rest = text
        .strip_prefix("spiffe://")
        .ok_or("is no pattern of a SPIFFE ID: expected `spiffe://…`")?;
    let trust_domain = rest.split('/').next().unwrap_or_default();
    if trust_domain.is_empty() || trust_domain.contains('*') {
        return Err("has no trust domain, or `*` in it, which must be written out");
    }
    let mut segments = rest.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.contains("**") && !(is_last && segment == "**") {
            return Err("has `**` elsewhere than as its last segment");
        }
        if segment.is_empty() {
            return Err("has an empty segment");
        }
    }
    Ok(())
}

fn time_window(raw: &At<schema::TimeWindow>, path: &str, problems: &mut Problems<'_>) -> Window {
    let mut instant = |field: &str, text: &Option<At<String>>| {
        let text = text.as_ref()?;
        let found = window::instant(&text.value);
        if found.is_none() {
            let problem = format!("is no time such as 2027-01-15T08:00:00Z: {:?}", text.value);
            problems.at(text, &format!("{path}.{field}"), problem);
        }
        found
    };
    let not_before = instant("notBefore", &raw.value.not_before);
    let not_after = instant("notAfter", &raw.value.not_after);
    if let (Some(first), Some(last)) = (not_before, not_after)
        && first > last
    {
        problems.at(raw, path, "ends before it begins");
    }
    let mut minute = |field: &str, text: &At<String>| {
        let found = window::minute(&text.value);
        if found.is_none() {
            let problem = format!("is no time of day such as 08:30: {:?}", text.value);
            problems.at(text, &format!("{path}.{field}"), problem);
        }
        found
    };
    let minutes = match (&raw.value.from, &raw.value.to) {
        (Some(from), Some(to)) => minute("from", from).zip(minute("to", to)),
        (None, None) => None,
        _ => {
            problems.at(raw, path, "has only one of `from` and `to`");
            None
        }
    };
    if minutes.is_some_and(|(from, to)| from == to) {
        problems.at(raw, path, "ends in the minute it begins");
    }
    Window {
        not_before,
        not_after,
        weekdays: raw.value.weekdays.clone(),
        minutes,
    }
}
