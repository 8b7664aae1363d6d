//! The issuing path alone, over and over: something to hang a profiler on.
//!
//! `cargo bench -p countersign-authority --bench issue -- [in flight] [seconds]` verifies a CSR,
//! authorizes, lints, signs and records durably, without gRPC and TLS. The figures that count, side by
//! side with the network and others, are those of `just bench-authority`.

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use authority::bench::InProcess;
use identity::{SpiffeId, TrustDomain};
use rcgen::{CertificateParams, KeyPair};

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u64> = std::env::args()
        .filter_map(|text| text.parse().ok())
        .collect();
    let in_flight = numbers.first().copied().unwrap_or(64);
    let lasts = Duration::from_secs(numbers.get(1).copied().unwrap_or(5));
    let runtime = tokio::runtime::Runtime::new()?;
    let (count, elapsed) = runtime.block_on(run(in_flight, lasts))?;
    let rate = f64::from(count) / elapsed.as_secs_f64();
    writeln!(
        std::io::stdout(),
        "{count} certificates in {elapsed:.2?} with {in_flight} in flight: {rate:.0}/s"
    )?;
    Ok(())
}

async fn run(in_flight: u64, lasts: Duration) -> Result<(u32, Duration), Box<dyn Error>> {
    // On the disk of the checkout: where the system keeps temporary files in RAM, a durable write
    // would cost nothing.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let authority = InProcess::open(dir.path(), TrustDomain::new("cluster.local")?).await?;
    let mut lanes = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for lane in 0..in_flight {
        let csr = CertificateParams::default().serialize_request(&KeyPair::generate()?)?;
        let csr = csr.pem()?;
        let id = SpiffeId::new(format!("spiffe://cluster.local/ns/default/sa/web-{lane}"))?;
        let authority = authority.clone();
        lanes.spawn(async move {
            let mut count = 0_u32;
            while begun.elapsed() < lasts {
                authority.issue(&csr, id.clone()).await?;
                count += 1;
            }
            Ok::<_, authority::issue::IssueError>(count)
        });
    }
    let mut count = 0;
    while let Some(lane) = lanes.join_next().await {
        count += lane??;
    }
    Ok((count, begun.elapsed()))
}
