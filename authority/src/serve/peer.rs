//! What a request says about who sent it.

use tokio::net::TcpStream;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo, UdsConnectInfo};
use tonic::{Request, Status};
use zeroize::Zeroizing;

use crate::inventory::Origin;
use crate::issue::attest::{self, Presented};
use crate::issue::{Caller, Issuance, ProofFault, Refusal};
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
    Ok(Presented {
        authorization,
        certificate: client_certificate(request),
    })
}

/// The leaf the client presented in TLS, which verified it.
fn client_certificate<T>(request: &Request<T>) -> Option<Vec<u8>> {
    let info = request
        .extensions()
        .get::<TlsConnectInfo<TcpConnectInfo>>()?;
    info.peer_certs()?.first().map(|leaf| leaf.to_vec())
}

/// Who sent the request; if nobody can be made out, that is recorded and is the answer.
pub(crate) async fn caller<T: Sync>(
    request: &Request<T>,
    issuance: &Issuance,
) -> Result<Caller, Status> {
    let attested = match presented(request) {
        Ok(presented) => attest::caller(&presented, issuance.inventory(), issuance.now()).await,
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
pub(crate) fn origin<T>(request: &Request<T>) -> Origin {
    let mut origin = Origin::default();
    origin.location.address = request
        .remote_addr()
        .map(|address| address.ip().to_string());
    origin
}

/// The process at the other end of the administration socket.
pub(crate) fn operator<T>(request: &Request<T>) -> Caller {
    let uid = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred)
        .map(|credentials| credentials.uid());
    Caller::Operator { uid }
}
