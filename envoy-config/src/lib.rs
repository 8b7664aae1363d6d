//! Envoy bootstraps and Istio resources that use the filter and the agent.
