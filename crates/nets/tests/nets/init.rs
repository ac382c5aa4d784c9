//! The first weights: the same everywhere, and distributed as PyTorch's.

use burn::tensor::{Device, TensorData};
use dreamsmith_nets::Precision;
use dreamsmith_nets::{DownBlockType, NamedParameter, UNet2DConfig, UpBlockType, named_parameters};

fn config() -> UNet2DConfig {
    UNet2DConfig {
        down_block_types: vec![DownBlockType::DownBlock2D, DownBlockType::AttnDownBlock2D],
        up_block_types: vec![UpBlockType::AttnUpBlock2D, UpBlockType::UpBlock2D],
        block_out_channels: vec![32, 64],
        num_class_embeds: Some(100),
        ..UNet2DConfig::default()
    }
}

fn parameters(seed: u64, device: &Device) -> Vec<NamedParameter> {
    named_parameters(&config().init(seed, device, Precision::F32).unwrap())
}

fn data(parameters: &[NamedParameter]) -> Vec<TensorData> {
    parameters.iter().map(|p| p.values.to_data()).collect()
}

#[test]
fn weights_depend_on_the_seed_alone() {
    let first = parameters(5, &Device::flex());
    assert_eq!(
        data(&first),
        data(&parameters(5, &Device::flex().autodiff()))
    );
    assert_ne!(data(&first), data(&parameters(6, &Device::flex())));
    let again = parameters(5, &Device::flex());
    assert!(
        first.iter().zip(&again).all(|(a, b)| a.id == b.id),
        "identities last"
    );
}

/// A uniform variable on (-b, b) has the deviation b/√3, here 1/√(3 fan_in). Over n draws the
/// estimate strays by less than 1/√n of it; five of those.
#[test]
fn weights_are_distributed_as_in_pytorch() {
    for p in parameters(1, &Device::flex()) {
        let values: Vec<f64> = p.values.to_data().iter::<f64>().collect();
        let n = values.len() as f64;
        let deviation = (values.iter().map(|x| x * x).sum::<f64>() / n).sqrt();
        let largest = values.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let slack = 5.0 / n.sqrt();
        if p.name.contains("norm") {
            let wanted = if p.name.ends_with("weight") { 1.0 } else { 0.0 };
            assert!(values.iter().all(|&x| x == wanted), "{}", p.name);
        } else if p.name == "class_embedding.weight" {
            assert!((deviation - 1.0).abs() < slack, "{}: {deviation}", p.name);
        } else if p.shape.len() > 1 {
            let fan_in = p.shape[1..].iter().product::<usize>() as f64;
            let bound = fan_in.sqrt().recip();
            assert!(largest <= bound, "{}: {largest} > {bound}", p.name);
            let ratio = deviation / (bound / 3f64.sqrt());
            assert!((ratio - 1.0).abs() < slack, "{}: {ratio}", p.name);
        }
    }
}
