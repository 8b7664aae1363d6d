//! The requests to try, as curl lines that anyone can paste, and what each must show.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::failure::Failure;
use crate::up::layout::Layout;

/// A request and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// What it shows, in a few words.
    pub(crate) title: &'static str,
    /// curl's arguments.
    pub(crate) arguments: Vec<String>,
    /// What must be seen.
    pub(crate) expected: Expected,
}

/// What a request must show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    /// This status, decided by the server's filter for this reason.
    Inbound {
        /// HTTP status.
        status: u16,
        /// The reason's stable name.
        reason: &'static str,
    },
    /// 503 by the client's Envoy, whose filter refused the server for this reason.
    Held {
        /// The reason's stable name.
        reason: &'static str,
    },
    /// 503 by the client's Envoy, which counts a handshake whose SANs did not match.
    WrongServer,
    /// No HTTP answer at all: the server's Envoy counts a handshake that it refused.
    NoAnswer,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inbound { status, reason } => write!(f, "{status} {reason}"),
            Self::Held { reason } => write!(f, "503 {reason}, held"),
            Self::WrongServer => f.write_str("503, handshake refused"),
            Self::NoAnswer => f.write_str("no answer, handshake refused"),
        }
    }
}

/// What curl saw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// An answer, and the first line of its body.
    Answer {
        /// HTTP status.
        status: u16,
        /// First line of the body.
        body: String,
    },
    /// curl's own failure, such as a connection that was reset.
    Failed {
        /// What curl said.
        message: String,
    },
}

impl Call {
    /// The line to paste.
    pub(crate) fn line(&self) -> String {
        let quoted = self.arguments.iter().map(|argument| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
            if argument.chars().all(plain) {
                argument.clone()
            } else {
                format!("'{argument}'")
            }
        });
        format!("curl {}", quoted.collect::<Vec<_>>().join(" "))
    }

    /// Makes the request with curl, at most ten seconds.
    pub(crate) async fn make(&self) -> Result<Seen, Failure> {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "10", "-o", "-", "-w", "\n%{http_code}"])
            .args(&self.arguments)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(15), output)
            .await
            .map_err(|elapsed| Failure::part("curl", elapsed))?
            .map_err(|error| Failure::part("curl", error))?;
        Ok(Seen::of_curl(&output.stdout, &output.stderr))
    }
}

impl Seen {
    fn of_curl(stdout: &[u8], stderr: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stdout);
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", &text));
        match status.trim().parse() {
            Ok(status) if status != 0 => Self::Answer {
                status,
                body: body.lines().next().unwrap_or_default().to_owned(),
            },
            _ => {
                let message = String::from_utf8_lossy(stderr);
                let message = message.lines().next().unwrap_or("no answer").trim();
                Self::Failed {
                    message: message.trim_start_matches("curl: ").to_owned(),
                }
            }
        }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer { status, body } => write!(f, "{status} {body}"),
            Self::Failed { message } => write!(f, "no answer: {message}"),
        }
    }
}

/// The menu for a world laid out like this.
pub(crate) fn calls(layout: &Layout) -> Vec<Call> {
    let client = format!("http://{}", layout.client_listen);
    let server = layout.server_listen;
    let arguments = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let file = |name: &str| path_text(&layout.impostor_files().join(name));
    let (chain, key) = (file("cert-chain.pem"), file("key.pem"));
    vec![
        Call {
            title: "allowed",
            arguments: arguments(&[&format!("{client}/get")]),
            expected: Expected::Inbound {
                status: 200,
                reason: "matched_allow",
            },
        },
        Call {
            title: "denied path (DENY rule)",
            arguments: arguments(&[&format!("{client}/admin")]),
            expected: Expected::Inbound {
                status: 403,
                reason: "matched_deny",
            },
        },
        Call {
            title: "path that nothing allows",
            arguments: arguments(&[&format!("{client}/anything")]),
            expected: Expected::Inbound {
                status: 403,
                reason: "no_allow_matched",
            },
        },
        Call {
            title: "wrong identity",
            // A SPIFFE certificate names no host, so curl cannot check one (-k); the subject of
            // this call is what the server thinks of the client.
            arguments: arguments(&[
                "-k",
                "--cert",
                &chain,
                "--key",
                &key,
                &format!("https://{server}/get"),
            ]),
            expected: Expected::Inbound {
                status: 403,
                reason: "no_allow_matched",
            },
        },
        Call {
            title: "no certificate",
            arguments: arguments(&["-k", &format!("https://{server}/get")]),
            expected: Expected::NoAnswer,
        },
        Call {
            title: "plaintext",
            arguments: arguments(&[&format!("http://{server}/get")]),
            expected: Expected::NoAnswer,
        },
        Call {
            title: "impostor, SAN matcher",
            arguments: arguments(&[
                "-H",
                &host(layout.hijacked_host()),
                &format!("{client}/get"),
            ]),
            expected: Expected::WrongServer,
        },
        Call {
            title: "impostor, request held",
            arguments: arguments(&[
                "-H",
                &host(layout.unlocked_host()),
                &format!("{client}/get"),
            ]),
            expected: Expected::Held {
                reason: "unexpected_identity",
            },
        },
    ]
}

fn host(name: &str) -> String {
    format!("host: {name}")
}

/// As short as it can be pasted: relative where the working folder allows.
fn path_text(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curl_without_an_answer_is_not_a_status() {
        let seen = Seen::of_curl(
            b"\n000",
            b"curl: (56) Recv failure: Connection reset by peer\n",
        );
        let message = "(56) Recv failure: Connection reset by peer".to_owned();
        assert_eq!(seen, Seen::Failed { message });
        assert_eq!(
            Seen::of_curl(b"", b""),
            Seen::Failed {
                message: "no answer".to_owned()
            }
        );
    }

    #[test]
    fn curl_with_an_answer_gives_status_and_first_line() {
        let seen = Seen::of_curl(b"RBAC: access denied\n403", b"");
        assert_eq!(
            seen,
            Seen::Answer {
                status: 403,
                body: "RBAC: access denied".to_owned()
            }
        );
    }

    #[test]
    fn lines_can_be_pasted_into_a_shell() {
        let call = Call {
            title: "",
            arguments: vec![
                "-H".to_owned(),
                "host: x.example".to_owned(),
                "http://[::1]:1/".to_owned(),
            ],
            expected: Expected::NoAnswer,
        };
        assert_eq!(call.line(), "curl -H 'host: x.example' 'http://[::1]:1/'");
    }
}
