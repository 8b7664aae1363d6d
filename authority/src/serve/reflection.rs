//! gRPC server reflection, for tools such as grpcurl.

use tonic_reflection::server::{Builder, Error, v1, v1alpha};

/// What the public listener tells about.
pub(crate) const PUBLIC: [&str; 3] = [
    "istio.v1.auth.IstioCertificateService",
    "countersign.agent.v1.AgentService",
    "grpc.health.v1.Health",
];

/// Both versions of the service: tools that know only the old one are still about.
///
/// # Errors
/// [`Error`] if the descriptors compiled in do not parse.
pub(crate) fn services(
    names: &[&str],
) -> Result<
    (
        v1::ServerReflectionServer<impl v1::ServerReflection>,
        v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
    ),
    Error,
> {
    let builder = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(api::descriptors::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        names
            .iter()
            .fold(builder, |builder, name| builder.with_service_name(*name))
    };
    Ok((builder().build_v1()?, builder().build_v1alpha()?))
}
