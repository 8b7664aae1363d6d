-- What else is known of a certificate, and what it can be searched by. Unknown is NULL.
ALTER TABLE certificates ADD COLUMN key_bits INTEGER;
ALTER TABLE certificates ADD COLUMN signature_algorithm TEXT;
ALTER TABLE certificates ADD COLUMN cluster TEXT;
ALTER TABLE certificates ADD COLUMN namespace TEXT;
ALTER TABLE certificates ADD COLUMN pod TEXT;
ALTER TABLE certificates ADD COLUMN node TEXT;
ALTER TABLE certificates ADD COLUMN address TEXT;
-- Pairs as a JSON object; the table below is for searching them.
ALTER TABLE certificates ADD COLUMN metadata TEXT;

CREATE TABLE certificate_metadata (
    certificate_id  INTEGER NOT NULL REFERENCES certificates (id),
    name            TEXT    NOT NULL,
    value           TEXT    NOT NULL,
    PRIMARY KEY (certificate_id, name)
) STRICT;
CREATE INDEX certificate_metadata_by_value ON certificate_metadata (name, value, certificate_id);

-- Each field that can be searched, in the order of its pages.
CREATE INDEX certificates_in_identity ON certificates (spiffe_id, id);
CREATE INDEX certificates_in_expiry ON certificates (not_after, id);
CREATE INDEX certificates_in_issued ON certificates (issued_at, id);
CREATE INDEX certificates_in_issuer ON certificates (issuer_sha256, id);
CREATE INDEX certificates_in_key_type ON certificates (key_type, id);
CREATE INDEX certificates_in_key_bits ON certificates (key_bits, id);
CREATE INDEX certificates_in_algorithm ON certificates (signature_algorithm, id);
CREATE INDEX certificates_in_caller ON certificates (caller, id);
CREATE INDEX certificates_in_proof ON certificates (proof, id);
CREATE INDEX certificates_in_state ON certificates (state, id) WHERE state <> 'good';
CREATE INDEX certificates_in_cluster ON certificates (cluster, id) WHERE cluster IS NOT NULL;
CREATE INDEX certificates_in_namespace ON certificates (namespace, id) WHERE namespace IS NOT NULL;
CREATE INDEX certificates_in_pod ON certificates (pod, id) WHERE pod IS NOT NULL;
CREATE INDEX certificates_in_node ON certificates (node, id) WHERE node IS NOT NULL;
CREATE INDEX certificates_in_address ON certificates (address, id) WHERE address IS NOT NULL;
DROP INDEX certificates_by_expiry;

CREATE INDEX refusals_in_time ON refusals (at, id);
CREATE INDEX refusals_in_caller ON refusals (caller, id);
CREATE INDEX refusals_in_identity ON refusals (spiffe_id, id);
CREATE INDEX refusals_in_code ON refusals (code, id);
