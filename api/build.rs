//! Compiles the protos to Rust in `OUT_DIR`, without `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(
        [
            root.join("istio/v1/auth/ca.proto"),
            root.join("countersign/agent/v1/agent.proto"),
            root.join("countersign/admin/v1/admin.proto"),
            root.join("countersign/issuance/v1/issuance.proto"),
            root.join("countersign/record/v1/record.proto"),
        ],
        [root],
    )?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
