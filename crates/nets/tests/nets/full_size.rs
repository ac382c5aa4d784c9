//! Networks of published size have the parameters of diffusers, found without allocating any.

use burn::tensor::Device;
use dreamsmith_nets::Precision;
use dreamsmith_nets::{UNet2DConditionConfig, parameter_shapes};
use serde_json::Value;

use crate::golden::folder;

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[test]
fn published_configs_give_the_parameters_of_diffusers() {
    let text = std::fs::read_to_string(folder("full_size.json")).unwrap();
    let models: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(models.len(), 5);
    for (name, model) in models {
        let config = UNet2DConditionConfig::from_json(&model["config"].to_string()).unwrap();
        let shapes = parameter_shapes(&config.init(0, &Device::flex(), Precision::F32).unwrap());
        let n_parameters: usize = shapes
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum();
        assert_eq!(model["n_tensors"], shapes.len(), "{name}");
        assert_eq!(model["n_parameters"], n_parameters, "{name}");
        let line = |(name, shape): (&String, &Vec<usize>)| {
            let shape: Vec<_> = shape.iter().map(usize::to_string).collect();
            format!("{name} {}\n", shape.join("x"))
        };
        let lines: String = shapes.iter().map(line).collect();
        assert_eq!(model["fnv1a"], format!("{:016x}", fnv1a(&lines)), "{name}");
    }
}
