//! Folders that are broken: each is a typed error that names the file.

use std::path::Path;

use burn::tensor::Device;
use dreamsmith_nets::{NetError, Precision, TextEncoder};
use serde_json::Value;
use tempfile::TempDir;

use crate::golden::{cases, folder};

/// What comes of a copy of a case after `harm`.
fn harmed(case: &str, harm: impl FnOnce(&Path)) -> Result<TextEncoder, NetError> {
    let scratch = TempDir::new().unwrap();
    for entry in std::fs::read_dir(folder(case)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), scratch.path().join(entry.file_name())).unwrap();
    }
    harm(scratch.path());
    TextEncoder::load(scratch.path(), &Device::flex(), Precision::F32)
}

fn with_key(case: &str, key: &str, value: Value) -> Result<TextEncoder, NetError> {
    harmed(case, |folder| {
        let path = folder.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[key] = value;
        std::fs::write(path, config.to_string()).unwrap();
    })
}

fn said(result: Result<TextEncoder, NetError>) -> String {
    result.expect_err("it is broken").to_string()
}

#[test]
fn an_unharmed_copy_loads() {
    for case in cases() {
        harmed(case, |_| ()).unwrap();
    }
}

#[test]
fn missing_files_are_named() {
    for case in cases() {
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            let said = said(harmed(case, |folder| {
                std::fs::remove_file(folder.join(file)).unwrap();
            }));
            assert!(said.contains(file), "{case}: {said}");
        }
    }
    let nowhere = Path::new("/nonexistent/encoder");
    let missing = TextEncoder::load(nowhere, &Device::flex(), Precision::F32);
    assert!(matches!(missing, Err(NetError::File(_))));
}

#[test]
fn cut_files_are_named() {
    for case in cases() {
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            for keep in [0, 1, 2, 3] {
                let said = said(harmed(case, |folder| {
                    let path = folder.join(file);
                    let bytes = std::fs::read(&path).unwrap();
                    std::fs::write(&path, &bytes[..bytes.len() * keep / 4]).unwrap();
                }));
                assert!(said.contains(file), "{case}: {said}");
            }
        }
    }
}

#[test]
fn absurd_configs_are_refused() {
    let absurd = [
        ("model_type", Value::from("gpt2")),
        ("model_type", Value::Null),
        ("vocab_size", u64::MAX.into()),
        ("vocab_size", (1u64 << 40).into()),
        ("hidden_size", 0.into()),
        ("hidden_size", 13.into()),
        ("hidden_act", "gelu_of_mine".into()),
        ("num_hidden_layers", 1_000_000_000.into()),
        ("num_hidden_layers", 3.into()),
        ("num_attention_heads", 0.into()),
        ("num_attention_heads", 5.into()),
        ("intermediate_size", (-1).into()),
        ("intermediate_size", 24.into()),
        ("max_position_embeddings", 1_000_000_000_000u64.into()),
        ("position_embedding_type", "relative_key".into()),
        ("is_decoder", true.into()),
    ];
    for (key, value) in absurd {
        let shown = value.to_string();
        let said = said(with_key("bert", key, value));
        let named =
            said.contains(key) || said.contains("the config wants") || said.contains("missing");
        assert!(named, "{key} = {shown}: {said}");
    }
}

#[test]
fn a_vocabulary_that_is_too_large_is_refused() {
    let said = said(harmed("bert", |folder| {
        let path = folder.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = text.replacen("\"chair\": 69", "\"chair\": 96", 1);
        assert_ne!(changed, text);
        std::fs::write(path, changed).unwrap();
    }));
    assert!(said.contains("token 96"), "{said}");
}
