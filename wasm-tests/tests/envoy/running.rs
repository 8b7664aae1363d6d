//! Envoys that run, what they say, and how they are asked.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use envoy_config::address::Admin;
use identity::chain;
use lab::envoy::Envoy;
use lab::http::{Answer, Connection, HttpError, Tls, Version};
use lab::upstream::Echo;
use serde_json::Value;

/// Why an Envoy did not start, and whether another port may do.
pub(crate) struct Failed(pub(crate) String, pub(crate) bool);

impl Failed {
    pub(crate) fn is_lost_race(&self) -> bool {
        self.1
    }
}

pub(crate) enum Running {
    /// From a bootstrap that was checked.
    Checked(Envoy),
    /// From one that `envoy-config` would not write.
    Rewritten(lab::process::Child),
}

impl Running {
    pub(crate) fn log(&self) -> String {
        let path = match self {
            Self::Checked(envoy) => return envoy.log().expect("readable"),
            Self::Rewritten(child) => child.stderr(),
        };
        String::from_utf8_lossy(&fs::read(path).expect("readable")).into_owned()
    }
}

/// A server's Envoy and the application behind it.
pub(crate) struct ServerUnderTest {
    pub(crate) envoy: Running,
    pub(crate) address: SocketAddr,
    pub(crate) echo: Echo,
    pub(crate) access_log: PathBuf,
    pub(crate) admin: PathBuf,
}

impl ServerUnderTest {
    pub(crate) async fn connect(
        &self,
        tls: &Tls,
        version: Version,
    ) -> Result<Connection, HttpError> {
        Connection::open(&self.address.into(), Some(tls), version).await
    }

    /// One `GET path` over a connection of its own.
    pub(crate) async fn get(&self, tls: &Tls, path: &str) -> Result<Answer, HttpError> {
        self.connect(tls, Version::Http1).await?.get(path).await
    }

    /// A statistic by its exact name.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        let admin = lab::envoy::AdminClient::new(&Admin::Unix(self.admin.clone())).expect("admin");
        admin
            .stat(name)
            .await
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// Sum of all statistics whose name matches.
    pub(crate) async fn stats_sum(&self, regex: &str) -> u64 {
        let admin = lab::envoy::AdminClient::new(&Admin::Unix(self.admin.clone())).expect("admin");
        let stats = admin
            .stats(regex)
            .await
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        stats.values().sum()
    }

    /// The filter's decision records so far.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        decisions(&self.envoy.log())
    }

    /// Ends the Envoy, which flushes its access log, and gives the log's lines.
    pub(crate) async fn stop(self) -> Vec<Value> {
        match self.envoy {
            Running::Checked(envoy) => envoy.stop().await.map(|_| ()),
            Running::Rewritten(mut child) => child.stop(Duration::from_secs(5)).await.map(|_| ()),
        }
        .expect("it ends");
        let text = fs::read_to_string(&self.access_log).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// A client's Envoy.
pub(crate) struct ClientUnderTest {
    pub(crate) envoy: Running,
    pub(crate) address: SocketAddr,
}

impl ClientUnderTest {
    /// One request over a connection of its own, to the upstream of this host.
    pub(crate) async fn send(&self, host: &str, method: &str, path: &str, body: Vec<u8>) -> Answer {
        let target = self.address.into();
        let mut connection = Connection::open(&target, None, Version::Http1)
            .await
            .expect("connects");
        let request = connection.request_to(host, method, path);
        let request = request
            .body(http_body_util::Full::new(body.into()))
            .expect("a request");
        connection
            .send(request)
            .await
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    pub(crate) async fn get(&self, host: &str) -> Answer {
        self.send(host, "GET", "/", Vec::new()).await
    }

    pub(crate) fn decisions(&self) -> Vec<Value> {
        decisions(&self.envoy.log())
    }
}

/// The filter's decision records in a log.
pub(crate) fn decisions(log: &str) -> Vec<Value> {
    let records = log
        .lines()
        .filter_map(|line| line.split_once("countersign-decision "));
    records
        .map(|(_, json)| {
            let mut values = serde_json::Deserializer::from_str(json).into_iter();
            values
                .next()
                .expect("something")
                .unwrap_or_else(|error| panic!("{error}: {json}"))
        })
        .collect()
}
