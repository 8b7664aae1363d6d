//! An authority and an agent, as processes of the `countersign` binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::admin::admin_service_client::AdminServiceClient;
use api::admin::change_state_request::Selector;
use api::admin::{
    ChangeStateRequest, CreateEntryRequest, CreateJoinTokenRequest, Entry, GetStatusRequest,
    GetStatusResponse, IssueCertificateRequest, StateAction,
};
use lab::process::{Child, Command};
use lab::ready;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;
use crate::keys;

pub(crate) const TRUST_DOMAIN: &str = "cluster.local";
/// Longer than any run, so that nothing is renewed while it is measured.
pub(crate) const LEAF_SECONDS: i64 = 24 * 3600;

const START_LIMIT: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(5);
/// An answer about ten thousand certificates is longer than what gRPC takes by default.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The SPIFFE ID of a service account.
pub(crate) fn workload(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/default/sa/{name}")
}

/// The SPIFFE ID of an agent.
pub(crate) fn agent(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/countersign/agent/{name}")
}

/// A running authority on a free port; dropping it kills it.
pub(crate) struct Authority {
    child: Child,
    admin: AdminServiceClient<Channel>,
    address: String,
    dir: PathBuf,
}

impl Authority {
    /// Starts one with an empty record in `dir`.
    pub(crate) async fn start(dir: &Path) -> Result<Self, Failure> {
        let failed = Failure::part("authority");
        let data = dir.join("authority");
        fs::create_dir_all(dir).map_err(Failure::part("authority"))?;
        let mut child = Command::new("authority", env!("CARGO_BIN_EXE_countersign"), dir)
            .args(["authority", "serve", "--listen", "127.0.0.1:0"])
            .args(["--trust-domain", TRUST_DOMAIN, "--data-dir"])
            .arg(&data)
            .start()
            .map_err(Failure::part("authority"))?;
        let event = ready::event(&mut child, "listening", START_LIMIT)
            .await
            .map_err(Failure::part("authority"))?;
        let address = event.get("address").and_then(|address| address.as_str());
        let address = address.ok_or_else(|| Failure::Unexpected {
            case: "authority".to_owned(),
            wanted: "an address",
            found: event.to_string(),
        })?;
        let socket = format!("unix://{}", data.join("admin.sock").display());
        let channel = Endpoint::from_shared(socket).map_err(&failed)?;
        let channel = channel.connect().await.map_err(&failed)?;
        Ok(Self {
            admin: AdminServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES),
            address: address.to_owned(),
            child,
            dir: data,
        })
    }

    /// `host:port` of its gRPC listener.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its root, PEM.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.join("bundle.pem")
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Lets the agent `parent` have certificates of `id` for the processes of this user.
    pub(crate) async fn register(&mut self, parent: &str, id: &str) -> Result<(), Failure> {
        let entry = Entry {
            parent_id: parent.to_owned(),
            spiffe_id: id.to_owned(),
            selectors: vec![format!("unix:uid:{}", rustix::process::getuid().as_raw())],
            ttl_seconds: LEAF_SECONDS,
            ..Entry::default()
        };
        let request = CreateEntryRequest { entry: Some(entry) };
        let created = self.admin.create_entry(request).await;
        created.map(drop).map_err(Failure::part("entry"))
    }

    /// A token with which an agent gets its first certificate.
    pub(crate) async fn join_token(&mut self, agent: &str) -> Result<String, Failure> {
        let request = CreateJoinTokenRequest {
            spiffe_id: agent.to_owned(),
            ttl_seconds: 600,
        };
        let answer = self.admin.create_join_token(request).await;
        Ok(answer
            .map_err(Failure::part("join token"))?
            .into_inner()
            .token)
    }

    /// A token for each of `ids`, in their order.
    pub(crate) async fn join_tokens(
        &mut self,
        ids: &[String],
        in_flight: u32,
    ) -> Result<Vec<String>, Failure> {
        let lanes = usize::try_from(in_flight).unwrap_or(1).max(1);
        let mut making = JoinSet::new();
        for (lane, share) in ids.chunks(ids.len().div_ceil(lanes).max(1)).enumerate() {
            let (mut admin, share) = (self.admin.clone(), share.to_vec());
            making.spawn(async move {
                let mut tokens = Vec::with_capacity(share.len());
                for spiffe_id in share {
                    let request = CreateJoinTokenRequest {
                        spiffe_id,
                        ttl_seconds: 3600,
                    };
                    let answer = admin.create_join_token(request).await?;
                    tokens.push(answer.into_inner().token);
                }
                Ok::<_, tonic::Status>((lane, tokens))
            });
        }
        let mut shares = Vec::new();
        while let Some(made) = making.join_next().await {
            let made = made.map_err(Failure::part("join tokens"))?;
            shares.push(made.map_err(Failure::part("join tokens"))?);
        }
        shares.sort_by_key(|(lane, _)| *lane);
        Ok(shares.into_iter().flat_map(|(_, tokens)| tokens).collect())
    }

    /// A certificate of `id` as files.
    pub(crate) async fn certify(&mut self, id: &str, dir: &Path) -> Result<Files, Failure> {
        let requested = keys::request()?;
        let request = IssueCertificateRequest {
            csr_pem: requested.csr_pem,
            spiffe_id: id.to_owned(),
            ttl_seconds: LEAF_SECONDS,
        };
        let answer = self.admin.issue_certificate(request).await;
        let chain = answer
            .map_err(Failure::part("certificate"))?
            .into_inner()
            .cert_chain;
        let files = Files {
            chain: dir.join("client.pem"),
            key: dir.join("client.key"),
        };
        // The last one is the root, which nobody sends.
        let sent = chain.split_last().map_or(&[][..], |(_root, sent)| sent);
        fs::write(&files.chain, sent.concat())
            .and_then(|()| fs::write(&files.key, requested.key_pem))
            .map_err(Failure::part("certificate"))?;
        Ok(files)
    }

    /// Issues `count` certificates of `id` and revokes them; returns the sequence of the deny list that has
    /// them all.
    pub(crate) async fn revoke(&mut self, id: &str, count: u32) -> Result<u64, Failure> {
        const IN_FLIGHT: u32 = 64;
        let csr_pem = keys::request()?.csr_pem;
        let mut lanes = JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let mut admin = self.admin.clone();
            let request = IssueCertificateRequest {
                csr_pem: csr_pem.clone(),
                spiffe_id: id.to_owned(),
                ttl_seconds: LEAF_SECONDS,
            };
            lanes.spawn(async move {
                for _ in 0..count.div_ceil(IN_FLIGHT) {
                    admin.issue_certificate(request.clone()).await?;
                }
                Ok::<_, tonic::Status>(())
            });
        }
        while let Some(ended) = lanes.join_next().await {
            ended
                .map_err(Failure::part("issuing"))?
                .map_err(Failure::part("issuing"))?;
        }
        let request = ChangeStateRequest {
            selector: Some(Selector::SpiffeId(id.to_owned())),
            action: StateAction::Revoke.into(),
            reason: "a long deny list".to_owned(),
        };
        let answer = self.admin.change_state(request).await;
        Ok(answer
            .map_err(Failure::part("revoking"))?
            .into_inner()
            .deny_list_sequence)
    }

    pub(crate) async fn status(&mut self) -> Result<GetStatusResponse, Failure> {
        let answer = self.admin.get_status(GetStatusRequest {}).await;
        Ok(answer
            .map_err(Failure::part("status of the authority"))?
            .into_inner())
    }

    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let stopped = self.child.stop(GRACE).await;
        stopped
            .map(drop)
            .map_err(Failure::part("stopping the authority"))
    }
}

/// Chain, leaf first, and key.
pub(crate) struct Files {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// A running agent; dropping it kills it.
pub(crate) struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    /// Starts one that is parent of `workload`.
    pub(crate) async fn start(
        authority: &mut Authority,
        dir: &Path,
        workload: &str,
    ) -> Result<Self, Failure> {
        let id = agent("server");
        authority.register(&id, workload).await?;
        let token_file = dir.join("join-token");
        fs::write(&token_file, authority.join_token(&id).await?)
            .map_err(Failure::part("join token"))?;
        let socket = dir.join("agent.sock");
        let mut child = Command::new("agent", env!("CARGO_BIN_EXE_countersign"), dir)
            .args(["agent", "run", "--authority", authority.address()])
            .arg("--bundle")
            .arg(authority.bundle())
            .arg("--data-dir")
            .arg(dir.join("agent"))
            .arg("--socket")
            .arg(&socket)
            .arg("--join-token-file")
            .arg(&token_file)
            .start()
            .map_err(Failure::part("agent"))?;
        ready::event(&mut child, "ready", START_LIMIT)
            .await
            .map_err(Failure::part("agent"))?;
        Ok(Self { child, socket })
    }

    /// Where it serves SDS and the deny list.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let stopped = self.child.stop(GRACE).await;
        stopped
            .map(drop)
            .map_err(Failure::part("stopping the agent"))
    }
}
