//! `countersign envoy`: configuration that uses the filter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use envoy_config::istio::{ImagePullPolicy, Phase, WasmPlugin};
use policy::config::PluginConfig;

use crate::args::EnvoyCommand;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(command: EnvoyCommand) -> Result<(), Failure> {
    let EnvoyCommand::Wasmplugin {
        name,
        namespace,
        url,
        config,
    } = command;
    let text = fs::read(&config).map_err(|error| Failure::file("read", &config, error))?;
    let plugin = PluginConfig::from_json(&text)
        .map_err(|error| Failure::part(config.display().to_string(), error))?;
    // Refused here rather than by every proxy that loads it.
    policy::config::compile(&plugin).map_err(|errors| {
        let lines = errors
            .iter()
            .map(|error| format!("{}: {error}", config.display()));
        Failure::Policies(lines.collect())
    })?;
    let resource = WasmPlugin {
        name,
        namespace,
        labels: BTreeMap::new(),
        url,
        sha256: None,
        image_pull_policy: ImagePullPolicy::default(),
        phase: Phase::default(),
        ports: BTreeSet::new(),
        config: plugin,
    };
    let resource = resource
        .resource()
        .map_err(|error| Failure::part("WasmPlugin", error))?;
    let yaml = resource
        .to_yaml()
        .map_err(|error| Failure::part("WasmPlugin", error))?;
    output::line(yaml.trim_end())
}
