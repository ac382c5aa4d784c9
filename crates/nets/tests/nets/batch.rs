//! An image is the same to the bit in any batch and on any number of threads.

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_nets::Precision;
use dreamsmith_nets::{DownBlockType, UNet2DConfig, UNet2DModel, UpBlockType};

use crate::golden::{CONDITIONAL, Case, UNCONDITIONAL, folder, values};

const BATCH: usize = 8;

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

fn net(precision: Precision) -> UNet2DModel {
    let config = UNet2DConfig {
        down_block_types: vec![
            DownBlockType::AttnDownBlock2D,
            DownBlockType::AttnDownBlock2D,
        ],
        up_block_types: vec![UpBlockType::AttnUpBlock2D, UpBlockType::UpBlock2D],
        block_out_channels: vec![32, 96],
        layers_per_block: 1,
        num_class_embeds: Some(10),
        ..UNet2DConfig::default()
    };
    config.init(1, &Device::flex(), precision).unwrap()
}

/// The outputs for images `first..first + n` of a fixed batch.
fn outputs(net: &UNet2DModel, first: usize, n: usize) -> Vec<f32> {
    let device = Device::flex();
    let pixels: Vec<f32> = (first..first + n)
        .flat_map(|i| Stream::new(2, Purpose::Test, i as u64).normals(3 * 256))
        .collect();
    let sample = Tensor::from_data(TensorData::new(pixels, [n, 3, 16, 16]), &device);
    let timestep: Vec<f32> = (first..first + n).map(|i| 100.0 * i as f32 + 7.0).collect();
    let timestep = Tensor::from_data(TensorData::new(timestep, [n]), &device);
    let labels: Vec<i32> = (first..first + n).map(|i| i as i32).collect();
    let labels = Tensor::from_data(TensorData::new(labels, [n]), &device);
    values(net.forward(sample, timestep, Some(labels)))
}

#[test]
fn the_batch_changes_nothing() {
    for precision in PRECISIONS {
        let net = net(precision);
        let together = outputs(&net, 0, BATCH);
        for n in [1, 2, 3] {
            let parts = (0..BATCH)
                .step_by(n)
                .flat_map(|first| outputs(&net, first, n.min(BATCH - first)));
            assert!(
                parts.eq(together.iter().copied()),
                "batches of {n} in {precision}"
            );
        }
    }
}

#[test]
fn the_batch_changes_nothing_for_any_kind_of_network() {
    for name in UNCONDITIONAL.into_iter().chain(CONDITIONAL) {
        let case = Case::load(name, &folder(name), &Device::flex());
        let alone = (0..2).flat_map(|i| values(case.image(i).forward()));
        assert!(alone.eq(values(case.forward())), "{name}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for precision in PRECISIONS {
        threads_change_nothing(&net(precision));
    }
}

fn threads_change_nothing(net: &UNet2DModel) {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| (outputs(net, 0, BATCH), outputs(net, 0, 1)))
    };
    let single = run(1);
    assert_eq!(single, run(2));
    assert_eq!(single, run(3));
}
