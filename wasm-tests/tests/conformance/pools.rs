//! What generated policies and requests are put together from. Values of policies and of requests are chosen so
//! that they meet often, and so that what nearly meets is there, too.

pub(crate) const MESHES: &[&[&str]] = &[
    &["cluster.local"],
    &["cluster.local", "old.td"],
    &["td1", "cluster.local", "partner.example"],
];

pub(crate) const SOURCE: &[(&str, &[&str])] = &[
    ("principals", PRINCIPALS),
    ("principals", PRINCIPALS),
    (
        "namespaces",
        &["default", "other", "oth*", "*her", "*", "d*t", "de.ault"],
    ),
    (
        "serviceAccounts",
        &["sleep", "default/httpbin", "other/sleep", "default/sleep"],
    ),
    (
        "trustDomains",
        &[
            "cluster.local",
            "partner.example",
            "*",
            "partner*",
            "*.example",
            "old.td",
            "td1",
        ],
    ),
    ("ipBlocks", SOURCES),
    ("remoteIpBlocks", REMOTE_BLOCKS),
    ("requestPrincipals", REQUEST_PRINCIPALS),
];

pub(crate) const OPERATION: &[(&str, &[&str])] = &[
    ("methods", &["GET", "P*", "*T", "*", "get", "DELETE"]),
    ("paths", PATHS),
    ("paths", PATHS),
    ("paths", TEMPLATES),
    ("hosts", HOSTS),
    ("ports", &["80", "443", "8080", "9090", "0", "65535"]),
];

pub(crate) const WHEN: &[(&str, &[&str])] = &[
    (
        "request.headers[x-role]",
        &["admin", "ad*", "*in", "*", "user,admin"],
    ),
    ("request.headers[X-Tenant]", &["Blue", "gr*", "*"]),
    ("request.headers[:method]", &["GET", "P*"]),
    ("request.headers[:path]", &["/admin*", "/a/b"]),
    (
        "request.headers[:authority]",
        &["httpbin.default", "*:8080"],
    ),
    ("source.ip", SOURCES),
    ("remote.ip", REMOTE_BLOCKS),
    ("source.namespace", &["default", "oth*", "*her", "*"]),
    ("source.serviceAccount", &["sleep", "other/sleep"]),
    ("source.principal", PRINCIPALS),
    ("source.trustDomain", &["cluster.local", "part*", "*"]),
    ("request.auth.principal", REQUEST_PRINCIPALS),
    (
        "request.auth.audiences",
        &["shop", "sh*", "*op", "*", "bank"],
    ),
    ("request.auth.presenter", &["phone", "ph*", "*one", "*"]),
    ("request.auth.claims[group]", &["dev", "d*", "*ops", "*"]),
    (
        "request.auth.claims[realm][roles]",
        &["admin", "ad*", "*er", "*"],
    ),
    (
        "request.auth.claims[iss]",
        &["https://issuer.example", "https*"],
    ),
    (
        "destination.ip",
        &[
            "192.0.2.0/24",
            "192.0.2.80",
            "2001:db8:1::/48",
            "10.0.0.0/8",
        ],
    ),
    ("destination.port", &["80", "443", "8080"]),
    (
        "connection.sni",
        &["httpbin.default", "*.httpbin.default", "http*", "*"],
    ),
    (
        "experimental.envoy.filters.a.b[c]",
        &["gold", "go*", "*old", "*", "[gold]", "[go*]"],
    ),
    (
        "experimental.envoy.filters.http.custom[tag]",
        &["gold", "[*ad]", "golden"],
    ),
];

const PRINCIPALS: &[&str] = &[
    "cluster.local/ns/default/sa/sleep",
    "cluster.local/ns/default/sa/httpbin",
    "cluster.local/ns/default/*",
    "cluster.local/*",
    "old.td/ns/default/sa/sleep",
    "td1/ns/default/sa/sleep",
    "*.td/ns/default/sa/sleep",
    "*/sa/sleep",
    "*sleep",
    "partner.example/billing/eu",
    "partner.example*",
    "cluster*/ns/default/sa/sleep",
    "*",
];

const SOURCES: &[&str] = &[
    "127.1.0.0/16",
    "127.1.2.3",
    "127.200.0.1/9",
    "10.0.0.0/8",
    "2001:db8::/32",
    "0.0.0.0/0",
];
const REMOTE_BLOCKS: &[&str] = &[
    "10.0.0.0/8",
    "192.0.2.7",
    "203.0.113.0/24",
    "2001:db8::/32",
    "2001:db8::1",
    "0.0.0.0/0",
    "::/0",
];
const REQUEST_PRINCIPALS: &[&str] = &[
    "*",
    "https://issuer.example/*",
    "https://issuer.example/alice",
    "https://issuer.example/al*",
    "*/alice",
    "*.example/alice",
    "*ice",
    "https*",
    "issuer",
    "https://other.example/x/bob",
];
const PATHS: &[&str] = &[
    "/", "/admin", "/admin*", "/admin/*", "*.html", "/a/b", "*/b", "*", "/a;x", "/%61dmin", "/A/b",
];
const TEMPLATES: &[&str] = &[
    "/store/{*}/cart",
    "/store/{**}/cart",
    "/store/{**}",
    "/{*}",
    "/a/{*}",
    "/{**}/b",
    "/admin/{**}",
];
const HOSTS: &[&str] = &[
    "httpbin.default",
    "httpbin.default:*",
    "HTTPBIN.default:8080",
    "*.default",
    "*.default:8080",
    "other*",
    "*",
    "[2001:db8::1]:8080",
];

pub(crate) const IDENTITIES: &[&str] = &[
    "spiffe://cluster.local/ns/default/sa/sleep",
    "spiffe://cluster.local/ns/default/sa/sleep",
    "spiffe://cluster.local/ns/default/sa/httpbin",
    "spiffe://cluster.local/ns/other/sa/sleep",
    "spiffe://cluster.local/ns/default/sa/sleeper",
    "spiffe://cluster.local/ns/default/cluster/c1/sa/sleep/pod/p",
    "spiffe://cluster.local/team/ns/other/x",
    "spiffe://old.td/ns/default/sa/sleep",
    "spiffe://td1/ns/default/sa/sleep",
    "spiffe://partner.example/ns/default/sa/sleep",
    "spiffe://partner.example/billing/eu",
];
pub(crate) const REMOTES: &[&str] = &[
    "10.1.1.1",
    "192.0.2.7",
    "203.0.113.9",
    "2001:db8::1",
    "2001:db9::1",
];
pub(crate) const DESTINATIONS: &[&str] =
    &["192.0.2.80", "192.0.2.81", "10.9.9.9", "2001:db8:1::80"];
pub(crate) const REQUEST_PATHS: &[&str] = &[
    "/",
    "/admin",
    "/admin/",
    "/admin/x?y=/",
    "/admin#x",
    "/adminx",
    "/a/b",
    "/A/b",
    "/a//b",
    "//a/b",
    "/a%2fb",
    "/a%5cb",
    "/a/../admin",
    "/a/./b",
    "/a/x/../b",
    "/a\\b",
    "/%61dmin",
    "/%2561dmin",
    "/a/%2e%2e/admin",
    "/a;x",
    "/a/..;/admin",
    "/a%zzb",
    "/a%",
    "/index.html",
    "/index.html?x=/admin",
    "/x.html/b",
    "/store/7/cart",
    "/store//cart",
    "/store/cart",
    "/store/a/b/cart",
    "/store/a=b/cart",
    "/store/a%20b/cart",
    "/store/%C3%A9/cart",
    "/store/a|b/cart",
    "/store/a*b/cart",
    "/store/a%2Fb/cart",
    "/store/",
    "/a/~x",
    "/a/b,c",
    "/a/b@c:d",
];
pub(crate) const REQUEST_HOSTS: &[&str] = &[
    "httpbin.default",
    "HTTPBIN.Default",
    "httpbin.default:8080",
    "httpbin.default.",
    "api.default:8080",
    "other.example",
    "[2001:db8::1]:8080",
    "default",
];
pub(crate) const REQUEST_HEADERS: &[(&str, &[&str])] = &[
    (
        "x-role",
        &["admin", "user", "user,admin", "", "administrator", "ADMIN"],
    ),
    ("X-Role", &["admin", "user"]),
    ("x-tenant", &["Blue", "blue", "green", ""]),
];
pub(crate) const CLAIMS: &[(&[&str], &[&str])] = &[
    (
        &["aud"],
        &[
            r#""shop""#,
            r#"["bank","shop"]"#,
            r#""shopper""#,
            "[]",
            r#"[["shop"]]"#,
        ],
    ),
    (&["azp"], &[r#""phone""#, r#"["phone"]"#, r#""iphone""#]),
    (
        &["group"],
        &[
            r#""dev""#,
            r#"["ops","dev"]"#,
            r#""devops""#,
            "7",
            "true",
            r#"[7,"dev"]"#,
            r#""""#,
        ],
    ),
    (
        &["realm", "roles"],
        &[r#"["admin","user"]"#, r#""owner""#, r#"{"admin":"admin"}"#],
    ),
    (&["realm"], &[r#""admin""#, r#"["roles"]"#]),
];
