-- The issuance rule that allowed a certificate; empty for those from before there were rules.
ALTER TABLE certificates ADD COLUMN rule TEXT NOT NULL DEFAULT '';

-- The last requests as rules saw them, for dry runs of other rules; the oldest go.
CREATE TABLE issuance_requests (
    id       INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    facts    TEXT    NOT NULL,
    allowed  INTEGER NOT NULL,
    rule     TEXT    NOT NULL
) STRICT;
