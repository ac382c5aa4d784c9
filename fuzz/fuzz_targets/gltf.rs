//! Any bytes as `mesh.glb`: a mesh or an error, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamsmith_fuzz::read("mesh.glb", bytes));
