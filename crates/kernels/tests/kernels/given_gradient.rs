//! A gradient that is given is what arrives, times whatever the loss is multiplied with.

use burn::tensor::Device;
use dreamsmith_kernels::given_gradient;

use crate::setting::{flat, normals, values};

#[test]
fn the_given_gradient_arrives() {
    let device = Device::flex().autodiff();
    let given = normals(1, 37);
    for scale in [1.0, 0.25] {
        let y = flat(&normals(2, 37), &device).require_grad();
        // The derivative of 3 y by y is 3.
        let loss = given_gradient(y.clone() * 3.0, flat(&given, &device)) * scale;
        let gradients = loss.backward();
        let arrived = values(y.grad(&gradients).unwrap());
        let want = given.iter().map(|g| g * scale * 3.0);
        assert!(
            arrived
                .iter()
                .zip(want)
                .all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs())
        );
    }
}
