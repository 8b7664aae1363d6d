//! Where things listen.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use crate::typed::path_text;

/// Something to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A name that DNS resolves, and a port.
    Dns {
        /// Host name, without port.
        name: String,
        /// TCP port, not 0.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Dns { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Text that is no endpoint.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not an address: write IP:PORT, [IPv6]:PORT, NAME:PORT or unix:PATH")]
pub struct EndpointError {
    /// What was read.
    pub text: String,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refused = || EndpointError {
            text: text.to_owned(),
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(refused())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(refused)?;
        if is_host_name(name) {
            Ok(Self::Dns {
                name: name.to_owned(),
                port,
            })
        } else {
            Err(refused())
        }
    }
}

/// Letters, digits, hyphens and dots, each label 1 to 63 bytes, not all digits (RFC 1123 §2.1).
pub(crate) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253
        && name.split('.').all(label)
        && !name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Where Envoy's administration interface listens. It can read every secret's metadata and stop the
/// process, so it is never on an address that others reach.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Admin {
    /// No administration interface.
    #[default]
    None,
    /// `127.0.0.1` and this port (0 lets the system choose; Envoy writes it where `--admin-address-path` says).
    Loopback(u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `envoy.config.core.v3.Address`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Address {
    /// TCP.
    SocketAddress {
        /// IP address or host name.
        address: String,
        /// TCP port.
        port_value: u16,
    },
    /// A Unix socket.
    Pipe {
        /// Path in the file system.
        path: String,
    },
}

impl Address {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self::SocketAddress {
            address: address.ip().to_string(),
            port_value: address.port(),
        }
    }

    pub(crate) fn pipe(path: &Path) -> Self {
        Self::Pipe {
            path: path_text(path),
        }
    }

    pub(crate) fn admin(admin: &Admin) -> Option<Self> {
        match admin {
            Admin::None => None,
            Admin::Loopback(port) => Some(Self::tcp(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                *port,
            ))),
            Admin::Unix(path) => Some(Self::pipe(path)),
        }
    }
}

impl From<&Endpoint> for Address {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Ip(address) => Self::tcp(*address),
            Endpoint::Dns { name, port } => Self::SocketAddress {
                address: name.clone(),
                port_value: *port,
            },
            Endpoint::Unix(path) => Self::pipe(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, EndpointError};

    #[test]
    fn reads_each_form_and_prints_it_back() {
        for text in [
            "127.0.0.1:80",
            "[::1]:443",
            "httpbin.example:8000",
            "unix:/run/a.sock",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "1.2.3:80",
            "a b:80",
            "unix:",
            "-a:1",
            ":80",
        ] {
            assert_eq!(
                text.parse::<Endpoint>(),
                Err(EndpointError {
                    text: text.to_owned()
                })
            );
        }
    }
}
