//! The operations that a network spends its time in, at the speed of the processor: products of
//! matrices, convolutions, attention, norms, each with its derivative and beside its plain twin.

mod activation;
mod adamw;
mod attention;
mod conv2d;
mod elementwise;
mod exp;
pub mod field;
mod given_gradient;
mod group_norm;
mod in_place;
mod isa;
mod lanes;
mod layer_norm;
mod linear;
mod matmul;
mod memory;
mod operation;
mod pack;
mod packs;
mod parallel;
mod peak;
mod reduce;
mod residual;
mod scratch;
mod softmax;
mod tile;
pub mod twin;

pub use activation::{geglu, gelu, silu};
pub use adamw::{AdamW, adamw, add, blend, square_norm};
pub use attention::attention;
pub use conv2d::{Conv2dOptions, conv2d, conv2d_doubled};
pub use given_gradient::given_gradient;
pub use group_norm::{Act, GroupNormOptions, group_norm, group_norm_modulated, group_norm_shifted};
pub use in_place::in_place;
pub use isa::{Isa, Precision};
pub use layer_norm::{layer_norm, rms_norm};
pub use linear::{linear, matmul};
pub use memory::keep_freed_memory;
pub use operation::runs_on;
pub use packs::Packs;
pub use peak::{bandwidth, peak};
pub use residual::add_scaled;
pub use softmax::softmax;
