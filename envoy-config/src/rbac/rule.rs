//! One rule of a policy as one policy of Envoy.

use policy::{Condition, Operation, Rule, Source};

use super::message::{
    Cidr, Effect, Header, Metadata, Permission, Policy, Principal, Text, UriTemplate,
};
use super::trust_domain::TrustDomains;
use super::values::request_principal;

/// What a rule is translated with.
pub(super) struct Context<'c> {
    pub(super) trust_domains: &'c TrustDomains<'c>,
    /// Namespace of the policy.
    pub(super) namespace: &'c str,
    /// For a network filter, which sees no request.
    pub(super) tcp: bool,
    pub(super) effect: Effect,
}

/// Why a rule has no counterpart in Envoy's RBAC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Untranslatable {
    /// An ALLOW rule that looks at requests, for a network filter: left out, which allows less.
    HttpOnly,
    /// A condition, by its place in `when`, that only our filter knows.
    Condition(usize),
}

/// A written list of one field: the key names its attribute as in `when`.
struct Field<'w> {
    key: &'w str,
    values: &'w [String],
    not_values: &'w [String],
}

/// A positive test of one list.
enum Test {
    Permissions(Vec<Permission>),
    Principals(Vec<Principal>),
    /// Makes its own "one of".
    Permission(Permission),
    Principal(Principal),
}

impl Policy {
    pub(super) fn of(rule: &Rule, context: &Context<'_>) -> Result<Self, Untranslatable> {
        let mut around = (Vec::new(), Vec::new());
        for (index, condition) in rule.when.iter().flatten().enumerate() {
            match context.field(&Field::of(condition), Untranslatable::Condition(index))? {
                Translated::Permissions(permissions) => around.0.extend(permissions),
                Translated::Principals(principals) => around.1.extend(principals),
            }
        }
        let operations = alternatives(rule.to.as_deref(), |to| {
            to.operation.as_ref().map(operation)
        });
        let sources = alternatives(rule.from.as_deref(), |from| {
            from.source.as_ref().map(source)
        });
        let mut policy = Self {
            permissions: Vec::new(),
            principals: Vec::new(),
        };
        for fields in operations {
            let mut all = Vec::new();
            for field in &fields {
                match context.field(field, Untranslatable::HttpOnly)? {
                    Translated::Permissions(permissions) => all.extend(permissions),
                    Translated::Principals(_) => {}
                }
            }
            all.extend(around.0.iter().cloned());
            let rules = or_else(all, Permission::Any(true));
            policy.permissions.push(Permission::AndRules { rules });
        }
        for fields in sources {
            let mut all = Vec::new();
            for field in &fields {
                match context.field(field, Untranslatable::HttpOnly)? {
                    Translated::Principals(principals) => all.extend(principals),
                    Translated::Permissions(_) => {}
                }
            }
            all.extend(around.1.iter().cloned());
            let ids = or_else(all, Principal::Any(true));
            policy.principals.push(Principal::AndIds { ids });
        }
        Ok(policy)
    }

    /// A policy that never matches: what Istio makes of a policy without rules.
    pub(super) fn never() -> Self {
        Self {
            permissions: vec![Permission::NotRule(Box::new(Permission::Any(true)))],
            principals: vec![Principal::NotId(Box::new(Principal::Any(true)))],
        }
    }
}

/// The fields of each alternative; one without fields where there is none.
fn alternatives<'w, A, F: Default>(
    list: Option<&'w [A]>,
    fields: impl Fn(&'w A) -> Option<F>,
) -> Vec<F> {
    match list {
        None | Some([]) => vec![F::default()],
        Some(list) => list
            .iter()
            .map(|item| fields(item).unwrap_or_default())
            .collect(),
    }
}

fn or_else<T>(all: Vec<T>, any: T) -> Vec<T> {
    if all.is_empty() { vec![any] } else { all }
}

fn source(source: &Source) -> Vec<Field<'_>> {
    vec![
        Field::new(
            "source.principal",
            &source.principals,
            &source.not_principals,
        ),
        Field::new(
            "source.trustDomain",
            &source.trust_domains,
            &source.not_trust_domains,
        ),
        Field::new(
            "request.auth.principal",
            &source.request_principals,
            &source.not_request_principals,
        ),
        Field::new(
            "source.serviceAccount",
            &source.service_accounts,
            &source.not_service_accounts,
        ),
        Field::new(
            "source.namespace",
            &source.namespaces,
            &source.not_namespaces,
        ),
        Field::new(
            "remote.ip",
            &source.remote_ip_blocks,
            &source.not_remote_ip_blocks,
        ),
        Field::new("source.ip", &source.ip_blocks, &source.not_ip_blocks),
    ]
}

fn operation(operation: &Operation) -> Vec<Field<'_>> {
    vec![
        Field::new(HOST, &operation.hosts, &operation.not_hosts),
        Field::new(METHOD, &operation.methods, &operation.not_methods),
        Field::new(PATH, &operation.paths, &operation.not_paths),
        Field::new("destination.port", &operation.ports, &operation.not_ports),
    ]
}

// Operation fields that `when` has no key for.
const HOST: &str = ":authority";
const METHOD: &str = ":method";
const PATH: &str = ":path";

impl<'w> Field<'w> {
    fn new(
        key: &'w str,
        values: &'w Option<Vec<String>>,
        not_values: &'w Option<Vec<String>>,
    ) -> Self {
        Self {
            key,
            values: values.as_deref().unwrap_or_default(),
            not_values: not_values.as_deref().unwrap_or_default(),
        }
    }

    fn of(condition: &'w Condition) -> Self {
        Self::new(&condition.key, &condition.values, &condition.not_values)
    }

    fn is_http_only(&self) -> bool {
        matches!(self.key, HOST | METHOD | PATH)
            || self.key.starts_with("request.headers")
            || self.key.starts_with("request.auth.")
    }
}

/// The tests of one field, all of which must hold.
enum Translated {
    Permissions(Vec<Permission>),
    Principals(Vec<Principal>),
}

impl Context<'_> {
    /// The tests of a field; `unknown` if Envoy has none for it.
    fn field(
        &self,
        field: &Field<'_>,
        unknown: Untranslatable,
    ) -> Result<Translated, Untranslatable> {
        let nothing = || Translated::Permissions(Vec::new());
        let (values, not_values) = (field.values, field.not_values);
        if values.is_empty() && not_values.is_empty() {
            return Ok(nothing());
        }
        if self.tcp && field.is_http_only() {
            // Istio drops what TCP cannot answer so that it errs on the side of denying: an ALLOW rule is left
            // out as a whole, of any other rule only the condition, which makes it match more.
            return match self.effect {
                Effect::Allow => Err(Untranslatable::HttpOnly),
                Effect::Deny | Effect::Log => Ok(nothing()),
            };
        }
        let (mut permissions, mut principals) = (Vec::new(), Vec::new());
        for (list, negated) in [(values, false), (not_values, true)] {
            if list.is_empty() {
                continue;
            }
            match self.test(field.key, list).ok_or(unknown)? {
                Test::Permissions(rules) => {
                    permissions.push(negate_rule(Permission::OrRules { rules }, negated))
                }
                Test::Permission(rule) => permissions.push(negate_rule(rule, negated)),
                Test::Principals(ids) => {
                    principals.push(negate_id(Principal::OrIds { ids }, negated))
                }
                Test::Principal(id) => principals.push(negate_id(id, negated)),
            }
        }
        Ok(if principals.is_empty() {
            Translated::Permissions(permissions)
        } else {
            Translated::Principals(principals)
        })
    }

    /// One of `values`; `None` for an attribute Envoy's RBAC does not know.
    fn test(&self, key: &str, values: &[String]) -> Option<Test> {
        let names = |name: fn(&str) -> Text| authenticated(values, name);
        let header = |name: &str| {
            values
                .iter()
                .map(|value| Header::new(name, value))
                .collect::<Vec<_>>()
        };
        Some(match key {
            HOST => permissions(values, |value| Permission::Header(Header::host(value))),
            METHOD => {
                Test::Permissions(header(METHOD).into_iter().map(Permission::Header).collect())
            }
            PATH => permissions(values, path),
            "destination.port" => {
                let ports = values
                    .iter()
                    .map(|port| port.parse().ok().map(Permission::DestinationPort));
                Test::Permissions(ports.collect::<Option<_>>()?)
            }
            "destination.ip" => Test::Permissions(ranges(values, Permission::DestinationIp)?),
            "connection.sni" => permissions(values, |value| {
                Permission::RequestedServerName(Text::pattern(value))
            }),
            "source.ip" => Test::Principals(ranges(values, Principal::DirectRemoteIp)?),
            "remote.ip" => Test::Principals(ranges(values, Principal::RemoteIp)?),
            "source.principal" => {
                authenticated(&self.trust_domains.principals(values), Text::principal)
            }
            "source.trustDomain" => authenticated(
                &self.trust_domains.trust_domains(values),
                Text::trust_domain,
            ),
            "source.namespace" => names(Text::namespace),
            "source.serviceAccount" => {
                let name = |value: &String| Principal::Authenticated {
                    principal_name: Text::service_account(value, self.namespace),
                };
                Test::Principals(values.iter().map(name).collect())
            }
            "request.auth.principal" => Test::Principal(request_principals(values)),
            "request.auth.audiences" => {
                Test::Principal(Principal::Metadata(Metadata::claims(["aud"], values)))
            }
            "request.auth.presenter" => {
                Test::Principal(Principal::Metadata(Metadata::claims(["azp"], values)))
            }
            key => {
                let (map, path) = bracketed(key)?;
                match (map, path.as_slice()) {
                    ("request.headers", [name]) => {
                        Test::Principals(header(name).into_iter().map(Principal::Header).collect())
                    }
                    ("request.auth.claims", path) => Test::Principal(Principal::Metadata(
                        Metadata::claims(path.iter().copied(), values),
                    )),
                    (map, [name]) if map.starts_with("experimental.envoy.filters.") => {
                        let filter = map.strip_prefix("experimental.")?;
                        Test::Permission(Permission::Metadata(Metadata::of_filter(
                            filter, name, values,
                        )))
                    }
                    _ => return None,
                }
            }
        })
    }
}

fn permissions(values: &[String], permission: impl Fn(&str) -> Permission) -> Test {
    Test::Permissions(values.iter().map(|value| permission(value)).collect())
}

fn authenticated(values: &[String], name: impl Fn(&str) -> Text) -> Test {
    let principal = |value: &String| Principal::Authenticated {
        principal_name: name(value),
    };
    Test::Principals(values.iter().map(principal).collect())
}

fn ranges<T>(values: &[String], of: impl Fn(Cidr) -> T) -> Option<Vec<T>> {
    values
        .iter()
        .map(|value| Cidr::parse(value).map(&of))
        .collect()
}

fn path(value: &str) -> Permission {
    if value.contains("{*}") || value.contains("{**}") {
        let template = value.replace("{**}", "**").replace("{*}", "*");
        return Permission::UriTemplate(UriTemplate::new(template));
    }
    Permission::UrlPath {
        path: Text::pattern(value),
    }
}

fn request_principals(values: &[String]) -> Principal {
    let one = |value: &String| {
        let (issuer, subject) = request_principal(value);
        let claims = [("iss", issuer), ("sub", subject)];
        let ids = claims.map(|(name, text)| Principal::Metadata(Metadata::claim(name, text)));
        Principal::AndIds { ids: ids.into() }
    };
    match values {
        [only] => one(only),
        values => Principal::OrIds {
            ids: values.iter().map(one).collect(),
        },
    }
}

fn negate_rule(rule: Permission, negated: bool) -> Permission {
    if negated {
        Permission::NotRule(Box::new(rule))
    } else {
        rule
    }
}

fn negate_id(id: Principal, negated: bool) -> Principal {
    if negated {
        Principal::NotId(Box::new(id))
    } else {
        id
    }
}

/// `map[a][b]` as `map` and `a`, `b`.
fn bracketed(key: &str) -> Option<(&str, Vec<&str>)> {
    let (map, rest) = key.split_once('[')?;
    let inner = rest.strip_suffix(']')?;
    Some((map, inner.split("][").collect()))
}
