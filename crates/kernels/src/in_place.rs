//! Tensors on the CPU as slices to work on.

use burn::tensor::Tensor;

/// Gives `work` the values of `tensors`, f32 and on the same device, and takes them back. Nothing is
/// copied on the CPU if no tensor has another owner.
///
/// # Panics
/// If a tensor is not f32.
pub fn in_place<const D: usize, const N: usize>(
    tensors: [Tensor<D>; N],
    work: impl FnOnce([&mut [f32]; N]),
) -> [Tensor<D>; N] {
    let device = tensors.first().map(Tensor::device).unwrap_or_default();
    let mut data = tensors.map(Tensor::into_data);
    work(data.each_mut().map(|data| {
        let values = data.as_mut_slice();
        values.expect("tensors of f32")
    }));
    data.map(|data| Tensor::from_data(data, &device))
}
