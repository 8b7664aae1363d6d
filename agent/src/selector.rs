//! What a registration entry asks of the process that connects.

use std::{path::PathBuf, str::FromStr};

use crate::cgroup;

/// One thing a process must show, written `unix:<kind>:<value>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// `unix:uid:1000`: its user.
    Uid(u32),
    /// `unix:gid:1000`: its primary group. Supplementary groups are not looked at.
    Gid(u32),
    /// `unix:path:/usr/bin/envoy`: where its executable was found.
    ///
    /// A process in another mount namespace chooses what lies at its paths: add a
    /// [`Selector::Sha256`] where such processes can reach the socket.
    Path(PathBuf),
    /// `unix:sha256:<64 hex digits>`: digest of its executable.
    Sha256([u8; 32]),
    /// `unix:cgroup:/system.slice/web.service`: its control group, exactly.
    Cgroup(String),
    /// `unix:systemd-unit:web.service`: the unit of the system's systemd that it belongs to.
    SystemdUnit(String),
}

impl Selector {
    /// Whether the process shows it. What could not be found out about a process does not hold.
    pub fn holds(&self, process: &ProcessFacts) -> bool {
        match self {
            Self::Uid(uid) => process.uid == *uid,
            Self::Gid(gid) => process.gid == *gid,
            Self::Path(path) => process.path.as_ref() == Some(path),
            Self::Sha256(digest) => process.sha256.as_ref() == Some(digest),
            Self::Cgroup(path) => process.cgroup.as_ref() == Some(path),
            Self::SystemdUnit(unit) => {
                process.cgroup.as_deref().and_then(cgroup::unit) == Some(unit.as_str())
            }
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || SelectorError::Unknown {
            found: text.to_owned(),
        };
        let (kind, value) = text
            .strip_prefix("unix:")
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(unknown)?;
        match kind {
            "uid" => parse_id(text, value).map(Self::Uid),
            "gid" => parse_id(text, value).map(Self::Gid),
            "path" if value.starts_with('/') => Ok(Self::Path(PathBuf::from(value))),
            "path" => Err(SelectorError::RelativePath {
                found: text.to_owned(),
            }),
            "sha256" => {
                let mut digest = [0; 32];
                hex::decode_to_slice(value, &mut digest).map_err(|source| {
                    SelectorError::BadDigest {
                        found: text.to_owned(),
                        source,
                    }
                })?;
                Ok(Self::Sha256(digest))
            }
            "cgroup" if value.starts_with('/') => Ok(Self::Cgroup(value.to_owned())),
            "cgroup" => Err(SelectorError::RelativePath {
                found: text.to_owned(),
            }),
            "systemd-unit" if cgroup::unit(value) == Some(value) => {
                Ok(Self::SystemdUnit(value.to_owned()))
            }
            "systemd-unit" => Err(SelectorError::BadUnit {
                found: text.to_owned(),
            }),
            _ => Err(unknown()),
        }
    }
}

/// What is known of a connected process, by the kernel's word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProcessFacts {
    /// Effective user when it connected.
    pub uid: u32,
    /// Effective group when it connected.
    pub gid: u32,
    /// Path of its executable, if this agent may see it.
    pub path: Option<PathBuf>,
    /// SHA-256 of its executable, if it was needed and this agent may read it.
    pub sha256: Option<[u8; 32]>,
    /// Its control group, if this agent can see it.
    pub cgroup: Option<String>,
}

/// Why a selector is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// Not one of the kinds.
    #[error(
        "selector {found:?} is none of unix:uid:<number>, unix:gid:<number>, unix:path:<absolute \
         path>, unix:sha256:<hex>, unix:cgroup:<absolute path>, unix:systemd-unit:<name>"
    )]
    Unknown {
        /// The selector.
        found: String,
    },
    /// A user or group that is no number.
    #[error("selector {found:?} does not end in a number from 0 to {max}", max = u32::MAX)]
    BadNumber {
        /// The selector.
        found: String,
        /// What is wrong with the number.
        #[source]
        source: std::num::ParseIntError,
    },
    /// A path that does not start at the root.
    #[error("selector {found:?} does not hold an absolute path")]
    RelativePath {
        /// The selector.
        found: String,
    },
    /// Not a unit that processes belong to.
    #[error("selector {found:?} does not end in the name of a .service or .scope")]
    BadUnit {
        /// The selector.
        found: String,
    },
    /// Not 64 hex digits.
    #[error("selector {found:?} does not end in 64 hex digits")]
    BadDigest {
        /// The selector.
        found: String,
        /// What is wrong with the digits.
        #[source]
        source: hex::FromHexError,
    },
}

fn parse_id(text: &str, value: &str) -> Result<u32, SelectorError> {
    value.parse().map_err(|source| SelectorError::BadNumber {
        found: text.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> ProcessFacts {
        ProcessFacts {
            uid: 1000,
            gid: 100,
            path: Some(PathBuf::from("/usr/bin/envoy")),
            sha256: Some([0xab; 32]),
            cgroup: Some("/system.slice/web.service/worker".to_owned()),
        }
    }

    fn holds(text: &str) -> bool {
        text.parse::<Selector>().unwrap().holds(&process())
    }

    #[test]
    fn holds_for_the_process_it_describes_and_no_other() {
        assert!(holds("unix:uid:1000"));
        assert!(!holds("unix:uid:1001"));
        assert!(holds("unix:gid:100"));
        assert!(!holds("unix:gid:1000"));
        assert!(holds("unix:path:/usr/bin/envoy"));
        assert!(!holds("unix:path:/usr/bin/envoy2"));
        assert!(holds(&format!("unix:sha256:{}", "ab".repeat(32))));
        assert!(!holds(&format!("unix:sha256:{}", "ac".repeat(32))));
        assert!(holds("unix:cgroup:/system.slice/web.service/worker"));
        assert!(!holds("unix:cgroup:/system.slice/web.service"));
        assert!(holds("unix:systemd-unit:web.service"));
        assert!(!holds("unix:systemd-unit:worker.service"));
    }

    #[test]
    fn does_not_hold_for_what_is_unknown() {
        let unknown = ProcessFacts {
            path: None,
            sha256: None,
            cgroup: None,
            ..process()
        };
        assert!(!"unix:path:/".parse::<Selector>().unwrap().holds(&unknown));
        let unit = "unix:systemd-unit:web.service".parse::<Selector>().unwrap();
        assert!(!unit.holds(&unknown));
        let zeros = format!("unix:sha256:{}", "00".repeat(32));
        assert!(!zeros.parse::<Selector>().unwrap().holds(&unknown));
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for text in ["", "uid:0", "unix:uid", "unix:user:root", "k8s:ns:default"] {
            assert_eq!(
                text.parse::<Selector>(),
                Err(SelectorError::Unknown {
                    found: text.to_owned()
                })
            );
        }
        for text in [
            "unix:uid:",
            "unix:uid:-1",
            "unix:gid:root",
            "unix:uid:4294967296",
        ] {
            assert!(matches!(
                text.parse::<Selector>(),
                Err(SelectorError::BadNumber { .. })
            ));
        }
        assert!(matches!(
            "unix:path:bin/envoy".parse::<Selector>(),
            Err(SelectorError::RelativePath { .. })
        ));
        for text in [
            "unix:systemd-unit:",
            "unix:systemd-unit:web",
            "unix:systemd-unit:a/b.service",
        ] {
            assert!(matches!(
                text.parse::<Selector>(),
                Err(SelectorError::BadUnit { .. })
            ));
        }
        assert!(matches!(
            "unix:cgroup:web".parse::<Selector>(),
            Err(SelectorError::RelativePath { .. })
        ));
        assert!(matches!(
            "unix:sha256:abcd".parse::<Selector>(),
            Err(SelectorError::BadDigest { .. })
        ));
    }
}
