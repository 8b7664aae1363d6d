//! Arguments of the tools that need no authority.

use std::path::PathBuf;

use clap::Subcommand;

use super::OutputArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Compile policies; exit 1 and say where if one does not
    #[command(after_help = "Example:\n  countersign policy check examples/quickstart/*.yaml")]
    Check {
        #[command(flatten)]
        output: OutputArgs,
        /// Files or folders with AuthorizationPolicy resources
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the filter's plug-in configuration
    #[command(after_help = "Example:\n  countersign policy schema > plugin-config.schema.json")]
    Schema,
}

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
