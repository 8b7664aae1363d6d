//! What stands around the services: bounds, health, metrics, administration over the network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::agent::agent_service_server::AgentServiceServer;
use api::istio::istio_certificate_service_server::IstioCertificateServiceServer;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic_health::server::HealthReporter;

use crate::app::{ServeError, bind};
use crate::health::{Health, files};
use crate::issue::Issuance;
use crate::limits::files::room_for_connections;
use crate::limits::peers::Peers;
use crate::revoke::Publisher;
use crate::serve::agents::AgentApi;
use crate::serve::attendance::Attendance;
use crate::serve::certificates::CertificateApi;
use crate::serve::front::Front;
use crate::serve::listener::Doors;
use crate::serve::tls::ServingCertificate;
use crate::settings::Settings;

/// Listeners beside the one for certificates, where they are wanted.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) metrics: Option<TcpListener>,
    pub(super) admin: Option<TcpListener>,
}

impl Listeners {
    pub(super) fn bind(settings: &Settings) -> Result<Self, ServeError> {
        Ok(Self {
            metrics: settings.metrics.listen.map(bind).transpose()?,
            admin: settings.admin.listen.map(bind).transpose()?,
        })
    }
}

/// The address a listener got.
pub(super) fn address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|source| ServeError::Bind {
        address: asked,
        source,
    })
}

/// The address of a listener that there may be.
pub(super) fn address_of(
    listener: Option<&TcpListener>,
    asked: Option<SocketAddr>,
) -> Result<Option<SocketAddr>, ServeError> {
    let pair = listener.zip(asked);
    pair.map(|(listener, asked)| address(listener, asked))
        .transpose()
}

/// Who is let in, within what the process may have open.
pub(super) fn doors(settings: &Settings, issuance: &Issuance) -> Doors {
    let limits = &settings.limits;
    let room = room_for_connections();
    let most = limits.connections.min(room);
    if most < limits.connections {
        let (wanted, most) = (limits.connections, most);
        tracing::info!(
            wanted,
            most,
            "fewer connections: the process may not open more files"
        );
    }
    Doors {
        peers: Peers::new(most, limits.connections_per_peer),
        strangers: limits.connections_without_certificate.min(most),
        telemetry: Arc::clone(issuance.telemetry()),
    }
}

/// Administration has places of its own: a flood at the other listener must not shut operators out.
pub(super) fn admin_doors(others: &Doors) -> Doors {
    Doors {
        peers: Peers::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS / 4),
        strangers: 1,
        telemetry: Arc::clone(&others.telemetry),
    }
}

/// What health is read from.
pub(super) fn health(
    settings: &Settings,
    issuance: &Issuance,
    publisher: &Arc<Publisher>,
    serving: &Arc<ServingCertificate>,
    (attendance, front, peers): (&Attendance, &Front, &Peers),
) -> Health {
    Health {
        issuance: issuance.clone(),
        publisher: Arc::clone(publisher),
        attendance: attendance.clone(),
        front: front.clone(),
        peers: peers.clone(),
        serving: Arc::clone(serving),
        data_dir: settings.data_dir.clone(),
        metrics_listen: settings.metrics.listen,
        started: (Instant::now(), files::record_bytes(&settings.data_dir)),
        probed: Mutex::default(),
    }
}

/// Tells gRPC's health service what readiness says, and folds the metrics, for ever.
pub(super) async fn watch_health(health: Arc<Health>, reporter: HealthReporter) {
    let mut before = None;
    loop {
        let obstacles = health.obstacles().await;
        let ready = obstacles.is_empty();
        if before != Some(ready) {
            for obstacle in &obstacles {
                tracing::error!(
                    check = obstacle.check,
                    problem = obstacle.problem,
                    "not ready"
                );
            }
            if ready && before.is_some() {
                tracing::info!("ready again");
            }
            report(&reporter, ready).await;
        }
        before = Some(ready);
        health.issuance.telemetry().fold();
        tokio::time::sleep(PERIOD).await;
    }
}

async fn report(reporter: &HealthReporter, ready: bool) {
    use tonic_health::ServingStatus;
    let status = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    // The empty name is the server as a whole.
    reporter.set_service_status("", status).await;
    if ready {
        reporter
            .set_serving::<IstioCertificateServiceServer<CertificateApi>>()
            .await;
        reporter.set_serving::<AgentServiceServer<AgentApi>>().await;
    } else {
        reporter
            .set_not_serving::<IstioCertificateServiceServer<CertificateApi>>()
            .await;
        // Agents can still read their lists and entries.
        reporter.set_serving::<AgentServiceServer<AgentApi>>().await;
    }
}

const PERIOD: Duration = Duration::from_secs(1);
/// Connections to the administration at a time.
const ADMIN_CONNECTIONS: usize = 128;
