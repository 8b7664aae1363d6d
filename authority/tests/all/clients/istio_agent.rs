//! istio-agent: `CreateCertificate` behind a retrying call, a secret cache and a warm-up loop.
//!
//! * A call is made at most five times. Between the attempts it pauses 100, 200, 400, 800 ms, each
//!   ± 10 %. Only ResourceExhausted, Aborted, Internal and Unavailable are tried again. (Its
//!   configuration lists Canceled and DeadlineExceeded as well; the retry library of grpc-ecosystem
//!   never follows those two.) What fails to connect is Unavailable.
//! * After a failure the connection is closed, the root is read anew and a new one is opened.
//! * A chain of fewer than two elements is refused. The first element's end is the secret's end.
//! * Before the first certificate it tries for ever, with pauses from 0.5 s doubling to 60 s.
//! * It rotates when a half of the life, ± 1 %, is left; the cached secret goes first, so a failed
//!   rotation leaves it without one, and Envoy's SDS stream asks again.

use std::time::{Duration, Instant};

use tonic::Code;
use tonic::transport::Channel;

use super::keys::{self, WorkloadKey};
use super::wire::{self, Answer, Ask, CallError, Credential, Target};

/// An agent.
#[derive(Debug)]
pub(crate) struct IstioAgent {
    /// Where the CA is.
    pub(crate) target: Target,
    /// Its proof.
    pub(crate) credential: Credential,
    /// Whether the certificate it gets becomes its next proof (`OUTPUT_CERTS` is `PROV_CERT`).
    pub(crate) renews_by_certificate: bool,
    /// The workload's identity.
    pub(crate) id: String,
    /// Kind of its keys.
    pub(crate) key: WorkloadKey,
    /// `SECRET_TTL` in seconds.
    pub(crate) ttl_seconds: i64,
    /// What happened.
    pub(crate) counted: Counted,
    channel: Option<Channel>,
    random: u64,
}

/// What happened to an agent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counted {
    /// Certificates had.
    pub(crate) certificates: u32,
    /// Attempts that failed.
    pub(crate) failures: u32,
    /// Pauses between the attempts of one call.
    pub(crate) back_offs: u32,
    /// Calls given up: out of attempts, or with a code that is not tried again.
    pub(crate) given_up: u32,
    /// Longest pause of the warm-up loop, in milliseconds.
    pub(crate) longest_warm_up_ms: u64,
    /// Codes of the failures, in the order they came; connections that failed are Unavailable.
    pub(crate) codes: Vec<Code>,
}

impl IstioAgent {
    /// An agent that has nothing yet. `seed` is for its jitter.
    pub(crate) fn new(target: Target, credential: Credential, id: &str, seed: u64) -> Self {
        Self {
            target,
            credential,
            renews_by_certificate: false,
            id: id.to_owned(),
            key: WorkloadKey::default(),
            ttl_seconds: 24 * 3600,
            counted: Counted::default(),
            channel: None,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Warms up: tries until it has a certificate, for at most `patience` of the test.
    pub(crate) async fn warm_up(&mut self, patience: Duration) -> Option<Answer> {
        let begun = Instant::now();
        let mut pause = WARM_UP_FIRST;
        loop {
            if let Ok(answer) = self.sign().await {
                return Some(answer);
            }
            if begun.elapsed() + pause > patience {
                return None;
            }
            let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            self.counted.longest_warm_up_ms = self.counted.longest_warm_up_ms.max(millis);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(WARM_UP_LAST);
        }
    }

    /// One secret: a new key, a CSR, and the call with its retries.
    pub(crate) async fn sign(&mut self) -> Result<Answer, CallError> {
        let requested = keys::request(&self.id, self.key)?;
        let ask = Ask {
            csr_pem: requested.csr_pem,
            ttl_seconds: self.ttl_seconds,
            impersonate: None,
            cluster_id: "Kubernetes".to_owned(),
        };
        let answer = match self.retrying(&ask).await {
            Ok(answer) => answer,
            Err(error) => {
                self.counted.given_up += 1;
                return Err(error);
            }
        };
        self.counted.certificates += 1;
        if self.renews_by_certificate {
            let sent = answer.chain.split_last().map_or(&[][..], |(_, sent)| sent);
            self.credential = Credential::Certificate {
                chain_pem: sent.concat(),
                key_pem: requested.key_pem,
            };
            // The certificate is read from its files when a connection is made.
            self.channel = None;
        }
        Ok(answer)
    }

    /// When to rotate a certificate: what is left of its life then is half of it, ± 1 % of it.
    pub(crate) fn rotates_after(&mut self, answer: &Answer, now: identity::UnixTime) -> Duration {
        let life = answer
            .validity
            .not_after
            .secs_since(answer.validity.not_before);
        let left = answer.validity.not_after.secs_since(now).max(0);
        let millis = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
        let grace = millis(life) / 100 * self.between(49, 51);
        Duration::from_millis(millis(left).saturating_sub(grace))
    }

    async fn retrying(&mut self, ask: &Ask) -> Result<Answer, CallError> {
        let mut attempt = 0;
        loop {
            let error = match self.attempt(ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // The connection is made anew after every failure.
            self.channel = None;
            let code = code_of(&error);
            self.counted.failures += 1;
            self.counted.codes.extend(code);
            attempt += 1;
            if attempt >= ATTEMPTS || !code.is_some_and(is_tried_again) {
                return Err(error);
            }
            self.counted.back_offs += 1;
            let pause = FIRST_PAUSE * 2_u32.pow(attempt - 1);
            tokio::time::sleep(pause * u32::try_from(self.between(90, 110)).unwrap_or(100) / 100)
                .await;
        }
    }

    async fn attempt(&mut self, ask: &Ask) -> Result<Answer, CallError> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => {
                let channel = wire::connect(&self.target, &self.credential).await?;
                self.channel = Some(channel.clone());
                channel
            }
        };
        let answer = wire::call(channel, &self.credential, ask).await?;
        match answer.chain.len() {
            len @ (0 | 1) => Err(CallError::ShortChain { len }),
            _ => Ok(answer),
        }
    }

    /// A number from `low` to `high`; xorshift is random enough to spread pauses.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        low + self.random % (high - low + 1)
    }
}

/// The code the retry library sees; none for what fails on the agent's own side.
fn code_of(error: &CallError) -> Option<Code> {
    match error {
        CallError::Connect(_) => Some(Code::Unavailable),
        // A connection that breaks under a call is Unavailable to a Go client; tonic names what its
        // transport said.
        CallError::Status(status) if is_transport(status) => Some(Code::Unavailable),
        CallError::Status(status) => Some(status.code()),
        _ => None,
    }
}

fn is_transport(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some()
}

const fn is_tried_again(code: Code) -> bool {
    matches!(
        code,
        Code::ResourceExhausted | Code::Aborted | Code::Internal | Code::Unavailable
    )
}

const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const WARM_UP_FIRST: Duration = Duration::from_millis(500);
const WARM_UP_LAST: Duration = Duration::from_secs(60);
