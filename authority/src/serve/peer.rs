//! What a request says about who sent it.

use tokio::net::TcpStream;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo, UdsConnectInfo};
use tonic::{Request, Status};
use zeroize::Zeroizing;

use crate::inventory::RequestContext;
use crate::issue::attest::{self, Presented};
use crate::issue::{Caller, Issuance, ProofFault, Refusal};
use crate::serve::admin_listener::Actor;
use crate::serve::status;
use crate::serve::strangers::Ending;

/// A connection as the listener makes it.
pub(crate) type TlsConnection = Ending<tokio_rustls::server::TlsStream<TcpStream>>;

/// The token and the client certificate a request came with.
pub(crate) fn presented<T>(request: &Request<T>) -> Result<Presented, Refusal> {
    let mut headers = request.metadata().get_all("authorization").iter();
    let authorization = match (headers.next(), headers.next()) {
        (None, _) => None,
        (Some(header), None) => {
            let text = header
                .to_str()
                .map_err(|_not_ascii| ProofFault::BadHeader)?;
            Some(Zeroizing::new(text.to_owned()))
        }
        (Some(_), Some(_)) => return Err(ProofFault::BadHeader.into()),
    };
    let mut clusters = request.metadata().get_all(CLUSTER_ID).iter();
    let cluster = match (clusters.next(), clusters.next()) {
        (None, _) => None,
        (Some(name), None) => Some(name.to_str().map_err(|_not_ascii| BAD_CLUSTER)?.to_owned()),
        (Some(_), Some(_)) => return Err(BAD_CLUSTER),
    };
    Ok(Presented {
        authorization,
        chain: client_chain(request),
        cluster,
    })
}

/// What the client presented in TLS, leaf first; TLS has verified it.
fn client_chain<T>(request: &Request<T>) -> Vec<Vec<u8>> {
    let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
    let chain = info.and_then(TlsConnectInfo::peer_certs);
    chain
        .iter()
        .flat_map(|chain| chain.iter().map(|one| one.to_vec()))
        .collect()
}

/// Who sent the request; if nobody can be made out, that is recorded and is the answer.
pub(crate) async fn caller<T: Sync>(
    request: &Request<T>,
    issuance: &Issuance,
) -> Result<Caller, Status> {
    let attested = match presented(request) {
        Ok(presented) => {
            let (inventory, proofs) = (issuance.inventory(), issuance.proofs());
            attest::caller(&presented, proofs, inventory, issuance.now()).await
        }
        Err(refusal) => Err(refusal.into()),
    };
    match attested {
        Ok(caller) => Ok(caller),
        Err(error) => {
            if let attest::AttestError::Refused(refusal) = &error {
                let from = unproven(request);
                issuance
                    .record_refusal(&from, None, refusal)
                    .await
                    .map_err(|error| status::of_inventory(&error))?;
            }
            Err(status::of_attest(&error))
        }
    }
}

/// How the record names somebody who proved nothing.
fn unproven<T>(request: &Request<T>) -> String {
    request.remote_addr().map_or_else(
        || "unproven".to_owned(),
        |address| format!("unproven {}", address.ip()),
    )
}

/// Where a request came from, for the record.
pub(crate) fn context<T>(request: &Request<T>) -> RequestContext {
    let mut context = RequestContext::default();
    context.location.address = request
        .remote_addr()
        .map(|address| address.ip().to_string());
    context
}

/// Who administrates: the identity that was let in over the network, or the process at the other end
/// of the administration socket.
pub(crate) fn operator<T>(request: &Request<T>) -> Caller {
    if let Some(Actor(id)) = request.extensions().get::<Actor>() {
        return Caller::Operator {
            uid: None,
            id: Some(id.clone()),
        };
    }
    let uid = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred)
        .map(|credentials| credentials.uid());
    Caller::Operator { uid, id: None }
}

/// By which istio-agent and ztunnel name their cluster.
const CLUSTER_ID: &str = "clusterid";
const BAD_CLUSTER: Refusal = Refusal::BadField {
    field: CLUSTER_ID,
    problem: "it is not one text",
};
