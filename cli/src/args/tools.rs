//! Arguments of the tools that need no authority.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{AdminArgs, OutputArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum EnvoyCommand {
    /// Write a WasmPlugin resource for Istio
    #[command(after_help = "\
Example:
  countersign envoy wasmplugin --name countersign --namespace default \\
      --url oci://registry.example/countersign_filter:0.1.0 --config plugin.json")]
    Wasmplugin {
        /// Name of the resource
        #[arg(long, default_value = "countersign")]
        name: String,
        /// Namespace of the resource
        #[arg(long, default_value = "default")]
        namespace: String,
        /// Where the proxies fetch the filter: oci://, https:// or file://
        #[arg(long)]
        url: String,
        /// Plug-in configuration (JSON; see `countersign policy schema`)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Exactly one Envoy configuration, or the authority.
#[derive(Debug, Args)]
#[command(after_help = "\
Of an Envoy, looks for settings that undo a check: filters that are switched off or fail open, certificates
that nobody vouches for, session resumption, hedging, and what else Envoy allows. Exit code 1 if there is one.

Of an authority, looks for what has stopped meshes before: certificates that are about to expire, a deny list
or agents that are behind, keys and files that lie open, a disk that fills, refusals that rise; and says what
to do. Exit code 1 if there is a warning or an error; notices alone are none.

Examples:
  countersign doctor --authority
  countersign doctor --authority --server ca.example.org:15013 --cert me.pem --key me.key --ca root.pem
  countersign doctor --envoy-admin 127.0.0.1:15000
  countersign doctor --config envoy.yaml")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) source: DoctorSource,
}

/// Where the configuration is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct DoctorSource {
    /// A running authority, over its admin socket or the network
    #[arg(long)]
    pub(crate) authority: bool,
    /// A running Envoy's administration interface: an address, or the path of its Unix socket
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) envoy_admin: Option<String>,
    /// A bootstrap or configuration dump (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
