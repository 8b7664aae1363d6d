-- The authority's record. Times are seconds since the Unix epoch, digests and serial numbers
-- lower-case hex.

-- What this file belongs to; one row.
CREATE TABLE identity_of_store (
    only          INTEGER PRIMARY KEY CHECK (only = 1),
    trust_domain  TEXT    NOT NULL
) STRICT;

-- Certificates of the authority itself, by digest.
CREATE TABLE issuers (
    sha256      TEXT    NOT NULL PRIMARY KEY,
    subject     TEXT    NOT NULL,
    serial      TEXT    NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    first_seen  INTEGER NOT NULL,
    pem         TEXT    NOT NULL
) STRICT;

-- Every certificate that ever left.
CREATE TABLE certificates (
    id             INTEGER PRIMARY KEY,
    serial         TEXT    NOT NULL UNIQUE,
    sha256         TEXT    NOT NULL UNIQUE,
    spiffe_id      TEXT    NOT NULL,
    issuer_sha256  TEXT    NOT NULL,
    key_type       TEXT    NOT NULL,
    spki_sha256    TEXT    NOT NULL,
    not_before     INTEGER NOT NULL,
    not_after      INTEGER NOT NULL,
    issued_at      INTEGER NOT NULL,
    caller         TEXT    NOT NULL,
    proof          TEXT    NOT NULL,
    entry_id       TEXT,
    state          TEXT    NOT NULL DEFAULT 'good' CHECK (state IN ('good', 'suspended', 'revoked')),
    state_since    INTEGER NOT NULL,
    reason         TEXT    NOT NULL DEFAULT '',
    der            BLOB    NOT NULL
) STRICT;
CREATE INDEX certificates_by_identity ON certificates (spiffe_id, not_after);
CREATE INDEX certificates_by_expiry ON certificates (not_after);
CREATE INDEX certificates_by_key ON certificates (spki_sha256);
CREATE INDEX certificates_not_good ON certificates (state, not_after) WHERE state <> 'good';
CREATE INDEX certificates_suspended ON certificates (spiffe_id, not_after) WHERE state = 'suspended';

-- Who changed which certificate, and why.
CREATE TABLE state_changes (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    serial    TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    operator  TEXT    NOT NULL
) STRICT;

-- Registration entries: the agent parent_id may obtain certificates of spiffe_id.
CREATE TABLE entries (
    id           TEXT    NOT NULL PRIMARY KEY,
    parent_id    TEXT    NOT NULL,
    spiffe_id    TEXT    NOT NULL,
    selectors    TEXT    NOT NULL,
    ttl_seconds  INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    UNIQUE (parent_id, spiffe_id, selectors)
) STRICT;
CREATE INDEX entries_by_identity ON entries (spiffe_id);

-- Join tokens, by the SHA-256 of the token; the token itself is never stored.
CREATE TABLE join_tokens (
    hash        TEXT    NOT NULL PRIMARY KEY,
    spiffe_id   TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    spent_at    INTEGER,
    spent_spki  TEXT,
    serial      TEXT
) STRICT;

-- Requests turned down; the oldest go when there are too many.
CREATE TABLE refusals (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    caller     TEXT    NOT NULL,
    spiffe_id  TEXT    NOT NULL,
    code       TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    alarm      INTEGER NOT NULL
) STRICT;

-- Head of the deny list. Counted up before a list is signed, so no number is ever used twice.
CREATE TABLE deny_list_head (
    only      INTEGER PRIMARY KEY CHECK (only = 1),
    epoch     INTEGER NOT NULL,
    sequence  INTEGER NOT NULL
) STRICT;
INSERT INTO deny_list_head (only, epoch, sequence) VALUES (1, 1, 0);
