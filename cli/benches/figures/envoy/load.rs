//! Requests over open connections.

use lab::http::{Connection, HttpError, Tls, Version};
use tokio::task::JoinSet;

use super::policies::ALLOWED_PATH;
use super::servers::Server;
use crate::failure::Failure;

/// Requests under way at a time.
const LANES: u32 = 8;
/// HTTP/2 connections; the lanes share them.
const SHARED: u32 = 2;

/// Open connections to one Envoy.
pub(crate) struct Load {
    name: &'static str,
    lanes: Vec<Connection>,
}

impl Load {
    /// Eight HTTP/1.1 connections, or two HTTP/2 connections with four streams each.
    pub(crate) async fn open(
        server: &Server,
        tls: &Tls,
        version: Version,
    ) -> Result<Self, Failure> {
        let connections = match version {
            Version::Http1 => LANES,
            Version::Http2 => SHARED,
        };
        let mut lanes = Vec::new();
        for _ in 0..connections {
            let opened = Connection::open(server.target(), Some(tls), version).await;
            let opened = opened.map_err(Failure::part(server.name()))?;
            for _ in 1..LANES / connections {
                lanes.extend(opened.share());
            }
            lanes.push(opened);
        }
        let name = server.name();
        Ok(Self { name, lanes })
    }

    /// Sends at least `requests`, one after another on each lane; every one must be answered 200. Returns
    /// how many it sent.
    pub(crate) async fn run(&mut self, requests: u32) -> Result<u32, Failure> {
        let each = requests.div_ceil(LANES);
        let mut lanes = JoinSet::new();
        for mut lane in self.lanes.drain(..) {
            lanes.spawn(async move {
                for _ in 0..each {
                    match lane.get(ALLOWED_PATH).await?.status {
                        200 => {}
                        other => return Ok(Err(other)),
                    }
                }
                Ok::<_, HttpError>(Ok(lane))
            });
        }
        let mut sent = 0;
        while let Some(ended) = lanes.join_next().await {
            let lane = ended.map_err(Failure::part("load"))?;
            match lane.map_err(Failure::part(self.name))? {
                Ok(lane) => self.lanes.push(lane),
                Err(other) => {
                    return Err(Failure::Unexpected {
                        case: self.name.to_owned(),
                        wanted: "status 200",
                        found: other.to_string(),
                    });
                }
            }
            sent += each;
        }
        Ok(sent)
    }
}
