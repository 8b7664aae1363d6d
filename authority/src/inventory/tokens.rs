//! Join tokens. Only hashes are stored; spending is part of recording a certificate.

use identity::{SpiffeId, UnixTime};

use crate::inventory::{Inventory, InventoryError};

impl Inventory {
    /// Stores a token's hash.
    pub(crate) async fn create_token(
        &self,
        hash: String,
        spiffe_id: SpiffeId,
        created_at: UnixTime,
        expires_at: UnixTime,
    ) -> Result<(), InventoryError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO join_tokens (hash, spiffe_id, created_at, expires_at) \
                         VALUES (?, ?, ?, ?)",
                    )
                    .bind(hash)
                    .bind(spiffe_id.to_string())
                    .bind(created_at.as_secs())
                    .bind(expires_at.as_secs())
                    .execute(connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }
}
