-- The proof that a certificate goes back to, over however many renewals: when it was made, of which
-- kind, SHA-256 of what was shown (a token, a foreign certificate) and what it proved (JSON list).
ALTER TABLE certificates ADD COLUMN proven_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE certificates ADD COLUMN proven_by TEXT NOT NULL DEFAULT '';
ALTER TABLE certificates ADD COLUMN evidence_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE certificates ADD COLUMN selectors TEXT NOT NULL DEFAULT '[]';
-- Of what is on record already only the issuance is known; until now all of it goes back to a join
-- token, the operator or the authority.
UPDATE certificates SET
    proven_at = issued_at,
    proven_by = CASE proof WHEN 'client_certificate' THEN 'join_token' ELSE proof END;
