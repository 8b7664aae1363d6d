//! Where everything of the demo is: names, folders, addresses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use identity::{SpiffeId, TrustDomain};

use crate::failure::Failure;

/// The demo's trust domain: Istio's default, so that the example policies work there unchanged.
pub(crate) const TRUST_DOMAIN: &str = "cluster.local";

/// Names, folders and addresses of one run.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Absolute path of the data folder.
    pub(crate) root: PathBuf,
    /// Where sleep's Envoy takes requests of the application beside it (plaintext, loopback).
    pub(crate) client_listen: SocketAddr,
    /// Where httpbin's Envoy takes mutual TLS.
    pub(crate) server_listen: SocketAddr,
    /// Where the impostor's Envoy takes mutual TLS.
    pub(crate) impostor_listen: SocketAddr,
}

impl Layout {
    /// The authority's data folder.
    pub(crate) fn authority_dir(&self) -> PathBuf {
        self.root.join("authority")
    }

    /// The authority's admin socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.authority_dir().join("admin.sock")
    }

    /// The root certificates that agents pin.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.authority_dir().join("bundle.pem")
    }

    /// An agent's data folder.
    pub(crate) fn agent_dir(&self, side: Side) -> PathBuf {
        self.root.join("agents").join(side.name())
    }

    /// An agent's socket.
    pub(crate) fn agent_socket(&self, side: Side) -> PathBuf {
        self.agent_dir(side).join("agent.sock")
    }

    /// Key, chain and root of the impostor.
    pub(crate) fn impostor_files(&self) -> PathBuf {
        self.root.join("impostor")
    }

    /// Logs and Envoy configurations of this run.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// An Envoy's access log.
    pub(crate) fn access_log(&self, envoy: &str) -> PathBuf {
        self.run_dir().join(format!("{envoy}-access.log"))
    }

    /// A host that the client's Envoy routes to the impostor, with both locks on.
    pub(crate) fn hijacked_host(&self) -> &'static str {
        "hijacked.demo"
    }

    /// A host that the client's Envoy routes to the impostor, with the SAN matcher taken off, so
    /// that the second lock can be seen at work.
    pub(crate) fn unlocked_host(&self) -> &'static str {
        "unlocked.demo"
    }
}

/// The two agents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// Beside httpbin.
    Server,
    /// Beside sleep.
    Client,
}

impl Side {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Server, Self::Client];

    /// The agent's short name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    /// The agent's identity.
    pub(crate) fn agent_id(self) -> Result<SpiffeId, Failure> {
        id(&format!("/countersign/agent/{}", self.name()))
    }

    /// The identity of the workload beside it.
    pub(crate) fn workload_id(self) -> Result<SpiffeId, Failure> {
        match self {
            Self::Server => service_account("httpbin"),
            Self::Client => service_account("sleep"),
        }
    }
}

/// The impostor's identity: a valid one, of somebody else.
pub(crate) fn impostor_id() -> Result<SpiffeId, Failure> {
    service_account("impostor")
}

/// The demo's trust domain as a type.
pub(crate) fn trust_domain() -> Result<TrustDomain, Failure> {
    TRUST_DOMAIN
        .parse()
        .map_err(|error| Failure::part("trust domain", error))
}

fn service_account(name: &str) -> Result<SpiffeId, Failure> {
    id(&format!("/ns/default/sa/{name}"))
}

fn id(path: &str) -> Result<SpiffeId, Failure> {
    format!("spiffe://{TRUST_DOMAIN}{path}")
        .parse()
        .map_err(|error| Failure::part("SPIFFE ID", error))
}

/// The data folder as an absolute path whose sockets are short enough for the system.
pub(crate) fn absolute(folder: &Path) -> Result<PathBuf, Failure> {
    /// Bytes in a Unix socket's path on Linux, the terminating zero included (`unix(7)`).
    const SOCKET_PATH_BYTES: usize = 108;
    std::fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, error))?;
    let root =
        std::fs::canonicalize(folder).map_err(|error| Failure::file("find", folder, error))?;
    let longest = root.join("agents/server/agent.sock");
    let bytes = longest.as_os_str().len();
    if bytes >= SOCKET_PATH_BYTES {
        return Err(Failure::Check(format!(
            "--data-dir {}: the socket {} has {bytes} bytes, the system's limit is {}",
            folder.display(),
            longest.display(),
            SOCKET_PATH_BYTES - 1
        )));
    }
    Ok(root)
}
