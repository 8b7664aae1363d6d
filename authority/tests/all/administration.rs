//! Administration over the network: who may call what.

use std::net::SocketAddr;

use api::admin::admin_service_client::AdminServiceClient;
use api::admin::{
    CreateEntryRequest, Entry, GetStatusRequest, IssueCertificateRequest, StateAction,
    change_state_request::Selector,
};
use api::descriptors::{Method, methods};
use authority::IdentityPattern;
use http::uri::PathAndQuery;
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::support::{AGENT, Authority, HTTPBIN, Held, csr, key, parse};

const VIEWER: &str = "spiffe://cluster.local/ops/view/victor";
const OPERATOR: &str = "spiffe://cluster.local/ops/olga";

async fn administered() -> Authority {
    Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.admin.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        settings.admin.viewers =
            vec![IdentityPattern::new("spiffe://cluster.local/ops/view/*").unwrap()];
        settings.admin.operators = vec![IdentityPattern::new(OPERATOR).unwrap()];
    })
    .await
}

/// A certificate that the operator at the machine hands out.
async fn handed_out(authority: &Authority, id: &str, ttl_seconds: i64) -> Held {
    let key = key();
    let request = IssueCertificateRequest {
        csr_pem: csr(&key),
        spiffe_id: id.to_owned(),
        ttl_seconds,
    };
    let issued = authority.admin().await.issue_certificate(request).await;
    let chain = issued.unwrap().into_inner().cert_chain;
    Held {
        svid: parse(&chain[0]),
        key_pem: key.serialize_pem(),
        chain,
    }
}

/// A connection to the administration; TLS 1.3 tells a client only at its first read that its
/// certificate was refused.
async fn connect(authority: &Authority, held: Option<&Held>) -> Result<Channel, Status> {
    let address = authority.running.ready().admin_address.unwrap();
    crate::support::channel(&address.to_string(), &authority.root_pem(), held)
        .await
        .map_err(|error| Status::from_error(Box::new(error)))
}

/// Calls anything with an empty message; what comes back is not looked at.
async fn call(channel: &Channel, method: &Method) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    let path: PathAndQuery = method.path().parse().unwrap();
    let unavailable = |error: tonic::transport::Error| Status::from_error(Box::new(error));
    client.ready().await.map_err(unavailable)?;
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    if method.server_streaming {
        let answer = client
            .server_streaming(Request::new(()), path, codec)
            .await?;
        return answer.into_inner().message().await.map(drop);
    }
    client.unary(Request::new(()), path, codec).await.map(drop)
}

/// What a viewer may call. Everything else is an operator's. This is written down a second time on
/// purpose: a call that moves from one list to the other must be moved twice.
const FOR_VIEWERS: [&str; 17] = [
    "ListEntries",
    "ListCertificates",
    "GetCertificate",
    "ListPolicyBundles",
    "GetPolicyBundle",
    "ListRefusals",
    "GetStatus",
    "Diagnose",
    "GetRules",
    "ListRequests",
    "SearchCertificates",
    "SearchRefusals",
    "ReportExpiry",
    "GetTreeHead",
    "ProveInclusion",
    "ProveConsistency",
    "ListLeaves",
];

/// Everything that is neither Istio's nor the agents' is administration.
fn administration() -> Vec<Method> {
    let public = ["istio.v1.auth", "countersign.agent.v1"];
    methods()
        .filter(|method| !public.contains(&method.package.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reachable_without_a_role_that_allows_it() {
    let authority = administered().await;
    let elsewhere = Authority::start().await;
    let foreign = handed_out(&elsewhere, OPERATOR, 600).await;
    let workload = handed_out(&authority, HTTPBIN, 600).await;
    let agent = authority.agent(AGENT).await;
    let viewer = handed_out(&authority, VIEWER, 3600).await;
    let operator = handed_out(&authority, OPERATOR, 3600).await;
    let expired = handed_out(&authority, OPERATOR, 60).await;
    let revoked = handed_out(&authority, OPERATOR, 3600).await;
    authority
        .change(Selector::Serial(revoked.serial()), StateAction::Revoke)
        .await
        .unwrap();
    authority.clock.advance(120);

    let methods = administration();
    assert!(methods.len() >= 15, "{methods:?}");
    for method in &methods {
        let path = method.path();
        for (who, held, expected) in [
            ("nobody", None, None),
            ("foreign", Some(&foreign), None),
            ("workload", Some(&workload), Some(Code::PermissionDenied)),
            ("agent", Some(&agent), Some(Code::PermissionDenied)),
            ("expired", Some(&expired), Some(Code::Unauthenticated)),
            ("revoked", Some(&revoked), Some(Code::PermissionDenied)),
        ] {
            let refused = match connect(&authority, held).await {
                Ok(channel) => call(&channel, method).await.unwrap_err(),
                Err(no_connection) => no_connection,
            };
            match expected {
                Some(code) => assert_eq!(refused.code(), code, "{who} {path}: {refused}"),
                // Refused by TLS: no answer of ours ever came.
                None => assert!(
                    std::error::Error::source(&refused).is_some(),
                    "{who} {path}: {refused}"
                ),
            }
        }
        let read_only = FOR_VIEWERS.contains(&method.name.as_str());
        let channel = connect(&authority, Some(&viewer)).await.unwrap();
        match call(&channel, method).await {
            Err(refused) if refused.code() == Code::PermissionDenied => {
                assert!(!read_only, "a viewer may call {path}");
            }
            _ => assert!(read_only, "a viewer must not call {path}"),
        }
        let channel = connect(&authority, Some(&operator)).await.unwrap();
        if let Err(refused) = call(&channel, method).await {
            // An empty message is mostly not a valid one; that is the service's answer, not the door's.
            let by_the_service = [
                Code::InvalidArgument,
                Code::NotFound,
                Code::FailedPrecondition,
            ];
            assert!(
                by_the_service.contains(&refused.code()),
                "operator {path}: {refused}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_call_is_refused_to_everybody() {
    let authority = administered().await;
    let operator = handed_out(&authority, OPERATOR, 600).await;
    let channel = connect(&authority, Some(&operator)).await.unwrap();
    for (package, service, name) in [
        ("countersign.admin.v1", "AdminService", "Nothing"),
        (
            "istio.v1.auth",
            "IstioCertificateService",
            "CreateCertificate",
        ),
        ("other", "Service", "Call"),
    ] {
        let method = Method {
            package: package.to_owned(),
            service: service.to_owned(),
            name: name.to_owned(),
            server_streaming: false,
        };
        let refused = call(&channel, &method).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{}", method.path());
    }
    // And the listener for certificates has no administration, whoever asks.
    let address = authority.running.ready().address.to_string();
    let channel = crate::support::channel(&address, &authority.root_pem(), Some(&operator)).await;
    let refused = AdminServiceClient::new(channel.unwrap())
        .get_status(GetStatusRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_names_the_operator_and_a_revoked_one_is_out_at_once() {
    let authority = administered().await;
    let operator = handed_out(&authority, OPERATOR, 600).await;
    let mut admin = AdminServiceClient::new(connect(&authority, Some(&operator)).await.unwrap());
    let request = IssueCertificateRequest {
        csr_pem: csr(&key()),
        spiffe_id: HTTPBIN.to_owned(),
        ttl_seconds: 60,
    };
    let issued = admin.issue_certificate(request).await.unwrap().into_inner();
    let record = issued.certificate.unwrap();
    assert_eq!(
        (record.caller.as_str(), record.proof.as_str()),
        (OPERATOR, "operator")
    );

    authority
        .change(Selector::Serial(operator.serial()), StateAction::Revoke)
        .await
        .unwrap();
    // On the connection that is open already.
    let request = CreateEntryRequest {
        entry: Some(Entry::default()),
    };
    let refused = admin.create_entry(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let on_record = authority.refusal().await;
    assert_eq!(on_record.code, "certificate_revoked");
    assert!(on_record.alarm);
}
