//! Any bytes as `mesh.ply`: a mesh or an error, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamsmith_fuzz::read("mesh.ply", bytes));
