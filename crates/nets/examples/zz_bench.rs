//! x
use burn::tensor::{Device, Distribution, Tensor};
use dreamsmith_nets::*;
use std::time::Instant;
fn main() {
    use {DownBlockType::*, UpBlockType::*};
    let batch: usize = std::env::args()
        .nth(1)
        .and_then(|x| x.parse().ok())
        .unwrap_or(32);
    let config = UNet2DConfig {
        down_block_types: vec![DownBlock2D, AttnDownBlock2D, AttnDownBlock2D],
        up_block_types: vec![AttnUpBlock2D, AttnUpBlock2D, UpBlock2D],
        block_out_channels: vec![64, 128, 192],
        layers_per_block: 1,
        attention_head_dim: Some(64),
        ..Default::default()
    };
    let dev = Device::flex();
    let x = Tensor::<4>::random([batch, 3, 32, 32], Distribution::Normal(0.0, 1.0), &dev);
    let t = Tensor::<1>::random([batch], Distribution::Uniform(0.0, 999.0), &dev);
    let net = config.init(0, &dev).unwrap();
    println!(
        "{} parameters",
        named_parameters(&net)
            .iter()
            .map(|p| p.shape.iter().product::<usize>())
            .sum::<usize>()
    );
    let mut best = f64::MAX;
    for _ in 0..6 {
        let s = Instant::now();
        let _ = net.forward(x.clone(), t.clone(), None).into_data();
        best = best.min(s.elapsed().as_secs_f64());
    }
    println!("forward  {:.1} img/s", batch as f64 / best);
    let ad = Device::flex().autodiff();
    let net = config.init(0, &ad).unwrap();
    let (x, t) = (
        Tensor::from_data(x.into_data(), &ad),
        Tensor::from_data(t.into_data(), &ad),
    );
    let (mut best, mut fb) = (f64::MAX, 0.0);
    for _ in 0..6 {
        let s = Instant::now();
        let y: Tensor<4> = net.forward(x.clone(), t.clone(), None);
        let f = s.elapsed().as_secs_f64();
        let _ = y.square().mean().backward();
        let e = s.elapsed().as_secs_f64();
        if e < best {
            best = e;
            fb = f;
        }
    }
    println!(
        "train    {:.1} img/s   fwd {:.0} ms bwd {:.0} ms",
        batch as f64 / best,
        fb * 1e3,
        (best - fb) * 1e3
    );
}
