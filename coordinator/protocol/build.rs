//! Compiles the `.proto` files with protox, so that no `protoc` is needed on the machine.

use std::error::Error;

use prost::Message;

const FILES: [&str; 5] = [
    "proto/common.proto",
    "proto/checkpoint.proto",
    "proto/worker.proto",
    "proto/data.proto",
    "proto/client.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // Few reports have it, and all would be as large.
        .boxed(".regent.v1.TaskReport.metrics")
        .compile_fds(descriptors)?;
    Ok(())
}
