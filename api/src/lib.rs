//! gRPC services: Istio's certificate service and Countersign's agent and admin services.
