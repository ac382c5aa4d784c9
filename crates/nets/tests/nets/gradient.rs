//! The gradient of whole networks against central differences.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};

use crate::golden::{CONDITIONAL, Case, UNCONDITIONAL, folder, values};

/// Step along a direction of unit length, for which the loss's curvature moves the quotient by some
/// 1e-4 of itself, while f32 rounding of the outputs moves it by some 1e-7 / STEP.
const STEP: f32 = 2e-3;

/// Relative to the length of the gradient: see [`STEP`]. The worst found is 6e-5.
const TOLERANCE: f64 = 5e-4;

/// Adds `scale` times a direction to the parameters.
struct Nudge<'a> {
    scale: f32,
    direction: &'a [(ParamId, Vec<f32>)],
}

impl ModuleMapper for Nudge<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((_, direction)) = self.direction.iter().find(|(id, _)| *id == param.id) else {
            return param;
        };
        let scale = self.scale;
        param.map(|x| {
            let data = TensorData::new(direction.clone(), x.dims());
            x.clone() + Tensor::from_data(data, &x.device()) * scale
        })
    }
}

/// Collects (identity, gradient) of all parameters.
struct Gradients<'a> {
    of: &'a burn::tensor::Gradients,
    found: Vec<(ParamId, Vec<f32>)>,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param
            .val()
            .grad(self.of)
            .expect("every parameter takes part");
        self.found.push((param.id, values(gradient)));
    }
}

impl Case {
    fn nudged(self, scale: f32, direction: &[(ParamId, Vec<f32>)]) -> Self {
        let mut nudge = Nudge { scale, direction };
        match self {
            Self::Unconditional(net, inputs) => {
                Self::Unconditional(Box::new(net.map(&mut nudge)), inputs)
            }
            Self::Conditional(net, inputs) => {
                Self::Conditional(Box::new(net.map(&mut nudge)), inputs)
            }
        }
    }

    fn gradients(&self, weights: &[f32]) -> Vec<(ParamId, Vec<f32>)> {
        let output = self.forward();
        let weights = TensorData::new(weights.to_vec(), output.dims());
        let weights = Tensor::<4>::from_data(weights, &output.device());
        let of = (output * weights).sum().backward();
        let mut visitor = Gradients {
            of: &of,
            found: Vec::new(),
        };
        match self {
            Self::Unconditional(net, _) => net.visit(&mut visitor),
            Self::Conditional(net, _) => net.visit(&mut visitor),
        }
        visitor.found
    }
}

/// The loss whose gradient is taken: a fixed random combination of all outputs, summed in f64.
fn loss(name: &str, scale: f32, direction: &[(ParamId, Vec<f32>)], weights: &[f32]) -> f64 {
    let case = Case::load(name, &folder(name), &Device::flex()).nudged(scale, direction);
    let output = values(case.forward());
    output
        .iter()
        .zip(weights)
        .map(|(y, w)| f64::from(*y) * f64::from(*w))
        .sum()
}

fn central_difference(name: &str, direction: &[(ParamId, Vec<f32>)], weights: &[f32]) -> f64 {
    let (above, below) = (
        loss(name, STEP, direction, weights),
        loss(name, -STEP, direction, weights),
    );
    (above - below) / (2.0 * f64::from(STEP))
}

fn length(gradient: &[(ParamId, Vec<f32>)]) -> f64 {
    gradient
        .iter()
        .flat_map(|(_, g)| g)
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn dot(a: &[(ParamId, Vec<f32>)], b: &[(ParamId, Vec<f32>)]) -> f64 {
    let pairs = a.iter().zip(b).flat_map(|((_, a), (_, b))| a.iter().zip(b));
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn check(name: &str) {
    let case = Case::load(name, &folder(name), &Device::flex().autodiff());
    let mut stream = Stream::new(7, Purpose::Test, 0);
    let n: usize = values(case.inputs().tensor::<4>("output")).len();
    let weights = stream.normals(n);
    let gradient = case.gradients(&weights);
    let scale = length(&gradient);
    assert!(
        scale > 1.0,
        "{name}: a gradient of length {scale} would show nothing"
    );

    // Along itself the gradient's derivative is its own length, which no other vector reaches.
    let along: Vec<_> = gradient
        .iter()
        .map(|(id, g)| (*id, g.iter().map(|x| x / scale as f32).collect()))
        .collect();
    let error = (central_difference(name, &along, &weights) - scale).abs() / scale;
    assert!(error < TOLERANCE, "{name}: along the gradient {error:.2e}");

    // A random direction, and the largest entry of a few parameters.
    let noise: Vec<_> = gradient
        .iter()
        .map(|(id, g)| (*id, stream.normals(g.len())))
        .collect();
    let noise_length = length(&noise) as f32;
    let random: Vec<_> = noise
        .into_iter()
        .map(|(id, v)| (id, v.iter().map(|x| x / noise_length).collect()))
        .collect();
    let picked = gradient.iter().step_by(gradient.len() / 3).map(|(id, g)| {
        let largest = (0..g.len())
            .max_by(|&i, &j| g[i].abs().total_cmp(&g[j].abs()))
            .unwrap();
        let mut single = vec![0.0; g.len()];
        single[largest] = 1.0;
        vec![(*id, single)]
    });
    for direction in picked.chain([random]) {
        let ids: Vec<_> = direction.iter().map(|(id, _)| *id).collect();
        let part: Vec<_> = gradient
            .iter()
            .filter(|(id, _)| ids.contains(id))
            .cloned()
            .collect();
        let (found, wanted) = (
            central_difference(name, &direction, &weights),
            dot(&part, &direction),
        );
        let error = (found - wanted).abs() / scale;
        assert!(
            error < TOLERANCE,
            "{name}: {found} by differences, {wanted} by autodiff"
        );
    }
}

#[test]
fn gradients_of_unconditional_networks() {
    // Not the case with ReLU, at whose kinks a difference is no derivative.
    UNCONDITIONAL
        .into_iter()
        .filter(|name| *name != "uncond_class")
        .for_each(check);
}

#[test]
fn gradients_of_conditional_networks() {
    CONDITIONAL.into_iter().for_each(check);
}
