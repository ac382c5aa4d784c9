//! Configs: defaults, unknown keys, and what is refused, by key and value.

use burn::tensor::Device;
use dreamsmith_nets::Precision;
use dreamsmith_nets::{NetError, UNet2DConditionConfig, UNet2DConfig};
use serde_json::{Value, json};

use crate::golden::{CONDITIONAL, UNCONDITIONAL, folder};

fn refused_2d(config: Value) -> String {
    let build = |config: UNet2DConfig| config.init(0, &Device::flex(), Precision::F32).map(|_| ());
    UNet2DConfig::from_json(&config.to_string())
        .and_then(build)
        .unwrap_err()
        .to_string()
}

fn refused_condition(config: Value) -> String {
    let build =
        |config: UNet2DConditionConfig| config.init(0, &Device::flex(), Precision::F32).map(|_| ());
    UNet2DConditionConfig::from_json(&config.to_string())
        .and_then(build)
        .unwrap_err()
        .to_string()
}

#[test]
fn what_is_written_is_what_diffusers_wrote() {
    for name in UNCONDITIONAL.into_iter().chain(CONDITIONAL) {
        let text = std::fs::read_to_string(folder(name).join("config.json")).unwrap();
        let ours = if UNCONDITIONAL.contains(&name) {
            UNet2DConfig::from_json(&text).unwrap().to_json()
        } else {
            UNet2DConditionConfig::from_json(&text).unwrap().to_json()
        };
        let read = |text: &str| {
            let mut keys: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
            keys.remove("_diffusers_version");
            // 0 and 0.0 are one number.
            for value in keys.values_mut().filter(|value| value.is_number()) {
                *value = json!(value.as_f64());
            }
            keys
        };
        assert_eq!(read(&ours), read(&text), "{name}");
    }
}

#[test]
fn defaults_are_those_of_diffusers() {
    let empty = UNet2DConfig::from_json("{}").unwrap();
    assert_eq!(empty, UNet2DConfig::default());
    assert_eq!(empty.block_out_channels, [224, 448, 672, 896]);
    let net = UNet2DConditionConfig::from_json("{}").unwrap();
    assert!(net.init(0, &Device::flex(), Precision::F32).is_ok());
}

#[test]
fn unknown_keys_are_passed_over() {
    let config = UNet2DConfig::from_json(r#"{"_name_or_path": "x", "some_new_key": [1]}"#).unwrap();
    assert_eq!(config, UNet2DConfig::default());
}

#[test]
fn unsupported_values_are_named_with_their_keys() {
    let cases = [
        (
            "time_embedding_type",
            refused_2d(json!({"time_embedding_type": "fourier"})),
        ),
        ("act_fn", refused_2d(json!({"act_fn": "snake"}))),
        ("norm_num_groups", refused_2d(json!({"norm_num_groups": 9}))),
        ("norm_num_groups", refused_2d(json!({"norm_num_groups": 0}))),
        (
            "norm_num_groups",
            refused_2d(json!({"norm_num_groups": null})),
        ),
        ("dropout", refused_2d(json!({"dropout": 0.1}))),
        (
            "down_block_types",
            refused_2d(json!({"down_block_types": ["SkipDownBlock2D"]})),
        ),
        (
            "up_block_types",
            refused_2d(json!({"up_block_types": ["UpBlock2D"]})),
        ),
        (
            "down_block_types",
            refused_2d(json!({"down_block_types": [], "up_block_types": []})),
        ),
        (
            "block_out_channels",
            refused_2d(json!({"block_out_channels": [32, 64]})),
        ),
        (
            "block_out_channels",
            refused_2d(json!({"block_out_channels": [0, 0, 0, 0]})),
        ),
        (
            "block_out_channels",
            refused_2d(json!({"block_out_channels": [1u64 << 60, 1, 1, 1]})),
        ),
        (
            "block_out_channels",
            refused_2d(json!({"block_out_channels": [-32, 64, 64, 64]})),
        ),
        (
            "layers_per_block",
            refused_2d(json!({"layers_per_block": 0})),
        ),
        (
            "layers_per_block",
            refused_2d(json!({"layers_per_block": 1u64 << 40})),
        ),
        (
            "attention_head_dim",
            refused_2d(json!({"attention_head_dim": 0})),
        ),
        ("in_channels", refused_2d(json!({"in_channels": 0}))),
        (
            "num_class_embeds",
            refused_2d(json!({"num_class_embeds": u64::MAX})),
        ),
        (
            "cross_attention_dim",
            refused_2d(json!({
                "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"],
                "attention_head_dim": 8,
            })),
        ),
        (
            "dual_cross_attention",
            refused_condition(json!({"dual_cross_attention": true})),
        ),
        (
            "num_attention_heads",
            refused_condition(json!({"num_attention_heads": 8})),
        ),
        (
            "attention_type",
            refused_condition(json!({"attention_type": "gated"})),
        ),
        (
            "addition_embed_type",
            refused_condition(json!({"addition_embed_type": "image"})),
        ),
        (
            "addition_embed_type_num_heads",
            refused_condition(json!({
                "addition_embed_type": "text", "addition_embed_type_num_heads": 7,
            })),
        ),
        (
            "addition_time_embed_dim",
            refused_condition(json!({"addition_embed_type": "text_time"})),
        ),
        (
            "projection_class_embeddings_input_dim",
            refused_condition(json!({"class_embed_type": "projection"})),
        ),
        (
            "encoder_hid_dim_type",
            refused_condition(json!({"encoder_hid_dim_type": "text_proj"})),
        ),
        (
            "cross_attention_dim",
            refused_condition(json!({
                "encoder_hid_dim": 8, "cross_attention_dim": [8, 8, 8, 16],
            })),
        ),
        (
            "only_cross_attention",
            refused_condition(json!({"only_cross_attention": [true]})),
        ),
        (
            "attention_head_dim",
            refused_condition(json!({"attention_head_dim": [8, 8]})),
        ),
        (
            "attention_head_dim",
            refused_condition(json!({"attention_head_dim": 100_000})),
        ),
        (
            "transformer_layers_per_block",
            refused_condition(json!({"transformer_layers_per_block": [[1], 1, 1, 1]})),
        ),
        (
            "transformer_layers_per_block",
            refused_condition(json!({"transformer_layers_per_block": 1u64 << 40})),
        ),
        (
            "reverse_transformer_layers_per_block",
            refused_condition(json!({"reverse_transformer_layers_per_block": [1]})),
        ),
        (
            "conv_in_kernel",
            refused_condition(json!({"conv_in_kernel": 2})),
        ),
        (
            "conv_out_kernel",
            refused_condition(json!({"conv_out_kernel": 0})),
        ),
        (
            "time_cond_proj_dim",
            refused_condition(json!({"time_cond_proj_dim": 256})),
        ),
        (
            "timestep_post_act",
            refused_condition(json!({"timestep_post_act": "silu"})),
        ),
        (
            "time_embedding_dim",
            refused_condition(json!({"time_embedding_dim": 0})),
        ),
    ];
    for (key, error) in cases {
        assert!(
            error.starts_with(&format!("config key `{key}` is ")),
            "{key}: {error}"
        );
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in ["", "[]", "{", "null", "{\"in_channels\": }"] {
        assert!(
            matches!(UNet2DConfig::from_json(text), Err(NetError::NotJson(_))),
            "{text}"
        );
    }
}
