//! Everything the demo runs, started in order and stopped in reverse.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use api::admin::{
    CreateEntryRequest, CreateJoinTokenRequest, DeleteEntryRequest, Entry, GetStatusRequest,
    ListEntriesRequest,
};
use lab::envoy::{self, Envoy, Options};
use lab::process::{Child, Command};
use lab::upstream::Echo;
use lab::{ports, ready};

use crate::admin::{self, Admin};
use crate::args::UpArgs;
use crate::commands::cert_files::replace;
use crate::commands::{cert, policy as policy_command};
use crate::failure::Failure;
use crate::up::decisions::Follower;
use crate::up::envoys::{CLIENT, IMPOSTOR, Parts, SERVER};
use crate::up::layout::{Layout, Side, TRUST_DOMAIN, absolute, impostor_id};

/// How long one part may take to start; the rest of a machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The impostor's certificate comes from a file and is not renewed; a demo seldom runs longer.
const IMPOSTOR_TTL: u64 = 12 * 3600;

/// A running demo. Dropping it kills what is left of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) layout: Layout,
    pub(crate) admin: Admin,
    /// httpbin's, sleep's and the impostor's, in this order.
    envoys: Vec<Envoy>,
    /// What httpbin's filter decided.
    pub(crate) inbound: Follower,
    /// What sleep's filter decided.
    pub(crate) outbound: Follower,
    /// The application behind the impostor.
    pub(crate) impostor_app: Echo,
    /// The application behind httpbin's Envoy; lives as long as the world.
    _httpbin: Echo,
    agents: Vec<Child>,
    authority: Child,
}

/// Starts everything; `say` is told each part as it runs.
pub(crate) async fn start(
    args: &UpArgs,
    say: impl Fn(&str, &str) -> Result<(), Failure>,
) -> Result<World, Failure> {
    let binary = envoy::find().map_err(|error| Failure::part("Envoy", error))?;
    let wasm = fs::canonicalize(&args.wasm).map_err(|error| {
        Failure::file(
            "find the filter (./justw wasm builds it)",
            &args.wasm,
            error,
        )
    })?;
    // Before anything runs: a policy with a mistake is the likeliest reason not to start.
    let files = policy_command::read(std::slice::from_ref(&args.policies))?;
    let policies = files
        .policies()
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::part("policies", error))?;

    let [client, server, impostor] =
        ports::free_array().map_err(|error| Failure::part("ports", error))?;
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let layout = Layout {
        root: absolute(&args.data_dir)?,
        client_listen: at(client),
        server_listen: at(server),
        impostor_listen: at(impostor),
    };

    let (authority, address) = start_authority(&layout).await?;
    say(
        "authority",
        &format!("{address}, record in {}", layout.authority_dir().display()),
    )?;
    clear_run_dir(&layout)?;
    let mut admin = admin::connect(&layout.admin_socket()).await?;
    let mut agents = Vec::new();
    for side in Side::ALL {
        register(&mut admin, side, args.leaf_ttl).await?;
        let agent = start_agent(&layout, &mut admin, side, &address).await?;
        say(
            &format!("agent {}", side.name()),
            &side.agent_id()?.to_string(),
        )?;
        agents.push(agent);
    }
    cert::issue(
        &mut admin,
        &impostor_id()?,
        IMPOSTOR_TTL,
        &layout.impostor_files(),
    )
    .await?;

    let started = |error| Failure::part("application", error);
    let httpbin = Echo::start().await.map_err(started)?;
    let impostor_app = Echo::start().await.map_err(started)?;
    let status = admin.get_status(GetStatusRequest {}).await?.into_inner();
    let parts = Parts {
        layout: &layout,
        version: binary.version(),
        wasm,
        leaf_ttl: Duration::from_secs(args.leaf_ttl),
        policies,
        issuer: status.intermediate.map(|ca| ca.pem).unwrap_or_default(),
        list_keys: status.deny_list_key_pems,
        httpbin: httpbin.address(),
        impostor_app: impostor_app.address(),
    };
    let envoys = start_envoys(&binary, &parts, &layout).await?;
    say(
        "Envoy",
        &format!("{} × 3 with {}", binary.release(), parts.wasm.display()),
    )?;

    let log = |name: &str| Follower::new(&layout.run_dir().join(format!("{name}.stderr")));
    Ok(World {
        admin,
        envoys,
        inbound: log(SERVER),
        outbound: log(CLIENT),
        impostor_app,
        _httpbin: httpbin,
        agents,
        authority,
        layout,
    })
}

impl World {
    /// httpbin's Envoy.
    pub(crate) fn server_envoy(&self) -> Result<&Envoy, Failure> {
        self.envoys
            .first()
            .ok_or_else(|| Failure::Check("httpbin's Envoy is not running".to_owned()))
    }

    /// sleep's Envoy.
    pub(crate) fn client_envoy(&self) -> Result<&Envoy, Failure> {
        self.envoys
            .get(1)
            .ok_or_else(|| Failure::Check("sleep's Envoy is not running".to_owned()))
    }

    /// Stops every process, last started first. All are tried; the first failure is reported.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        const GRACE: Duration = Duration::from_secs(5);
        let mut first = None;
        for envoy in self.envoys.drain(..).rev() {
            if let Err(error) = envoy.stop().await {
                first.get_or_insert_with(|| Failure::part("stop", error));
            }
        }
        let children = self
            .agents
            .iter_mut()
            .rev()
            .chain(std::iter::once(&mut self.authority));
        for child in children {
            if let Err(error) = child.stop(GRACE).await {
                first.get_or_insert_with(|| Failure::part("stop", error));
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// A part that ended by itself, with the end of its log.
    pub(crate) fn casualty(&mut self) -> Option<String> {
        let envoys = self.envoys.iter_mut().map(Envoy::process);
        envoys
            .chain(&mut self.agents)
            .chain(std::iter::once(&mut self.authority))
            .find_map(|child| {
                let status = child.exit_status().ok()??;
                Some(format!(
                    "{} ended with {status}:\n{}",
                    child.name(),
                    child.log_tail()
                ))
            })
    }
}

async fn start_authority(layout: &Layout) -> Result<(Child, String), Failure> {
    let failed = |error| Failure::part("authority", error);
    let program = this_program()?;
    let mut child = Command::new("authority", program, layout.root.join("authority-log"))
        .args([
            "authority",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--trust-domain",
            TRUST_DOMAIN,
        ])
        .arg("--data-dir")
        .arg(layout.authority_dir())
        .start()
        .map_err(|error| Failure::part("authority", error))?;
    let event = ready::event(&mut child, "listening", START_LIMIT)
        .await
        .map_err(failed)?;
    let address = event
        .get("address")
        .and_then(|address| address.as_str())
        .map(str::to_owned);
    address
        .map(|address| (child, address))
        .ok_or_else(|| Failure::Check("the authority did not say where it listens".to_owned()))
}

async fn start_agent(
    layout: &Layout,
    admin: &mut Admin,
    side: Side,
    authority: &str,
) -> Result<Child, Failure> {
    let request = CreateJoinTokenRequest {
        spiffe_id: side.agent_id()?.to_string(),
        ttl_seconds: 600,
    };
    let token = admin.create_join_token(request).await?.into_inner().token;
    let folder = layout.agent_dir(side);
    fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, error))?;
    let token_file = folder.join("join-token");
    replace(&token_file, token.as_bytes(), 0o600)
        .map_err(|error| Failure::file("write", &token_file, error))?;
    let name = format!("agent-{}", side.name());
    let mut child = Command::new(&name, this_program()?, layout.run_dir())
        .args(["agent", "run", "--authority", authority, "--bundle"])
        .arg(layout.bundle())
        .arg("--data-dir")
        .arg(&folder)
        .arg("--socket")
        .arg(layout.agent_socket(side))
        .arg("--join-token-file")
        .arg(&token_file)
        .start()
        .map_err(|error| Failure::part(&name, error))?;
    ready::event(&mut child, "ready", START_LIMIT)
        .await
        .map_err(|error| Failure::part(&name, error))?;
    Ok(child)
}

/// Lets the agent of `side` have its workload's certificates, with the lifetime of this run.
async fn register(admin: &mut Admin, side: Side, ttl: u64) -> Result<(), Failure> {
    let entry = Entry {
        parent_id: side.agent_id()?.to_string(),
        spiffe_id: side.workload_id()?.to_string(),
        selectors: vec![format!("unix:uid:{}", rustix::process::getuid().as_raw())],
        ttl_seconds: i64::try_from(ttl)
            .map_err(|_too_large| Failure::Check(format!("--leaf-ttl {ttl}: too long")))?,
        ..Entry::default()
    };
    let request = ListEntriesRequest {
        parent_id: entry.parent_id.clone(),
        spiffe_id: entry.spiffe_id.clone(),
    };
    for old in admin.list_entries(request).await?.into_inner().entries {
        admin
            .delete_entry(DeleteEntryRequest { id: old.id })
            .await?;
    }
    admin
        .create_entry(CreateEntryRequest { entry: Some(entry) })
        .await?;
    Ok(())
}

async fn start_envoys(
    binary: &envoy::Binary,
    parts: &Parts<'_>,
    layout: &Layout,
) -> Result<Vec<Envoy>, Failure> {
    let bootstraps = [
        (SERVER, parts.server()?),
        (CLIENT, parts.client()?),
        (IMPOSTOR, parts.impostor()?),
    ];
    let mut envoys = Vec::new();
    for (name, bootstrap) in bootstraps {
        let options = Options::new(name, layout.run_dir())
            .concurrency(2)
            .log_level("warning,wasm:info");
        let envoy = Envoy::start(binary, &bootstrap, &options)
            .await
            .map_err(|error| Failure::part(name, error))?;
        envoys.push(envoy);
    }
    Ok(envoys)
}

/// Logs of an earlier run would be read as this one's.
fn clear_run_dir(layout: &Layout) -> Result<(), Failure> {
    let folder = layout.run_dir();
    remove(&folder)?;
    fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, error))
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file("clear", folder, error))
        }
        _ => Ok(()),
    }
}

fn this_program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::part("this program's path", error))
}
