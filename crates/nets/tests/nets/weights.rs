//! Weight files: round trips, half precision, and every way to be broken.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use dreamsmith_nets::Precision;
use dreamsmith_nets::folder::{CONFIG_FILE, WEIGHT_FILE};
use dreamsmith_nets::{
    NetError, UNet2DConfig, UNet2DModel, WeightType, load_weights, named_parameters,
};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

use crate::golden::{CONDITIONAL, Case, UNCONDITIONAL, folder, relative_error, values};

fn net() -> UNet2DModel {
    UNet2DModel::load(&folder("uncond"), &Device::flex(), Precision::F32).unwrap()
}

/// A fresh network of the same config, which loads what `write` leaves in a file.
fn loaded(write: impl FnOnce(&Path)) -> Result<UNet2DModel, NetError> {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join(WEIGHT_FILE);
    write(&path);
    load_weights(
        net()
            .config()
            .init(3, &Device::flex(), Precision::F32)
            .unwrap(),
        &path,
    )
}

/// The golden file's tensors as (name, dtype, shape, bytes), changed by `change`.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn rewritten(change: impl FnOnce(&mut Vec<Stored>)) -> impl FnOnce(&Path) {
    |path| {
        let bytes = std::fs::read(folder("uncond").join(WEIGHT_FILE)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut stored: Vec<Stored> = file
            .iter()
            .map(|(name, view)| {
                (
                    name.to_owned(),
                    view.dtype(),
                    view.shape().to_vec(),
                    view.data().to_vec(),
                )
            })
            .collect();
        stored.sort();
        change(&mut stored);
        let views = stored.iter().map(|(name, dtype, shape, bytes)| {
            (
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
            )
        });
        safetensors::serialize_to_file(views, None, path).unwrap();
    }
}

fn golden_bytes() -> Vec<u8> {
    std::fs::read(folder("uncond").join(WEIGHT_FILE)).unwrap()
}

fn written(bytes: Vec<u8>) -> impl FnOnce(&Path) {
    move |path| std::fs::write(path, bytes).unwrap()
}

fn data(net: &UNet2DModel) -> Vec<(String, TensorData)> {
    named_parameters(net)
        .into_iter()
        .map(|p| (p.name, p.values.into_data()))
        .collect()
}

fn to_f32(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
}

#[test]
fn f32_round_trip_is_exact_and_has_the_bytes_of_diffusers() {
    for name in UNCONDITIONAL.into_iter().chain(CONDITIONAL) {
        let scratch = TempDir::new().unwrap();
        let case = Case::load(name, &folder(name), &Device::flex());
        let saved = scratch.path().join("deeper/unet");
        match &case {
            Case::Unconditional(net, _) => net.save(&saved, WeightType::F32).unwrap(),
            Case::Conditional(net, _) => net.save(&saved, WeightType::F32).unwrap(),
        }
        let again = Case::load(name, &saved, &Device::flex());
        assert_eq!(values(again.forward()), values(case.forward()), "{name}");

        let (ours, theirs) = [saved, folder(name)]
            .map(|dir| std::fs::read(dir.join(WEIGHT_FILE)).unwrap())
            .into();
        let ours = SafeTensors::deserialize(&ours).unwrap();
        let theirs = SafeTensors::deserialize(&theirs).unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (tensor, view) in theirs.iter() {
            assert_eq!(ours.tensor(tensor).unwrap(), view, "{name}: {tensor}");
        }
    }
}

#[test]
fn python_finds_the_class_and_the_framework() {
    let scratch = TempDir::new().unwrap();
    net().save(scratch.path(), WeightType::F32).unwrap();
    let config = std::fs::read_to_string(scratch.path().join(CONFIG_FILE)).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["_class_name"], "UNet2DModel");
    assert_eq!(
        config["down_block_types"],
        serde_json::json!(["DownBlock2D", "AttnDownBlock2D"])
    );
    let bytes = std::fs::read(scratch.path().join(WEIGHT_FILE)).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
}

#[test]
fn half_precision_is_read() {
    // Half a unit in the last of 11 and of 8 bits, passed through a network that neither magnifies
    // nor shrinks them much.
    for (dtype, tolerance) in [(Dtype::F16, 2e-3), (Dtype::BF16, 2e-2)] {
        let half = loaded(rewritten(|stored| {
            for (_, kind, _, bytes) in stored {
                let halves = to_f32(bytes).flat_map(|x| match dtype {
                    Dtype::F16 => f16::from_f32(x).to_le_bytes(),
                    _ => bf16::from_f32(x).to_le_bytes(),
                });
                (*bytes, *kind) = (halves.collect(), dtype);
            }
        }))
        .unwrap();
        for ((name, found), (_, exact)) in data(&half).iter().zip(data(&net())) {
            for (found, exact) in found.iter::<f32>().zip(exact.iter::<f32>()) {
                let wanted = match dtype {
                    Dtype::F16 => f16::from_f32(exact).to_f32(),
                    _ => bf16::from_f32(exact).to_f32(),
                };
                assert_eq!(found, wanted, "{name}");
            }
        }
        let case = Case::load("uncond", &folder("uncond"), &Device::flex());
        let output = half.forward(
            case.inputs().tensor("sample"),
            case.inputs().tensor("timestep"),
            case.inputs().labels(),
        );
        let error = relative_error(&values(output), &values(case.forward()));
        assert!(0.0 < error && error < tolerance, "{dtype:?}: {error:.1e}");
    }
}

#[test]
fn bf16_is_written_rounded_to_nearest() {
    let again = loaded(|path| {
        dreamsmith_nets::save_weights(&net(), path, WeightType::Bf16).unwrap();
        let size = std::fs::metadata(path).unwrap().len();
        assert!(size < golden_bytes().len() as u64 * 2 / 3, "{size}");
    });
    for ((name, found), (_, exact)) in data(&again.unwrap()).iter().zip(data(&net())) {
        for (found, exact) in found.iter::<f32>().zip(exact.iter::<f32>()) {
            assert_eq!(found, bf16::from_f32(exact).to_f32(), "{name}");
        }
    }
}

#[test]
fn matrices_in_f8_come_back_within_half_a_step_and_vectors_in_f16() {
    let again = loaded(|path| {
        dreamsmith_nets::save_weights(&net(), path, WeightType::F8).unwrap();
        let size = std::fs::metadata(path).unwrap().len();
        assert!(size < golden_bytes().len() as u64 / 2, "{size}");
        // As safetensors of others want it.
        let bytes = std::fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, tensor) in file.tensors() {
            let wanted = match tensor.shape().len() {
                1 => Dtype::F16,
                _ => Dtype::F8_E4M3,
            };
            assert_eq!(tensor.dtype(), wanted, "{name}");
        }
    });
    let again = named_parameters(&again.unwrap());
    for (found, exact) in again.iter().zip(named_parameters(&net())) {
        let (name, is_vector) = (&found.name, found.shape.len() == 1);
        for (found, exact) in values(found.values.clone())
            .iter()
            .zip(values(exact.values))
        {
            // Steps of 1/8 at 1; below 2^-6, of 2^-9.
            let half_step = (exact.abs() / 16.0).max(1.0 / 1024.0);
            match is_vector {
                true => assert_eq!(*found, f16::from_f32(exact).to_f32(), "{name}"),
                false => assert!(
                    (found - exact).abs() <= half_step,
                    "{name}: {found} {exact}"
                ),
            }
        }
    }
}

#[test]
fn old_names_of_attention_layers_are_known() {
    let old = loaded(rewritten(|stored| {
        for (name, ..) in stored {
            *name = name
                .replace(".to_q.", ".query.")
                .replace(".to_k.", ".key.")
                .replace(".to_v.", ".value.")
                .replace(".to_out.0.", ".proj_attn.");
        }
    }));
    assert_eq!(data(&old.unwrap()), data(&net()));
}

#[test]
fn a_missing_tensor_is_named() {
    let error = loaded(rewritten(|stored| {
        stored.retain(|(name, ..)| !name.starts_with("conv_in"))
    }));
    let error = error.unwrap_err();
    assert!(
        matches!(&error, NetError::MissingTensor { name, others: 1, .. } if name == "conv_in.bias"),
        "{error}"
    );
}

#[test]
fn an_unexpected_tensor_is_named() {
    let error = loaded(rewritten(|stored| {
        stored.push((
            "conv_between.bias".to_owned(),
            Dtype::F32,
            vec![1],
            vec![0; 4],
        ));
    }));
    let error = error.unwrap_err();
    assert!(
        matches!(&error, NetError::UnexpectedTensor { name, others: 0, .. } if name == "conv_between.bias"),
        "{error}"
    );
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let error = loaded(rewritten(|stored| {
        let (_, _, shape, _) = stored
            .iter_mut()
            .find(|(name, ..)| name == "conv_out.weight")
            .unwrap();
        shape.swap(0, 1);
    }));
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("`conv_out.weight` is [4, 3, 3, 3], the config wants [3, 4, 3, 3]"),
        "{error}"
    );
}

#[test]
fn an_element_type_that_is_not_read_is_named() {
    let error = loaded(rewritten(|stored| {
        let (_, kind, ..) = stored
            .iter_mut()
            .find(|(name, ..)| name == "conv_out.bias")
            .unwrap();
        *kind = Dtype::I32;
    }));
    let error = error.unwrap_err();
    assert!(
        matches!(&error, NetError::ElementType { name, .. } if name == "conv_out.bias"),
        "{error}"
    );
}

#[test]
fn broken_files_are_refused_before_anything_is_allocated() {
    let whole = golden_bytes();
    let header_of = |length: u64| [length.to_le_bytes().to_vec(), whole[8..].to_vec()].concat();
    let cases = [
        ("empty", Vec::new()),
        ("shorter than its prefix", whole[..5].to_vec()),
        (
            "text",
            b"These are not the weights you are looking for.".to_vec(),
        ),
        ("cut in the header", whole[..100].to_vec()),
        ("cut in the data", whole[..whole.len() - 4].to_vec()),
        ("with a tail", [whole.as_slice(), &[0; 4]].concat()),
        ("header beyond the file", header_of(whole.len() as u64)),
        ("header of 16 EiB", header_of(u64::MAX)),
        ("header that is not JSON", header_of(64)),
    ];
    for (what, bytes) in cases {
        let error = loaded(written(bytes)).expect_err(what);
        assert!(
            matches!(error, NetError::NotSafetensors { .. }),
            "{what}: {error}"
        );
    }
    // A tensor said to be far larger than the file.
    let claim = br#"{"conv_in.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    let bytes = [(claim.len() as u64).to_le_bytes().as_slice(), claim].concat();
    let error = loaded(written(bytes)).unwrap_err();
    assert!(matches!(error, NetError::NotSafetensors { .. }), "{error}");
}

#[test]
fn a_folder_without_config_or_weights_is_named() {
    let scratch = TempDir::new().unwrap();
    let load = || UNet2DModel::load(scratch.path(), &Device::flex(), Precision::F32).unwrap_err();
    assert!(matches!(load(), NetError::File(_)));
    std::fs::write(
        scratch.path().join(CONFIG_FILE),
        UNet2DConfig::default().to_json(),
    )
    .unwrap();
    assert!(matches!(load(), NetError::NoWeights { .. }));
    std::fs::write(scratch.path().join(CONFIG_FILE), r#"{"act_fn": "snake"}"#).unwrap();
    let error = load().to_string();
    assert!(
        error.contains("config.json") && error.contains("act_fn"),
        "{error}"
    );
}

#[test]
fn an_unwritable_place_is_an_error_and_leaves_nothing() {
    let scratch = TempDir::new().unwrap();
    let blocked: PathBuf = scratch.path().join("file");
    std::fs::write(&blocked, "in the way").unwrap();
    assert!(matches!(
        net().save(&blocked, WeightType::F32),
        Err(NetError::File(_))
    ));
    assert_eq!(std::fs::read_to_string(&blocked).unwrap(), "in the way");
}
