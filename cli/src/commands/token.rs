//! `countersign token`: the first proof of a new agent.

use api::admin::CreateJoinTokenRequest;

use crate::admin;
use crate::args::TokenCommand;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(command: TokenCommand) -> Result<(), Failure> {
    let TokenCommand::Create { admin, agent, ttl } = command;
    let ttl_seconds = i64::try_from(ttl)
        .map_err(|_too_large| Failure::Check(format!("--ttl {ttl}: too long")))?;
    let request = CreateJoinTokenRequest {
        spiffe_id: agent.to_string(),
        ttl_seconds,
    };
    let mut admin = admin::connect(&admin).await?;
    let answer = admin.create_join_token(request).await?.into_inner();
    output::line(&answer.token)
}
