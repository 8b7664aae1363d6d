//! Memory of an Envoy that gets a new plug-in configuration a thousand times while requests go on.
//!
//! Configurations come by Envoy's extension discovery (ECDS), the way Istio brings them. Every one is another:
//! of its 500 policies one has a new name each time. A request that is not answered 200 ends the run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::bench::{Report, resident_kib};
use lab::http::{Connection, HttpError, Tls, Version};
use lab::ready::{self, NotYet};
use lab::upstream::Echo;
use serde_json::{Value, json};

use crate::envoy::policies::{ALLOWED_PATH, Shape};
use crate::envoy::servers::{Guard, Server, Servers};
use crate::failure::Failure;
use crate::filter;
use crate::mesh::{Agent, Authority, workload};
use crate::say;

const NAME: &str = "countersign";
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
/// Policies of each configuration.
const POLICIES: u32 = 500;
/// How long Envoy may take to put one configuration in force.
const IN_FORCE: Duration = Duration::from_secs(20);
const ACCEPTED: &str = "countersign_config_accepted";

pub(crate) async fn figures(quick: bool, dir: &tempfile::TempDir) -> Result<Report, Failure> {
    let (reloads, step) = if quick { (20, 10) } else { (1_000, 100) };
    let dir = dir.path();
    let mut authority = Authority::start(dir).await?;
    let httpbin = workload("httpbin");
    let agent = Agent::start(&mut authority, dir, &httpbin).await?;
    let tls = filter::client(&mut authority, dir, httpbin).await?;
    let echo = Echo::start().await.map_err(Failure::part("application"))?;
    let servers = Servers::new(dir, agent.socket(), echo.address(), &mut authority).await?;
    let guard = Guard::Filter(Shape::Callers(POLICIES));
    let mut discovered = Discovered::new(dir.join("ecds.json"));
    let mut server = servers
        .start_with(0, "reload", guard, |bootstrap| {
            discovered.take_from(bootstrap)
        })
        .await?;
    server.is_guarded(guard, &tls).await?;
    let mut report = Report::new("reload");
    note(&mut report, &mut server, 0)?;
    let traffic = Traffic::start(&server, &tls).await?;
    let begun = Instant::now();
    for reload in 1..=reloads {
        let before = accepted(&server).await?;
        discovered.next(reload)?;
        in_force(&server, before).await?;
        if reload % step == 0 {
            say(&format!("reload {reload} of {reloads}"));
            note(&mut report, &mut server, reload)?;
        }
    }
    let each = begun.elapsed().as_secs_f64() * 1e3 / f64::from(reloads);
    report.add("one reload, seen from outside", "time", each, "ms");
    let answered = traffic.stop().await?;
    report.add(
        "requests meanwhile, all answered 200",
        "requests",
        answered,
        "",
    );
    server.stop().await?;
    agent.stop().await?;
    authority.stop().await?;
    Ok(report)
}

fn note(report: &mut Report, server: &mut Server, reloads: u32) -> Result<(), Failure> {
    let kib = resident_kib(server.process_id()).map_err(Failure::part("memory of Envoy"))?;
    let case = format!("after {reloads} reloads");
    report.add(&case, "memory", f64::from(kib) / 1024.0, "MiB");
    Ok(())
}

async fn accepted(server: &Server) -> Result<u64, Failure> {
    let stats = server.admin().stats(ACCEPTED).await;
    let stats = stats.map_err(Failure::part("statistics of Envoy"))?;
    Ok(stats.values().sum())
}

async fn in_force(server: &Server, before: u64) -> Result<(), Failure> {
    ready::until("the new configuration", IN_FORCE, None, async || {
        let stats = server.admin().stats(ACCEPTED).await?;
        match stats.values().sum::<u64>() {
            now if now > before => Ok(()),
            now => Err(NotYet(format!("{now} were accepted so far"))),
        }
    })
    .await
    .map_err(Failure::part("reload"))
}

/// The one Wasm filter of a bootstrap, moved to a file that Envoy watches.
struct Discovered {
    file: PathBuf,
    filter: Value,
}

impl Discovered {
    const fn new(file: PathBuf) -> Self {
        Self {
            file,
            filter: Value::Null,
        }
    }

    fn take_from(&mut self, bootstrap: &mut Value) -> Result<(), Failure> {
        let filter = find_wasm(bootstrap).ok_or_else(|| unexpected("a Wasm filter", "none"))?;
        let source =
            json!({"path_config_source": {"path": self.file}, "resource_api_version": "V3"});
        let reference = json!({
            "name": NAME,
            "config_discovery": {"config_source": source, "type_urls": [WASM]},
        });
        self.filter = std::mem::replace(filter, reference)
            .get_mut("typed_config")
            .map(Value::take)
            .unwrap_or_default();
        self.write(0)
    }

    /// Renames the first policy and puts the configuration into the file.
    fn next(&mut self, reload: u32) -> Result<(), Failure> {
        let text = self
            .filter
            .pointer_mut("/config/configuration/value")
            .ok_or_else(|| unexpected("a configuration", "none"))?;
        let mut config: Value = serde_json::from_str(text.as_str().unwrap_or_default())
            .map_err(Failure::part("configuration"))?;
        let name = config
            .pointer_mut("/policies/0/metadata/name")
            .ok_or_else(|| unexpected("a policy", "none"))?;
        *name = json!(format!("reloaded-{reload:04}"));
        *text = Value::String(config.to_string());
        self.write(reload)
    }

    fn write(&self, version: u32) -> Result<(), Failure> {
        let resource = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": NAME,
            "typed_config": self.filter,
        });
        let response = json!({"version_info": version.to_string(), "resources": [resource]});
        // Envoy sees a file that is moved into place, never half of one.
        let half: &Path = &self.file.with_extension("half");
        fs::write(half, response.to_string())
            .and_then(|()| fs::rename(half, &self.file))
            .map_err(Failure::part("configuration"))
    }
}

fn find_wasm(value: &mut Value) -> Option<&mut Value> {
    if value.pointer("/typed_config/@type") == Some(&json!(WASM)) {
        return Some(value);
    }
    match value {
        Value::Array(items) => items.iter_mut().find_map(find_wasm),
        Value::Object(fields) => fields.values_mut().find_map(find_wasm),
        _ => None,
    }
}

fn unexpected(wanted: &'static str, found: &str) -> Failure {
    Failure::Unexpected {
        case: "reload".to_owned(),
        wanted,
        found: found.to_owned(),
    }
}

/// Requests one after another on one connection until it is stopped.
struct Traffic {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<u32, Failure>>,
}

impl Traffic {
    async fn start(server: &Server, tls: &Tls) -> Result<Self, Failure> {
        let opened = Connection::open(server.target(), Some(tls), Version::Http1).await;
        let mut connection = opened.map_err(Failure::part("traffic"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut answered = 0_u32;
            while !stopped.load(Ordering::Relaxed) {
                let answer: Result<_, HttpError> = connection.get(ALLOWED_PATH).await;
                let status = answer.map_err(Failure::part("traffic"))?.status;
                if status != 200 {
                    return Err(unexpected("status 200", &status.to_string()));
                }
                answered = answered.saturating_add(1);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(answered)
        });
        Ok(Self { stop, task })
    }

    /// How many were answered; an error where one was not.
    async fn stop(self) -> Result<f64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let answered = self.task.await.map_err(Failure::part("traffic"))??;
        Ok(f64::from(answered))
    }
}
