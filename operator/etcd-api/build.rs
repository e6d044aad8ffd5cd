//! Compiles `proto/` with protox, a compiler written in Rust, so that a build needs no `protoc`.

use std::error::Error;

const FILES: [&str; 3] = ["mvcc.proto", "rpc.proto", "clustermetadata.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .build_transport(false)
        .btree_map(".") // records are written as bytes: the order of their maps must not vary
        .compile_fds(files)?;
    Ok(())
}
