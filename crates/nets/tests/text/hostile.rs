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
    let huge = || Value::from(1u64 << 40);
    let absurd = [
        ("bert", "model_type", Value::from("gpt2")),
        ("bert", "model_type", Value::Null),
        ("bert", "vocab_size", u64::MAX.into()),
        ("bert", "vocab_size", huge()),
        ("bert", "hidden_size", 0.into()),
        ("bert", "hidden_size", 13.into()),
        ("bert", "hidden_act", "gelu_of_mine".into()),
        ("bert", "num_hidden_layers", 1_000_000_000.into()),
        ("bert", "num_hidden_layers", 3.into()),
        ("bert", "num_attention_heads", 0.into()),
        ("bert", "num_attention_heads", 5.into()),
        ("bert", "intermediate_size", (-1).into()),
        ("bert", "intermediate_size", 24.into()),
        ("bert", "max_position_embeddings", huge()),
        ("bert", "position_embedding_type", "relative_key".into()),
        ("bert", "is_decoder", true.into()),
        ("t5_v1_0", "d_kv", u64::MAX.into()),
        ("t5_v1_0", "d_kv", 6.into()),
        ("t5_v1_0", "num_heads", 0.into()),
        ("t5_v1_0", "num_layers", huge()),
        ("t5_v1_0", "feed_forward_proj", "gated-mystery".into()),
        ("t5_v1_0", "feed_forward_proj", "gated-gelu".into()),
        ("t5_v1_0", "relative_attention_num_buckets", 1.into()),
        ("t5_v1_0", "relative_attention_num_buckets", huge()),
        ("t5_v1_0", "relative_attention_max_distance", 3.into()),
        ("clip_openai", "vocab_size", huge()),
        ("clip_openai", "hidden_size", 14.into()),
        ("clip_openai", "max_position_embeddings", 2.into()),
        ("clip_openai", "hidden_act", Value::Null),
        ("clip_openclip", "projection_dim", huge()),
        ("clip_openclip", "projection_dim", 11.into()),
        ("clip_openclip", "model_type", "clip".into()),
    ];
    for (case, key, value) in absurd {
        let shown = value.to_string();
        let said = said(with_key(case, key, value));
        let misfit = [
            "the config wants",
            "missing",
            "not part of",
            "around a prompt",
            "does not divide",
            "the distance of",
            "JSON",
        ];
        let named = said.contains(key) || misfit.iter().any(|words| said.contains(words));
        assert!(named, "{case}: {key} = {shown}: {said}");
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
