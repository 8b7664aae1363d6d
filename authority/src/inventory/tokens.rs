//! Join tokens. Only hashes are stored; spending is part of recording a certificate.

use identity::{SpiffeId, UnixTime};

use crate::audit::event::{self, Event};
use crate::inventory::writer::Tx;
use crate::inventory::{Inventory, InventoryError};

impl Inventory {
    /// Stores a token's hash.
    pub(crate) async fn create_token(
        &self,
        hash: String,
        spiffe_id: SpiffeId,
        created_at: UnixTime,
        expires_at: UnixTime,
        operator: String,
    ) -> Result<(), InventoryError> {
        self.writer
            .write(move |Tx { connection, log }| {
                Box::pin(async move {
                    let told = event::Token {
                        hash,
                        spiffe_id: spiffe_id.to_string(),
                        created_at: created_at.as_secs(),
                        expires_at: expires_at.as_secs(),
                        operator,
                    };
                    sqlx::query(INSERT)
                        .bind(&told.hash)
                        .bind(&told.spiffe_id)
                        .bind(told.created_at)
                        .bind(told.expires_at)
                        .bind(log.next()?)
                        .execute(connection)
                        .await?;
                    log.append(told.created_at, Event::TokenCreated(told))?;
                    Ok(())
                })
            })
            .await
    }
}

const INSERT: &str = "INSERT INTO join_tokens (hash, spiffe_id, created_at, expires_at, leaf) \
     VALUES (?, ?, ?, ?, ?)";
