-- The audit log: leaves of a Merkle tree (RFC 6962), appended in the transaction that writes what they tell of.
CREATE TABLE audit_leaves (
    position  INTEGER NOT NULL PRIMARY KEY,
    hash      BLOB    NOT NULL,
    body      TEXT    NOT NULL
) STRICT;

-- Roots of complete subtrees, at every eighth level; what lies between is computed from these.
CREATE TABLE audit_nodes (
    level     INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    hash      BLOB    NOT NULL,
    PRIMARY KEY (level, position)
) STRICT;

-- Signed tree heads.
CREATE TABLE audit_heads (
    size  INTEGER NOT NULL PRIMARY KEY,
    at    INTEGER NOT NULL,
    root  TEXT    NOT NULL,
    note  TEXT    NOT NULL
) STRICT;

-- The leaf that tells of a row; none for what the first leaf commits to.
ALTER TABLE certificates ADD COLUMN leaf INTEGER;
ALTER TABLE state_changes ADD COLUMN leaf INTEGER;
ALTER TABLE entries ADD COLUMN leaf INTEGER;
ALTER TABLE join_tokens ADD COLUMN leaf INTEGER;
ALTER TABLE issuers ADD COLUMN leaf INTEGER;
ALTER TABLE policy_bundle_changes ADD COLUMN leaf INTEGER;
ALTER TABLE refusals ADD COLUMN leaf INTEGER;
CREATE INDEX refusals_without_leaf ON refusals (id) WHERE leaf IS NULL;
CREATE INDEX state_changes_by_serial ON state_changes (serial, id);
