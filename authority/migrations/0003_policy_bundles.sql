-- Policy bundles as they are published, one row a name. A sequence only grows.
CREATE TABLE policy_bundles (
    name          TEXT    NOT NULL PRIMARY KEY,
    sequence      INTEGER NOT NULL,
    sha256        TEXT    NOT NULL,
    published_at  INTEGER NOT NULL,
    operator      TEXT    NOT NULL,
    body          BLOB    NOT NULL
) STRICT;

-- Who published what, and when.
CREATE TABLE policy_bundle_changes (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    sequence  INTEGER NOT NULL,
    sha256    TEXT    NOT NULL,
    size      INTEGER NOT NULL,
    operator  TEXT    NOT NULL
) STRICT;
