//! Administration, for whoever can open the owner-only socket.

use std::path::PathBuf;
use std::sync::Arc;

use api::admin::admin_service_server::AdminService;
use api::admin::change_state_request::Selector as WireSelector;
use api::admin::{self, *};
use api::agent::BundleSnapshot;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::SpiffeId;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::audit::event::Action;
use crate::bundles::Bundles;
use crate::ca::keeper::CaReport;
use crate::crypto::{random_bytes, sha256_hex};
use crate::health::Health;
use crate::inventory::{CertificateFilter, CertificateState, NewBundle, Selector, StateAction};
use crate::issue::{Issuance, Wish, leaf_pem};
use crate::revoke::Publisher;
use crate::serve::agents::announce_list_keys;
use crate::serve::{convert, peer, status};

use self::fields::{bundle_name, id, optional_id};

mod entries;
mod fields;

pub(crate) use self::fields::{hex_text, limit};

/// Serves administration.
#[derive(Clone, Debug)]
pub(crate) struct AdminApi {
    /// Issues, and reads the record.
    pub(crate) issuance: Issuance,
    /// Changes states and signs deny lists.
    pub(crate) publisher: Arc<Publisher>,
    /// Signs policy bundles.
    pub(crate) bundles: Arc<Bundles>,
    /// How the CA goes.
    pub(crate) ca: watch::Receiver<Arc<CaReport>>,
    /// Counts changes of entries.
    pub(crate) entries: watch::Sender<u64>,
    /// The trust bundle as it stands.
    pub(crate) bundle: watch::Sender<Arc<BundleSnapshot>>,
    /// Address of the gRPC listener.
    pub(crate) listen_address: String,
    /// Path of the administration socket.
    pub(crate) admin_socket: PathBuf,
    /// Tells what is not as it should be.
    pub(crate) health: Arc<Health>,
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn create_entry(
        &self,
        request: Request<CreateEntryRequest>,
    ) -> Result<Response<CreateEntryResponse>, Status> {
        let operator = peer::operator(&request).to_string();
        let entry = request
            .into_inner()
            .entry
            .ok_or_else(|| Status::invalid_argument("entry: it is missing"))?;
        let record = self.new_entry(entry)?;
        let api = self.clone();
        to_its_end(async move {
            let created = api
                .issuance
                .inventory()
                .create_entry(record.clone(), operator)
                .await
                .map_err(|error| status::of_inventory(&error))?;
            if !created {
                return Err(Status::already_exists(
                    "there is an entry with this parent, identity and selectors",
                ));
            }
            api.announce_entries();
            Ok(Response::new(CreateEntryResponse {
                entry: Some(convert::entry(record)),
            }))
        })
        .await
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let request = request.into_inner();
        let parent = optional_id("parent_id", &request.parent_id)?;
        let workload = optional_id("spiffe_id", &request.spiffe_id)?;
        let entries = self
            .issuance
            .inventory()
            .entries(parent.as_ref(), workload.as_ref())
            .await
            .map_err(|error| status::of_inventory(&error))?;
        let entries = entries.into_iter().map(convert::entry).collect();
        Ok(Response::new(ListEntriesResponse { entries }))
    }

    async fn delete_entry(
        &self,
        request: Request<DeleteEntryRequest>,
    ) -> Result<Response<DeleteEntryResponse>, Status> {
        let operator = peer::operator(&request).to_string();
        let id = request.into_inner().id;
        let api = self.clone();
        to_its_end(async move {
            let deleted = api
                .issuance
                .inventory()
                .delete_entry(id, operator, api.issuance.now())
                .await
                .map_err(|error| status::of_inventory(&error))?;
            if !deleted {
                return Err(Status::not_found("no entry has this id"));
            }
            api.announce_entries();
            Ok(Response::new(DeleteEntryResponse {}))
        })
        .await
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        let operator = peer::operator(&request).to_string();
        let request = request.into_inner();
        let id = self.assignable("spiffe_id", &request.spiffe_id)?;
        let ttl = match request.ttl_seconds {
            0 => DEFAULT_TOKEN_SECONDS,
            ttl @ 1..=MAX_TOKEN_SECONDS => ttl,
            _ => {
                return Err(Status::invalid_argument(
                    "ttl_seconds: it is not 0 to 86400",
                ));
            }
        };
        let now = self.issuance.now();
        let expires_at = now
            .plus_secs(ttl)
            .ok_or_else(|| Status::internal("the clock is outside the calendar"))?;
        let secret = Zeroizing::new(random_bytes::<32>().map_err(|error| {
            tracing::error!(%error, "no join token");
            Status::internal("the system's random generator failed")
        })?);
        let token = URL_SAFE_NO_PAD.encode(secret.as_slice());
        self.issuance
            .inventory()
            .create_token(sha256_hex(token.as_bytes()), id, now, expires_at, operator)
            .await
            .map_err(|error| status::of_inventory(&error))?;
        let expires_at = expires_at.as_secs();
        Ok(Response::new(CreateJoinTokenResponse { token, expires_at }))
    }

    async fn issue_certificate(
        &self,
        request: Request<IssueCertificateRequest>,
    ) -> Result<Response<IssueCertificateResponse>, Status> {
        let operator = peer::operator(&request);
        let request = request.into_inner();
        let wish = Wish {
            spiffe_id: Some(id("spiffe_id", &request.spiffe_id)?),
            ttl_seconds: request.ttl_seconds,
            ..Wish::default()
        };
        let issued = self
            .issuance
            .issue(&operator, &request.csr_pem, &wish)
            .await
            .map_err(|error| status::of_issue(&error))?;
        let record = self
            .issuance
            .inventory()
            .certificate_by_serial(&issued.serial)
            .await
            .map_err(|error| status::of_inventory(&error))?;
        Ok(Response::new(IssueCertificateResponse {
            cert_chain: issued.chain,
            certificate: record.as_ref().map(convert::certificate),
        }))
    }

    async fn list_certificates(
        &self,
        request: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        let request = request.into_inner();
        let filter = CertificateFilter {
            spiffe_id: optional_id("spiffe_id", &request.spiffe_id)?,
            state: match request.state() {
                admin::CertificateState::Unspecified => None,
                admin::CertificateState::Good => Some(CertificateState::Good),
                admin::CertificateState::Suspended => Some(CertificateState::Suspended),
                admin::CertificateState::Revoked => Some(CertificateState::Revoked),
            },
            unexpired_at: request.unexpired.then(|| self.issuance.now()),
            limit: limit(request.limit)?,
        };
        let found = self
            .issuance
            .inventory()
            .certificates(&filter)
            .await
            .map_err(|error| status::of_inventory(&error))?;
        let certificates = found.iter().map(convert::certificate).collect();
        Ok(Response::new(ListCertificatesResponse { certificates }))
    }

    async fn get_certificate(
        &self,
        request: Request<GetCertificateRequest>,
    ) -> Result<Response<GetCertificateResponse>, Status> {
        let record = self
            .issuance
            .inventory()
            .certificate_by_serial(&hex_text(&request.into_inner().serial))
            .await
            .map_err(|error| status::of_inventory(&error))?
            .ok_or_else(|| Status::not_found("no certificate has this serial number"))?;
        Ok(Response::new(GetCertificateResponse {
            certificate: Some(convert::certificate(&record)),
            pem: leaf_pem(&record),
        }))
    }

    async fn change_state(
        &self,
        request: Request<ChangeStateRequest>,
    ) -> Result<Response<ChangeStateResponse>, Status> {
        let operator = peer::operator(&request).to_string();
        let request = request.into_inner();
        let action = match request.action() {
            admin::StateAction::Suspend => StateAction::Suspend,
            admin::StateAction::Resume => StateAction::Resume,
            admin::StateAction::Revoke => StateAction::Revoke,
            admin::StateAction::Unspecified => {
                return Err(Status::invalid_argument("action: it is missing or unknown"));
            }
        };
        if request.reason.len() > MAX_REASON_BYTES {
            return Err(Status::invalid_argument(
                "reason: it is longer than 1024 bytes",
            ));
        }
        let selector = match request.selector {
            Some(WireSelector::Serial(serial)) => Selector::Serial(hex_text(&serial)),
            Some(WireSelector::Sha256(sha256)) => Selector::Sha256(hex_text(&sha256)),
            Some(WireSelector::SpiffeId(text)) => Selector::Identity(id("spiffe_id", &text)?),
            None => return Err(Status::invalid_argument("selector: it is missing")),
        };
        let publisher = Arc::clone(&self.publisher);
        let change = to_its_end(async move {
            publisher
                .change(selector, action, request.reason, operator)
                .await
                .map_err(|error| status::of_publish(&error))
        })
        .await?;
        Ok(Response::new(ChangeStateResponse {
            changed: change.changed.iter().map(convert::certificate).collect(),
            deny_list_epoch: change.head.epoch,
            deny_list_sequence: change.head.sequence,
        }))
    }

    async fn rotate_deny_list_key(
        &self,
        request: Request<RotateDenyListKeyRequest>,
    ) -> Result<Response<RotateDenyListKeyResponse>, Status> {
        let operator = peer::operator(&request).to_string();
        let api = self.clone();
        to_its_end(async move {
            let rotated = api.publisher.rotate_key().await;
            // Also after a failure: the key may be in use and only the list not signed yet.
            announce_list_keys(&api.bundle, &api.publisher);
            rotated.map_err(|error| status::of_publish(&error))?;
            let kid = api
                .publisher
                .public_keys()
                .first()
                .map(|pem| sha256_hex(pem.as_bytes()));
            let details = kid.map(|kid| ("pem_sha256", kid));
            let action = Action::new("deny_list_key_rotated", &operator, details);
            let now = api.issuance.now();
            let recorded = api.issuance.inventory().record_action(action, now).await;
            recorded.map_err(|error| status::of_inventory(&error))?;
            Ok(Response::new(RotateDenyListKeyResponse {
                deny_list_key_pems: api.publisher.public_keys(),
            }))
        })
        .await
    }

    async fn publish_policy_bundle(
        &self,
        request: Request<PublishPolicyBundleRequest>,
    ) -> Result<Response<PublishPolicyBundleResponse>, Status> {
        let operator = peer::operator(&request).to_string();
        let request = request.into_inner();
        let new = NewBundle {
            name: bundle_name(request.name)?,
            body: request.policies,
            replaces: request.replaces,
            operator,
        };
        let bundles = Arc::clone(&self.bundles);
        let (bundle, changed) = to_its_end(async move {
            let published = bundles.publish(new).await;
            published.map_err(|error| status::of_publish_bundle(&error))
        })
        .await?;
        Ok(Response::new(PublishPolicyBundleResponse {
            bundle: Some(convert::policy_bundle(&bundle)),
            changed,
        }))
    }

    async fn list_policy_bundles(
        &self,
        _request: Request<ListPolicyBundlesRequest>,
    ) -> Result<Response<ListPolicyBundlesResponse>, Status> {
        let published = Arc::clone(&self.bundles.watch().borrow());
        let bundles = published.values();
        let bundles = bundles.map(|bundle| convert::policy_bundle(bundle));
        Ok(Response::new(ListPolicyBundlesResponse {
            bundles: bundles.collect(),
        }))
    }

    async fn get_policy_bundle(
        &self,
        request: Request<GetPolicyBundleRequest>,
    ) -> Result<Response<GetPolicyBundleResponse>, Status> {
        let name = bundle_name(request.into_inner().name)?;
        let published = self.bundles.watch().borrow().get(&name).cloned();
        let bundle = published
            .ok_or_else(|| Status::not_found(format!("no policy bundle is called {name}")))?;
        Ok(Response::new(GetPolicyBundleResponse {
            bundle: Some(convert::policy_bundle(&bundle)),
            policies: bundle.body().to_vec(),
        }))
    }

    async fn list_refusals(
        &self,
        request: Request<ListRefusalsRequest>,
    ) -> Result<Response<ListRefusalsResponse>, Status> {
        let refusals = self
            .issuance
            .inventory()
            .refusals(limit(request.into_inner().limit)?)
            .await
            .map_err(|error| status::of_inventory(&error))?;
        let refusals = refusals.into_iter().map(convert::refusal).collect();
        Ok(Response::new(ListRefusalsResponse { refusals }))
    }

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let now = self.issuance.now();
        let counts = self
            .issuance
            .inventory()
            .counts(now)
            .await
            .map_err(|error| status::of_inventory(&error))?;
        let head = self.publisher.watch().borrow().head;
        let issuer = self.issuance.issuer();
        Ok(Response::new(GetStatusResponse {
            trust_domain: self.issuance.policy().trust_domain().as_str().to_owned(),
            root: Some(convert::ca(issuer.root())),
            intermediate: Some(convert::ca(issuer.certificate())),
            listen_address: self.listen_address.clone(),
            admin_socket: self.admin_socket.display().to_string(),
            deny_list_epoch: head.epoch,
            deny_list_sequence: head.sequence,
            deny_list_key_pems: self.publisher.public_keys(),
            certificates: counts.certificates,
            unexpired: counts.unexpired,
            suspended: counts.suspended,
            revoked: counts.revoked,
            entries: counts.entries,
            refusals: counts.refusals,
            now: now.as_secs(),
            ca: Some(convert::ca_report(&self.ca.borrow())),
        }))
    }

    async fn diagnose(
        &self,
        _request: Request<DiagnoseRequest>,
    ) -> Result<Response<DiagnoseResponse>, Status> {
        let findings = self.health.diagnose().await;
        let findings = findings.map_err(|error| status::of_inventory(&error))?;
        let findings = findings.iter().map(convert::finding).collect();
        Ok(Response::new(DiagnoseResponse { findings }))
    }
}

impl AdminApi {
    /// An identity of our trust domain that is nobody's own.
    fn assignable(&self, field: &str, text: &str) -> Result<SpiffeId, Status> {
        let id = id(field, text)?;
        self.issuance
            .policy()
            .check_assignable(&id)
            .map_err(|refusal| Status::invalid_argument(format!("{field}: {refusal}")))?;
        Ok(id)
    }
}

/// Runs `work` to its end, also if the operator hangs up meanwhile (which drops the call): what is
/// on record must be announced as well.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call broke off");
        Err(Status::internal("the call broke off"))
    })
}

const DEFAULT_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 86_400;
const MAX_REASON_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
