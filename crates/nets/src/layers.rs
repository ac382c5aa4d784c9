//! Linear, convolution, embedding table and the two norms, stored as PyTorch stores them.
//! Leaves out dropout (0 in every config we read), groups and dilation.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use dreamsmith_kernels::{
    Act, Conv2dOptions, GroupNormOptions, Packs, conv2d, conv2d_doubled, group_norm,
    group_norm_modulated, group_norm_shifted, layer_norm, linear, rms_norm,
};

use crate::activation::Activation;
use crate::error::NetError;
use crate::init::{Fill, Init};

/// y = x W^T + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    weight: Param<Tensor<2>>,
    /// `[out]`.
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    packs: Packs,
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
            packs: init.packs(),
        }
    }

    /// `[B, .., in]` to `[B, .., out]`.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        linear(x, self.weight.val(), bias, &self.packs)
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
    options: Conv2dOptions,
    #[module(skip)]
    packs: Packs,
}

impl Conv2d {
    /// Stride 1, the size kept for an odd `kernel`.
    pub(crate) fn same(init: &mut Init, inputs: usize, outputs: usize, kernel: usize) -> Self {
        let pad = kernel.saturating_sub(1) / 2;
        let fill = Fill::FanIn(inputs * kernel * kernel);
        Self {
            weight: init.param([outputs, inputs, kernel, kernel], fill),
            bias: init.param([outputs], fill),
            options: Conv2dOptions {
                stride: 1,
                padding: [pad, pad],
            },
            packs: init.packs(),
        }
    }

    /// 3×3 with stride 2. Padding 0 means one row and column of zeros at the end only.
    pub(crate) fn halving(init: &mut Init, [inputs, outputs]: [usize; 2], padding: usize) -> Self {
        Self {
            options: Conv2dOptions {
                stride: 2,
                padding: if padding == 0 {
                    [0, 1]
                } else {
                    [padding, padding]
                },
            },
            ..Self::same(init, inputs, outputs, 3)
        }
    }

    /// The same with `more` inputs, whose weights are 0; to be called before the layer is used.
    pub(crate) fn widened(self, more: usize) -> Self {
        let widen = |weight: Tensor<4>| {
            let [outputs, _, height, width] = weight.dims();
            let new = Tensor::zeros([outputs, more, height, width], &weight.device());
            Tensor::cat(vec![weight, new], 1)
        };
        Self {
            weight: self.weight.map(widen),
            ..self
        }
    }

    /// `[B, in, H, W]` to `[B, out, 2H, 2W]`: of each pixel four times. For a layer of [`Conv2d::same`]
    /// with a kernel of 3.
    pub(crate) fn forward_doubled(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d_doubled(x, self.weight.val(), self.bias.val(), &self.packs)
    }

    /// `[B, in, H, W]` to `[B, out, H', W']`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        conv2d(x, weight, bias, self.options, &self.packs)
    }
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

    /// Indices `[B, L]` to `[B, L, D]`.
    pub(crate) fn forward_tokens(&self, indices: Tensor<2, Int>) -> Tensor<3> {
        let [batch, length] = indices.dims();
        let rows = self.forward(indices.reshape([batch * length]));
        let [_, features] = rows.dims();
        rows.reshape([batch, length, features])
    }

    /// The first `n` vectors, `[n, D]`.
    pub(crate) fn first(&self, n: usize) -> Tensor<2> {
        self.weight.val().narrow(0, 0, n)
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
        let (weight, bias) = (self.weight.val(), self.bias.val());
        group_norm(x, weight, bias, self.options(Act::None))
    }

    /// The same with an activation after it.
    pub(crate) fn forward_then<const D: usize>(&self, x: Tensor<D>, act: Activation) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let (fused, rest) = fuse(act);
        rest(group_norm(x, weight, bias, self.options(fused)))
    }

    /// The same of x + shift: `shift` is `[B, C]`.
    pub(crate) fn shifted_then(
        &self,
        x: Tensor<4>,
        shift: Tensor<2>,
        act: Activation,
    ) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let (fused, rest) = fuse(act);
        rest(group_norm_shifted(
            x,
            shift,
            weight,
            bias,
            self.options(fused),
        ))
    }

    /// The activation of norm(x) (1 + scale) + shift: `scale` and `shift` are `[B, C]`.
    pub(crate) fn modulated_then(
        &self,
        x: Tensor<4>,
        [scale, shift]: [Tensor<2>; 2],
        act: Activation,
    ) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let (fused, rest) = fuse(act);
        let options = self.options(fused);
        rest(group_norm_modulated(x, weight, bias, scale, shift, options))
    }

    fn options(&self, act: Act) -> GroupNormOptions {
        GroupNormOptions {
            groups: self.groups,
            eps: self.eps,
            act,
        }
    }
}

/// What of an activation a norm does itself, and what is left.
fn fuse<const D: usize>(act: Activation) -> (Act, impl Fn(Tensor<D>) -> Tensor<D>) {
    let fused = match act {
        Activation::Silu => Act::Silu,
        _ => Act::None,
    };
    (fused, move |x| match fused {
        Act::Silu => x,
        Act::None => act.forward(x),
    })
}

/// Layer normalisation [Ba16] over the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[D]`.
    weight: Param<Tensor<1>>,
    /// `[D]`.
    bias: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm {
    /// With PyTorch's default eps, which no config of diffusers changes.
    pub(crate) fn new(init: &mut Init, features: usize) -> Self {
        Self::with_eps(init, features, 1e-5)
    }

    pub(crate) fn with_eps(init: &mut Init, features: usize, eps: f64) -> Self {
        Self {
            weight: init.param([features], Fill::Ones),
            bias: init.param([features], Fill::Zeros),
            eps,
        }
    }

    /// `[.., D]`.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// Normalisation by the root mean square [Zhang19] over the last axis.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[D]`.
    weight: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn new(init: &mut Init, features: usize, eps: f64) -> Self {
        Self {
            weight: init.param([features], Fill::Ones),
            eps,
        }
    }

    /// `[.., D]`.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        rms_norm(x, self.weight.val(), self.eps)
    }
}

/// A layer without weights, which holds a place among named ones.
#[derive(Module, Debug)]
pub struct Weightless {}
