//! The golden cases of testdata/text.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use dreamsmith_nets::{Precision, TextEncoder, TextStates};
use safetensors::SafeTensors;

/// Read in one piece, with a mask.
pub const MASKED: [&str; 4] = ["bert", "bert_variant", "t5_v1_0", "t5_v1_1"];

/// Filled up, without a mask, in as many windows as it takes.
pub const FILLED: [&str; 2] = ["clip_openai", "clip_openclip"];

pub fn cases() -> impl Iterator<Item = &'static str> {
    MASKED.into_iter().chain(FILLED)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/text")
}

pub fn folder(case: &str) -> PathBuf {
    root().join(case)
}

pub fn load(case: &str) -> TextEncoder {
    TextEncoder::load(&folder(case), &Device::flex(), Precision::F32).unwrap()
}

pub fn prompts() -> Vec<String> {
    serde_json::from_slice(&std::fs::read(root().join("prompts.json")).unwrap()).unwrap()
}

pub fn encode(encoder: &TextEncoder, prompts: &[String]) -> TextStates {
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    encoder.encode(&prompts).unwrap()
}

/// A tensor of io.safetensors with its shape.
pub fn wanted(case: &str, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(folder(case).join("io.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let values = view.data().chunks_exact(4);
    let values = values.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    (view.shape().to_vec(), values.collect())
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// States, mask and pooled vectors as numbers.
pub fn numbers(found: TextStates) -> [Vec<f32>; 3] {
    [
        values(found.states),
        values(found.mask.float()),
        values(found.pooled),
    ]
}

/// ‖a - b‖ / ‖b‖.
pub fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm =
        |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}
