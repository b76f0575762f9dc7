//! Compiles the .proto files without `protoc`: messages, the service's server and client, and serde for the JSON form.

use std::error::Error;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(["google/firestore/v1/firestore.proto", "onestore.proto"])?;
    let files = compiler.file_descriptor_set();
    let descriptors = files.encode_to_vec();
    // Both builders must hear of the types that are not generated, or the one refers to modules the other does not make.
    let timestamp = (".google.protobuf.Timestamp", "crate::wkt::Timestamp");
    let well_known = (".google.protobuf", "::pbjson_types");
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(timestamp.0, timestamp.1)
        .extern_path(well_known.0, well_known.1)
        .codec_path("crate::codec::Codec")
        // Sorted maps make every encoding the same each time.
        .btree_map(".")
        .compile_fds(files)?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors)?
        .extern_path(timestamp.0, timestamp.1)
        .extern_path(well_known.0, well_known.1)
        .btree_map(["."])
        .ignore_unknown_fields()
        // Written by hand in `value`.
        .exclude([".google.firestore.v1.Value"])
        .build(&[".google.firestore.v1", ".google.rpc", ".google.type"])?;
    Ok(())
}
