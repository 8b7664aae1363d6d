//! What a hostcall answers.

/// A proxy-wasm status (`proxy_status_t`, and the numbers Envoy's host uses beside it).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// Done.
    Ok,
    /// No such thing.
    NotFound,
    /// An argument that means nothing here.
    BadArgument,
    /// The answer could not be serialized.
    SerializationFailure,
    /// The argument could not be parsed.
    ParseFailure,
    /// An expression that does not evaluate.
    BadExpression,
    /// A pointer outside the guest's memory.
    InvalidMemoryAccess,
    /// Nothing there right now.
    Empty,
    /// Somebody else wrote in between.
    CasMismatch,
    /// A result of another type.
    ResultMismatch,
    /// The host broke.
    InternalFailure,
    /// The connection is gone.
    BrokenConnection,
    /// This host does not do that.
    Unimplemented,
    /// A number no version of the ABI lists.
    Unlisted(u32),
}

impl Status {
    /// Each status a hostcall may answer instead of [`Status::Ok`], and one that is not listed.
    pub const FAILURES: [Self; 13] = [
        Self::NotFound,
        Self::BadArgument,
        Self::SerializationFailure,
        Self::ParseFailure,
        Self::BadExpression,
        Self::InvalidMemoryAccess,
        Self::Empty,
        Self::CasMismatch,
        Self::ResultMismatch,
        Self::InternalFailure,
        Self::BrokenConnection,
        Self::Unimplemented,
        Self::Unlisted(99),
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::NotFound => 1,
            Self::BadArgument => 2,
            Self::SerializationFailure => 3,
            Self::ParseFailure => 4,
            Self::BadExpression => 5,
            Self::InvalidMemoryAccess => 6,
            Self::Empty => 7,
            Self::CasMismatch => 8,
            Self::ResultMismatch => 9,
            Self::InternalFailure => 10,
            Self::BrokenConnection => 11,
            Self::Unimplemented => 12,
            Self::Unlisted(code) => code,
        }
    }
}
