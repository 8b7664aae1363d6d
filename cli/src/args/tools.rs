//! Arguments of the tools that need no authority.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputArgs;

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

/// Exactly one Envoy configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Looks for settings that undo a check: filters that are switched off or fail open, certificates that
nobody vouches for, session resumption, hedging, and what else Envoy allows. Exit code 1 if there is one.

Examples:
  countersign doctor --envoy-admin 127.0.0.1:15000
  countersign doctor --config envoy.yaml")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) source: DoctorSource,
}

/// Where the configuration is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct DoctorSource {
    /// A running Envoy's administration interface: an address, or the path of its Unix socket
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) envoy_admin: Option<String>,
    /// A bootstrap or configuration dump (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
