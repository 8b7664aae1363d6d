//! What can be searched by.

/// A table that is searched.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) table: &'static str,
    /// Its column of rows' numbers.
    pub(super) number: &'static str,
    pub(super) fields: &'static [Field],
    /// Whether names that are no fields are metadata.
    pub(super) has_metadata: bool,
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name in queries.
    pub(super) name: &'static str,
    pub(super) column: &'static str,
    pub(super) kind: Kind,
    /// The index over it and the row's number; none where the database finds it by itself.
    pub(super) index: Option<&'static str>,
    /// Which field leads first where nothing else tells: the fewer rows have one value, the earlier.
    pub(super) rank: u8,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Text, compared byte by byte.
    Text,
    /// Lower-case hex; colons and upper case are taken as people write them.
    Hex,
    /// A whole number.
    Number,
    /// A time to come: a duration is the time left.
    Future,
    /// A time that has passed: a duration is the age.
    Past,
    /// A certificate's state.
    State,
    /// `true` or `false`.
    Flag,
}

const fn field(
    name: &'static str,
    column: &'static str,
    kind: Kind,
    index: Option<&'static str>,
    rank: u8,
) -> Field {
    Field {
        name,
        column,
        kind,
        index,
        rank,
    }
}

/// Certificates.
pub(super) static CERTIFICATES: Schema = Schema {
    table: "certificates",
    number: "certificates.id",
    has_metadata: true,
    fields: &[
        field("serial", "serial", Kind::Hex, None, 0),
        field("sha256", "sha256", Kind::Hex, None, 0),
        field(
            "spki",
            "spki_sha256",
            Kind::Hex,
            Some("certificates_by_key"),
            1,
        ),
        field("pod", "pod", Kind::Text, Some("certificates_in_pod"), 2),
        field(
            "address",
            "address",
            Kind::Text,
            Some("certificates_in_address"),
            3,
        ),
        field(
            "identity",
            "spiffe_id",
            Kind::Text,
            Some("certificates_in_identity"),
            5,
        ),
        field("node", "node", Kind::Text, Some("certificates_in_node"), 6),
        field(
            "caller",
            "caller",
            Kind::Text,
            Some("certificates_in_caller"),
            6,
        ),
        field(
            "state",
            "state",
            Kind::State,
            Some("certificates_in_state"),
            7,
        ),
        field(
            "namespace",
            "namespace",
            Kind::Text,
            Some("certificates_in_namespace"),
            8,
        ),
        field(
            "cluster",
            "cluster",
            Kind::Text,
            Some("certificates_in_cluster"),
            9,
        ),
        field(
            "issuer",
            "issuer_sha256",
            Kind::Hex,
            Some("certificates_in_issuer"),
            10,
        ),
        field(
            "key",
            "key_type",
            Kind::Text,
            Some("certificates_in_key_type"),
            11,
        ),
        field(
            "bits",
            "key_bits",
            Kind::Number,
            Some("certificates_in_key_bits"),
            11,
        ),
        field(
            "alg",
            "signature_algorithm",
            Kind::Text,
            Some("certificates_in_algorithm"),
            12,
        ),
        field(
            "proof",
            "proof",
            Kind::Text,
            Some("certificates_in_proof"),
            12,
        ),
        field(
            "expires",
            "not_after",
            Kind::Future,
            Some("certificates_in_expiry"),
            20,
        ),
        field(
            "issued",
            "issued_at",
            Kind::Past,
            Some("certificates_in_issued"),
            21,
        ),
    ],
};

/// Refusals.
pub(super) static REFUSALS: Schema = Schema {
    table: "refusals",
    number: "refusals.id",
    has_metadata: false,
    fields: &[
        field(
            "caller",
            "caller",
            Kind::Text,
            Some("refusals_in_caller"),
            1,
        ),
        field(
            "identity",
            "spiffe_id",
            Kind::Text,
            Some("refusals_in_identity"),
            2,
        ),
        field("code", "code", Kind::Text, Some("refusals_in_code"), 3),
        field("alarm", "alarm", Kind::Flag, Some("refusals_by_kind"), 4),
        field("at", "at", Kind::Past, Some("refusals_in_time"), 20),
        field("detail", "detail", Kind::Text, None, u8::MAX),
    ],
};

/// Names of the fields of certificates, beside `meta.NAME`.
pub const CERTIFICATE_FIELDS: &str = "serial, sha256, spki, pod, address, identity, node, caller, \
     state, namespace, cluster, issuer, key, bits, alg, proof, expires, issued, meta.NAME";
/// Names of the fields of refusals.
pub const REFUSAL_FIELDS: &str = "caller, identity, code, alarm, at, detail";

impl Field {
    /// Whether an index of it can lead.
    pub(super) const fn is_indexed(&self) -> bool {
        self.rank < u8::MAX
    }
}
