//! Every operation of this crate in burn's own operations: what other backends run, and what the
//! tests compare with.

mod activation;
mod attention;
mod norm;
mod product;

pub use activation::{add_scaled, geglu, gelu, silu};
pub use attention::attention;
pub use norm::{
    group_norm, group_norm_modulated, group_norm_shifted, layer_norm, rms_norm, softmax,
};
pub use product::{conv2d, conv2d_doubled, linear, matmul};
