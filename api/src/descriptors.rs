//! What the services look like, for reflection and for whoever must know every call there is.

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// All files, encoded.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// One call of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Method {
    /// Package of the service.
    pub package: String,
    /// Name of the service.
    pub service: String,
    /// Name of the call.
    pub name: String,
    /// Whether the server answers with a stream.
    pub server_streaming: bool,
}

impl Method {
    /// `/<package>.<Service>/<Method>`, as HTTP/2 carries it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}.{}/{}", self.package, self.service, self.name)
    }
}

/// Every call of every service in [`FILE_DESCRIPTOR_SET`].
pub fn methods() -> impl Iterator<Item = Method> {
    // Written by our own build: what does not decode has no calls, which a test notices.
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    set.file.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let (package, name) = (package.clone(), service.name().to_owned());
            service.method.into_iter().map(move |method| Method {
                package: package.clone(),
                service: name.clone(),
                name: method.name().to_owned(),
                server_streaming: method.server_streaming(),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_found() {
        let paths: Vec<_> = methods().map(|method| method.path()).collect();
        for path in [
            "/istio.v1.auth.IstioCertificateService/CreateCertificate",
            "/countersign.agent.v1.AgentService/WatchDenyList",
            "/countersign.admin.v1.AdminService/GetStatus",
        ] {
            assert!(paths.iter().any(|found| found == path), "{path}: {paths:?}");
        }
    }
}
