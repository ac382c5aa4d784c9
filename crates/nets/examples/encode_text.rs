//! Writes what a text encoder makes of prompts, for `tools/parity/text.py`:
//! `encode_text FOLDER PROMPTS.json OUT.safetensors`, or `encode_text --f16 FOLDER COPY PROMPTS.json OUT.safetensors`,
//! which first copies the encoder in half precision and reads the copy.

use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use dreamsmith_nets::{Precision, TextEncoder, WeightType};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (folder, prompts, out) = match arguments[..] {
        ["--f16", folder, copy, prompts, out] => {
            load(folder)?.save(Path::new(copy), WeightType::F16)?;
            (copy, prompts, out)
        }
        [folder, prompts, out] => (folder, prompts, out),
        _ => return Err("wanted [--f16] FOLDER [COPY] PROMPTS.json OUT.safetensors".into()),
    };
    let prompts: Vec<String> = serde_json::from_slice(&std::fs::read(prompts)?)?;
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let found = load(folder)?.encode(&prompts)?;
    let tensors = [
        ("states", stored(found.states)),
        ("mask", stored(found.mask.float())),
        ("pooled", stored(found.pooled)),
    ];
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (*name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    Ok(safetensors::serialize_to_file(views, None, Path::new(out))?)
}

fn load(folder: &str) -> Result<TextEncoder, Box<dyn Error>> {
    let device = Device::flex();
    Ok(TextEncoder::load(
        Path::new(folder),
        &device,
        Precision::F32,
    )?)
}

fn stored<const D: usize>(tensor: Tensor<D>) -> (Vec<usize>, Vec<u8>) {
    let shape = tensor.dims().to_vec();
    let data = tensor.into_data();
    let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
    (shape, bytes)
}
