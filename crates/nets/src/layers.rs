//! Linear, convolution, embedding table and the two norms, stored as PyTorch stores them.
//! Leaves out dropout (0 in every config we read), groups and dilation.

use burn::module::{Module, Param};
use burn::tensor::module as op;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor};

use crate::error::NetError;
use crate::init::{Fill, Init};

/// y = x W^T + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    weight: Param<Tensor<2>>,
    /// `[out]`.
    bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    pub(crate) fn new(init: &mut Init, inputs: usize, outputs: usize) -> Self {
        let mut linear = Self::without_bias(init, inputs, outputs);
        linear.bias = Some(init.param([outputs], Fill::FanIn(inputs)));
        linear
    }

    pub(crate) fn without_bias(init: &mut Init, inputs: usize, outputs: usize) -> Self {
        Self {
            weight: init.param([outputs, inputs], Fill::FanIn(inputs)),
            bias: None,
        }
    }

    /// `[B, .., in]` to `[B, .., out]`.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (
            self.weight.val().transpose(),
            self.bias.as_ref().map(Param::val),
        );
        if x.is_autodiff() {
            return op::linear(x, weight, bias);
        }
        // One product for each image: in one product for all, the size of the batch would decide
        // the order of the sums, and with it the last bits of every image.
        let mut dims = x.dims();
        let [inputs, outputs] = weight.dims();
        let rows = dims[1..D - 1].iter().product::<usize>();
        let y = x
            .reshape([dims[0], rows, inputs])
            .matmul(weight.unsqueeze::<3>());
        let y = match bias {
            Some(bias) => y + bias.reshape([1, 1, outputs]),
            None => y,
        };
        dims[D - 1] = outputs;
        y.reshape(dims)
    }
}

/// A square convolution.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, k, k]`.
    weight: Param<Tensor<4>>,
    /// `[out]`.
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    /// Zeros before and after each axis.
    #[module(skip)]
    padding: (usize, usize),
}

impl Conv2d {
    /// Stride 1, the size kept for an odd `kernel`.
    pub(crate) fn same(init: &mut Init, inputs: usize, outputs: usize, kernel: usize) -> Self {
        let pad = kernel.saturating_sub(1) / 2;
        let fill = Fill::FanIn(inputs * kernel * kernel);
        Self {
            weight: init.param([outputs, inputs, kernel, kernel], fill),
            bias: init.param([outputs], fill),
            stride: 1,
            padding: (pad, pad),
        }
    }

    /// 3×3 with stride 2. Padding 0 means one row and column of zeros at the end only.
    pub(crate) fn halving(init: &mut Init, channels: usize, padding: usize) -> Self {
        Self {
            stride: 2,
            padding: if padding == 0 {
                (0, 1)
            } else {
                (padding, padding)
            },
            ..Self::same(init, channels, channels, 3)
        }
    }

    /// `[B, in, H, W]` to `[B, out, H', W']`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        if weight.dims()[2] == 1 && self.stride == 1 {
            return pointwise(x, weight, bias);
        }
        let options = ConvOptions::new_with_padding([self.stride; 2], [self.padding; 2], [1, 1], 1);
        op::conv2d(x, weight, Some(bias), options)
    }
}

/// A 1×1 convolution as a product of matrices, whose derivative is a product of matrices too; the
/// derivative of burn's convolution takes longer on the CPU.
fn pointwise(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let ([b, inputs, h, w], [outputs, ..]) = (x.dims(), weight.dims());
    let weight = weight
        .reshape([1, outputs, inputs])
        .expand([b, outputs, inputs]);
    let y = weight.matmul(x.reshape([b, inputs, h * w])) + bias.reshape([1, outputs, 1]);
    y.reshape([b, outputs, h, w])
}

/// A table of learned vectors.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[n, D]`.
    weight: Param<Tensor<2>>,
}

impl Embedding {
    pub(crate) fn new(init: &mut Init, n: usize, features: usize) -> Self {
        Self {
            weight: init.param([n, features], Fill::Normal(1.0)),
        }
    }

    /// Indices `[B]` to `[B, D]`.
    pub(crate) fn forward(&self, indices: Tensor<1, Int>) -> Tensor<2> {
        self.weight.val().select(0, indices)
    }
}

/// Group normalisation [Wu18] with an affine map per channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[C]`.
    weight: Param<Tensor<1>>,
    /// `[C]`.
    bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    eps: f64,
}

impl GroupNorm {
    pub(crate) fn new(
        init: &mut Init,
        channels: usize,
        groups: usize,
        eps: f64,
    ) -> Result<Self, NetError> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(NetError::config(
                "norm_num_groups",
                groups,
                format!("which does not divide a layer's {channels} channels"),
            ));
        }
        Ok(Self {
            weight: init.param([channels], Fill::Ones),
            bias: init.param([channels], Fill::Zeros),
            groups,
            eps,
        })
    }

    /// `[B, C, ..]`, normalised over each group of channels.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dims = x.dims();
        let (batch, channels) = (dims[0], dims[1]);
        let area = dims[2..].iter().product::<usize>();
        // Batch normalisation of one sample whose channels are the groups: burn differentiates it as
        // one operation, 2.5 times as fast as the mean and variance written out.
        let groups = batch * self.groups;
        let device = x.device();
        let (ones, zeros) = (
            Tensor::ones([groups], &device),
            Tensor::zeros([groups], &device),
        );
        let x = x.reshape([1, groups, channels / self.groups * area]);
        let normal = op::batch_norm_train(x, ones, zeros, self.eps).output;
        let weight = self.weight.val().reshape([1, channels, 1]);
        let bias = self.bias.val().reshape([1, channels, 1]);
        (normal.reshape([batch, channels, area]) * weight + bias).reshape(dims)
    }
}

/// Layer normalisation [Ba16] over the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[D]`.
    weight: Param<Tensor<1>>,
    /// `[D]`.
    bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// PyTorch's default, which no config changes.
    const EPS: f64 = 1e-5;

    pub(crate) fn new(init: &mut Init, features: usize) -> Self {
        Self {
            weight: init.param([features], Fill::Ones),
            bias: init.param([features], Fill::Zeros),
        }
    }

    /// `[.., D]`.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        op::layer_norm(x, self.weight.val(), Some(self.bias.val()), Self::EPS)
    }
}

/// A layer without weights, which holds a place among named ones.
#[derive(Module, Debug)]
pub struct Weightless {}
