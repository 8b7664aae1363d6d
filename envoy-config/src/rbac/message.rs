//! The part of `envoy.config.rbac.v3` that policies translate to, field for field.

use std::collections::BTreeMap;

use serde::Serialize;

/// `RBAC`. As in protobuf's JSON form, what has its default value is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct RuleSet {
    #[serde(skip_serializing_if = "Effect::is_default")]
    pub(super) action: Effect,
    /// Envoy looks at them in byte order of their ids and reports the first that matches.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) policies: BTreeMap<String, Policy>,
}

/// `RBAC.Action`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Effect {
    #[default]
    Allow,
    Deny,
    Log,
}

impl Effect {
    fn is_default(&self) -> bool {
        *self == Self::Allow
    }
}

/// `Policy`: one of the permissions and one of the principals.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Policy {
    pub(super) permissions: Vec<Permission>,
    pub(super) principals: Vec<Principal>,
}

/// `Permission`: what is done to whom it is done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Permission {
    AndRules { rules: Vec<Self> },
    OrRules { rules: Vec<Self> },
    NotRule(Box<Self>),
    Any(bool),
    Header(Header),
    UrlPath { path: Text },
    UriTemplate(UriTemplate),
    DestinationIp(Cidr),
    DestinationPort(u16),
    RequestedServerName(Text),
    Metadata(Metadata),
}

/// `Principal`: who does it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Principal {
    AndIds { ids: Vec<Self> },
    OrIds { ids: Vec<Self> },
    NotId(Box<Self>),
    Any(bool),
    Authenticated { principal_name: Text },
    DirectRemoteIp(Cidr),
    RemoteIp(Cidr),
    Header(Header),
    Metadata(Metadata),
}

/// `envoy.config.route.v3.HeaderMatcher`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Header {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) test: HeaderTest,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HeaderTest {
    StringMatch(Text),
    PresentMatch(bool),
}

/// `envoy.type.matcher.v3.StringMatcher`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Text {
    #[serde(flatten)]
    pub(super) test: TextTest,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) ignore_case: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TextTest {
    Exact(String),
    Prefix(String),
    Suffix(String),
    SafeRegex { regex: String },
}

/// `envoy.config.core.v3.CidrRange`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cidr {
    pub(super) address_prefix: String,
    pub(super) prefix_len: u8,
}

/// `envoy.type.matcher.v3.MetadataMatcher`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Metadata {
    pub(super) filter: String,
    pub(super) path: Vec<Segment>,
    pub(super) value: Value,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Segment {
    pub(super) key: String,
}

/// `envoy.type.matcher.v3.ValueMatcher`.
#[expect(clippy::enum_variant_names, reason = "named as in the message")]
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Value {
    StringMatch(Text),
    ListMatch { one_of: Box<Self> },
    OrMatch { value_matchers: Vec<Self> },
}

/// The extension that matches path templates.
#[derive(Clone, Debug, Serialize)]
pub(super) struct UriTemplate {
    name: &'static str,
    typed_config: TemplateConfig,
}

#[derive(Clone, Debug, Serialize)]
struct TemplateConfig {
    #[serde(rename = "@type")]
    type_url: &'static str,
    path_template: String,
}

impl UriTemplate {
    pub(super) fn new(path_template: String) -> Self {
        Self {
            name: "uri-template",
            typed_config: TemplateConfig {
                type_url: "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                path_template,
            },
        }
    }
}
