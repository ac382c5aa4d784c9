//! What is measured: shapes, amounts of work, and the work itself.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_diffusion::Precision;
use dreamsmith_kernels::{
    self as kernels, Act, AdamW, Conv2dOptions, GroupNormOptions, Packs, adamw, conv2d,
    given_gradient, group_norm, layer_norm, silu,
};

use crate::bench::unet::Network;
use crate::bench::{field, field_training};

/// Images, channels, side: convolutions of as many multiplications, and one of many more.
const CONVOLUTIONS: [[usize; 3]; 4] = [[2, 320, 64], [8, 64, 32], [8, 128, 16], [8, 256, 8]];
/// Sides of square matrices.
const MATRICES: [usize; 3] = [512, 1024, 2048];
/// Images, heads, tokens, features of a head.
const ATTENTION: [usize; 4] = [2, 8, 1024, 64];
/// Numbers drawn for an operand; more are repetitions.
const DRAWN: usize = 1 << 16;

/// How much there is to do.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// Additions and multiplications.
    Flops(f64),
    /// Bytes read and written.
    Bytes(f64),
}

impl Work {
    pub(super) fn amount(self) -> f64 {
        let (Self::Flops(amount) | Self::Bytes(amount)) = self;
        amount
    }

    /// The key of its rate.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Flops(_) => "gflop_per_s",
            Self::Bytes(_) => "gb_per_s",
        }
    }

    pub(super) fn unit_in_words(self) -> &'static str {
        match self {
            Self::Flops(_) => "GFLOP/s",
            Self::Bytes(_) => "GB/s",
        }
    }
}

/// The work of a row, ready to run.
pub(super) type Prepared = Box<dyn FnMut() + Send>;

/// One line of the table, or one for each precision.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) work: Work,
    /// Samples of a radiance field in one run.
    pub(super) samples: Option<usize>,
    /// Whether its memory is measured, which other rows must not have used.
    pub(super) wants_own_process: bool,
    pub(super) prepare: Box<dyn Fn(Precision) -> anyhow::Result<Prepared>>,
}

impl Row {
    fn new(
        name: String,
        work: Work,
        prepare: impl Fn(Precision) -> anyhow::Result<Prepared> + 'static,
    ) -> Self {
        Self {
            name,
            work,
            samples: None,
            wants_own_process: false,
            prepare: Box::new(prepare),
        }
    }

    /// A row whose rate is told in samples as well.
    pub(super) fn of_samples(
        name: String,
        work: Work,
        samples: usize,
        prepare: impl Fn(Precision) -> anyhow::Result<Prepared> + 'static,
    ) -> Self {
        Self {
            samples: Some(samples),
            ..Self::new(name, work, prepare)
        }
    }

    /// The `wanted` precision, or both; what is no product is always f32.
    pub(super) fn precisions(&self, wanted: Option<Precision>) -> Vec<Precision> {
        match (self.work, wanted) {
            (Work::Bytes(_), _) => vec![Precision::F32],
            (Work::Flops(_), Some(precision)) => vec![precision],
            (Work::Flops(_), None) => vec![Precision::F32, Precision::Bf16],
        }
    }
}

/// All rows; the U-Net's weights come from `unet`, or from a seed.
pub(super) fn rows(unet: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![];
    for shape in CONVOLUTIONS {
        rows.push(convolution(shape));
        rows.push(convolution_and_back(shape));
    }
    rows.extend(MATRICES.map(product));
    rows.extend([attention(), attention_and_back()]);
    rows.extend([
        norm_of_groups(),
        norm_of_layers(),
        activation(),
        optimizer(),
    ]);
    let unet = unet.map(Path::to_path_buf);
    rows.extend([1, 2, 8].map(|batch| unet_forward(batch, unet.clone())));
    rows.push(unet_training(unet));
    rows.extend(field::rows()?);
    rows.extend(field_training::rows());
    Ok(rows)
}

fn convolution([batch, channels, side]: [usize; 3]) -> Row {
    let work = Work::Flops(convolution_flops([batch, channels, side]));
    let name = format!("conv 3x3 {batch}x{channels}x{side}x{side} forward");
    Row::new(name, work, move |precision| {
        let device = Device::flex();
        let (x, weight, bias) = convolution_operands([batch, channels, side], &device);
        let packs = Packs::new(precision);
        Ok(Box::new(move || {
            let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
            black_box(conv2d(x, weight, bias, SAME, &packs));
        }))
    })
}

fn convolution_and_back([batch, channels, side]: [usize; 3]) -> Row {
    // The derivatives by image and weight are as large as the result.
    let work = Work::Flops(3.0 * convolution_flops([batch, channels, side]));
    let name = format!("conv 3x3 {batch}x{channels}x{side}x{side} forward + backward");
    Row::new(name, work, move |precision| {
        let device = Device::flex().autodiff();
        let (x, weight, bias) = convolution_operands([batch, channels, side], &device);
        let grad = normals([batch, channels, side, side], &device);
        Ok(Box::new(move || {
            let (x, weight) = (x.clone().require_grad(), weight.clone().require_grad());
            let bias = bias.clone().require_grad();
            // Packed anew, as after each step of an optimiser.
            let packs = Packs::new(precision);
            let y = conv2d(x, weight, bias, SAME, &packs);
            black_box(given_gradient(y, grad.clone()).backward());
        }))
    })
}

/// As large as the input.
const SAME: Conv2dOptions = Conv2dOptions {
    stride: 1,
    padding: [1, 1],
};

fn convolution_flops([batch, channels, side]: [usize; 3]) -> f64 {
    (2 * batch * channels * channels * 9 * side * side) as f64
}

fn convolution_operands(
    [batch, channels, side]: [usize; 3],
    device: &Device,
) -> (Tensor<4>, Tensor<4>, Tensor<1>) {
    (
        normals([batch, channels, side, side], device),
        normals([channels, channels, 3, 3], device),
        normals([channels], device),
    )
}

fn product(side: usize) -> Row {
    let work = Work::Flops((2 * side * side * side) as f64);
    Row::new(format!("matmul {side}"), work, move |precision| {
        let device = Device::flex();
        let (a, b) = (normals([side; 2], &device), normals([side; 2], &device));
        Ok(Box::new(move || {
            black_box(kernels::matmul(a.clone(), b.clone(), precision));
        }))
    })
}

fn attention_flops() -> f64 {
    let [batch, heads, tokens, features] = ATTENTION;
    (4 * batch * heads * tokens * tokens * features) as f64
}

fn attention_operand(device: &Device) -> Tensor<3> {
    let [batch, heads, tokens, features] = ATTENTION;
    normals([batch, tokens, heads * features], device)
}

fn attention_name(what: &str) -> String {
    let [batch, heads, tokens, features] = ATTENTION;
    format!("attention {batch}x{heads}x{tokens}x{features} {what}")
}

fn attention() -> Row {
    let work = Work::Flops(attention_flops());
    Row::new(attention_name("forward"), work, |precision| {
        let [q, k, v] = [(); 3].map(|()| attention_operand(&Device::flex()));
        Ok(Box::new(move || {
            let (q, k, v) = (q.clone(), k.clone(), v.clone());
            black_box(kernels::attention(q, k, v, ATTENTION[1], None, precision));
        }))
    })
}

fn attention_and_back() -> Row {
    // Two products forward, four back; what is computed again does not count.
    let work = Work::Flops(3.0 * attention_flops());
    Row::new(attention_name("forward + backward"), work, |precision| {
        let [q, k, v, grad] = [(); 4].map(|()| attention_operand(&Device::flex().autodiff()));
        Ok(Box::new(move || {
            let [q, k, v] = [&q, &k, &v].map(|x| x.clone().require_grad());
            let y = kernels::attention(q, k, v, ATTENTION[1], None, precision);
            black_box(given_gradient(y, grad.clone()).backward());
        }))
    })
}

fn norm_of_groups() -> Row {
    let shape = [8, 320, 64, 64];
    let work = Work::Bytes(bytes(2 * shape.iter().product::<usize>()));
    Row::new("group norm + SiLU 8x320x64x64".into(), work, move |_| {
        let device = Device::flex();
        let x = normals(shape, &device);
        let (weight, bias) = (normals([shape[1]], &device), normals([shape[1]], &device));
        let options = GroupNormOptions {
            groups: 32,
            eps: 1e-5,
            act: Act::Silu,
        };
        Ok(Box::new(move || {
            let (weight, bias) = (weight.clone(), bias.clone());
            black_box(group_norm(x.clone(), weight, bias, options));
        }))
    })
}

fn norm_of_layers() -> Row {
    let shape = [8192, 1280];
    let work = Work::Bytes(bytes(2 * shape.iter().product::<usize>()));
    Row::new("layer norm 8192x1280".into(), work, move |_| {
        let device = Device::flex();
        let x = normals(shape, &device);
        let (weight, bias) = (normals([shape[1]], &device), normals([shape[1]], &device));
        Ok(Box::new(move || {
            black_box(layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5));
        }))
    })
}

fn activation() -> Row {
    let values = 4 << 20;
    let work = Work::Bytes(bytes(2 * values));
    Row::new("SiLU 4 M values".into(), work, move |_| {
        let x = normals([values], &Device::flex());
        Ok(Box::new(move || {
            black_box(silu(x.clone()));
        }))
    })
}

fn optimizer() -> Row {
    let values = 16 << 20;
    // Reads weight, gradient and two moments, and writes all but the gradient.
    let work = Work::Bytes(bytes(7 * values));
    Row::new("AdamW 16 M values".into(), work, move |_| {
        let [mut weight, gradient] = [(); 2].map(|()| drawn(values));
        let [mut m1, mut m2] = [(); 2].map(|()| vec![0.0; values]);
        let mut step = AdamW {
            learning_rate: 1e-4,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            step: 0,
            gradient_scale: 1.0,
        };
        Ok(Box::new(move || {
            step.step += 1;
            adamw(&step, &mut weight, &gradient, &mut m1, &mut m2);
        }))
    })
}

fn unet_forward(batch: usize, folder: Option<PathBuf>) -> Row {
    let work = Work::Flops(batch as f64 * Network::FLOPS);
    Row::new(
        format!("U-Net forward batch {batch}"),
        work,
        move |precision| {
            let network = Network::new(folder.as_deref(), precision)?;
            let mut forward = network.forward(batch)?;
            Ok(Box::new(move || {
                black_box(forward());
            }))
        },
    )
}

fn unet_training(folder: Option<PathBuf>) -> Row {
    let batch = 32;
    let work = Work::Flops(3.0 * batch as f64 * Network::FLOPS);
    let name = format!("U-Net training step batch {batch}");
    let row = Row::new(name, work, move |precision| {
        let network = Network::new(folder.as_deref(), precision)?;
        let mut step = network.training_step(batch)?;
        Ok(Box::new(move || {
            black_box(step());
        }))
    });
    Row {
        wants_own_process: true,
        ..row
    }
}

pub(super) fn bytes(values: usize) -> f64 {
    (values * size_of::<f32>()) as f64
}

/// Normal values of a fixed seed, repeated after a while.
pub(super) fn drawn(n: usize) -> Vec<f32> {
    let drawn = Stream::new(0, Purpose::Forward, n as u64).normals(n.min(DRAWN));
    drawn.into_iter().cycle().take(n).collect()
}

/// A tensor of them.
pub(super) fn normals<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = drawn(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}
