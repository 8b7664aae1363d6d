//! Lints over one rule.

use crate::{authorization_policy::Action, resources::Resources, scope::Protocol};

use super::{
    Code, LintContext, Report,
    model::{Field, Part, Policy, Rule},
};

pub(super) fn check(
    policy: &Policy<'_>,
    rule: &Rule<'_>,
    context: &LintContext,
    resources: &Resources,
    report: &mut Report,
) {
    http_on_tcp(policy, rule, context, report);
    without_identity(policy, rule, report);
    any_trust_domain(policy, rule, context, report);
    let reads_tokens = rule.fields().find(|field| field.attribute.is_of_token());
    if let Some(field) = reads_tokens.filter(|_| resources.request_authentication.is_empty()) {
        let message = "looks at tokens, but there is no RequestAuthentication that says which are valid: no \
                       request has one";
        let help = "add the RequestAuthentication to what is checked, or write one";
        report.warn(
            &policy.name,
            &field.path,
            Code::NoRequestAuthentication,
            message.to_owned(),
            help,
        );
    }
}

fn http_on_tcp(policy: &Policy<'_>, rule: &Rule<'_>, context: &LintContext, report: &mut Report) {
    let is_tcp = |field: &&Field<'_>| {
        let known = |port: &String| {
            port.parse()
                .is_ok_and(|port| context.tcp_ports.contains(&port))
        };
        field.attribute.0 == "destination.port" && !field.negated && field.values.iter().any(known)
    };
    let port = rule.fields().find(is_tcp);
    if port.is_none() && context.protocol != Some(Protocol::Tcp) {
        return;
    }
    let effect = match policy.action {
        Action::Allow => "the whole rule is dropped and allows nothing",
        Action::Deny => "the condition is left out and the rule denies more than it says",
        Action::Audit => "the condition is left out and the rule matches more than it says",
        Action::Custom => "a provider that speaks HTTP is not asked",
    };
    let spoken = match port {
        Some(port) => format!("{} names a port of TCP", port.path),
        None => "only TCP is spoken here".to_owned(),
    };
    for field in rule.fields().filter(|field| field.attribute.is_http()) {
        let message = format!("{spoken}, which has no requests: {effect}");
        let help = "write rules for ports of TCP with fields of connections only: sources, ports, connection.sni";
        report.warn(
            &policy.name,
            &field.path,
            Code::HttpFieldOnTcp,
            message,
            help,
        );
    }
}

/// Negative fields hold for whoever has no identity at all.
fn without_identity(policy: &Policy<'_>, rule: &Rule<'_>, report: &mut Report) {
    let of_identity =
        |field: &&Field<'_>| field.attribute.is_of_peer() || field.attribute.is_of_token();
    for part in rule.from.iter().chain([&rule.when]) {
        let fields: Vec<&Field<'_>> = part.fields.iter().filter(of_identity).collect();
        match policy.action {
            Action::Deny => denies(policy, &fields, report),
            Action::Allow => allows(policy, rule, part, &fields, report),
            Action::Audit | Action::Custom => {}
        }
    }
}

fn denies(policy: &Policy<'_>, fields: &[&Field<'_>], report: &mut Report) {
    let is_presence = |value: &String| value == "*" || value == "*/*";
    for field in fields
        .iter()
        .filter(|field| field.negated && field.values.iter().any(is_presence))
    {
        let (who, instead) = if field.attribute.is_of_token() {
            (
                "requests without a valid token",
                "that is how a token is demanded; keep it if it is meant",
            )
        } else {
            (
                "peers without a certificate",
                "that is how mutual TLS is demanded of single rules; of whole ports, PeerAuthentication with mode \
                 STRICT does it",
            )
        };
        let message = format!("matches {who}, and only those");
        report.note(
            &policy.name,
            &field.path,
            Code::DeniesWithoutIdentity,
            message,
            instead,
        );
    }
}

fn allows(
    policy: &Policy<'_>,
    rule: &Rule<'_>,
    part: &Part<'_>,
    fields: &[&Field<'_>],
    report: &mut Report,
) {
    let demands = |field: &Field<'_>| {
        !field.negated
            && (field.attribute.is_of_peer() || field.attribute.is_of_token() || is_address(field))
    };
    let demanded = part.fields.iter().chain(&rule.when.fields).any(demands)
        || (std::ptr::eq(part, &rule.when)
            && !rule.from.is_empty()
            && rule
                .from
                .iter()
                .all(|source| source.fields.iter().any(demands)));
    let Some(field) = fields.first().filter(|_| !demanded) else {
        return;
    };
    let message = "only says who may not: whoever has no identity is let in".to_owned();
    let help = "add who may, at least principals: [\"*\"] (or requestPrincipals: [\"*\"])";
    report.warn(
        &policy.name,
        &field.path,
        Code::AllowsWithoutIdentity,
        message,
        help,
    );
}

fn is_address(field: &Field<'_>) -> bool {
    matches!(field.attribute.0, "source.ip" | "remote.ip")
}

/// A namespace of a federated trust domain may have the same name.
fn any_trust_domain(
    policy: &Policy<'_>,
    rule: &Rule<'_>,
    context: &LintContext,
    report: &mut Report,
) {
    if context.trust_domains.len() < 2 || policy.action != Action::Allow {
        return;
    }
    let names_one = |field: &&Field<'_>| {
        !field.negated && matches!(field.attribute.0, "source.principal" | "source.trustDomain")
    };
    let in_when = rule.when.fields.iter().any(|field| names_one(&field));
    for part in rule.from.iter().chain([&rule.when]) {
        let named = in_when || part.fields.iter().any(|field| names_one(&field));
        let loose = |field: &&Field<'_>| {
            !field.negated
                && matches!(
                    field.attribute.0,
                    "source.namespace" | "source.serviceAccount"
                )
        };
        for field in part.fields.iter().filter(loose).filter(|_| !named) {
            let count = context.trust_domains.len();
            let message =
                format!("takes peers of all {count} trust domains, not only of the mesh's own");
            let help =
                "add trustDomains, or name principals, which have their trust domain in them";
            report.note(
                &policy.name,
                &field.path,
                Code::AnyTrustDomain,
                message,
                help,
            );
        }
    }
}
