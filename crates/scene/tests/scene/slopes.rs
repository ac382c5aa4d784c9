//! The hand-written backward passes of fields against central differences.

use std::error::Error;

use dreamsmith_base::{Purpose, Stream};
use dreamsmith_kernels::Precision;
use dreamsmith_scene::field::{Appearance, Field, Geometry};
use dreamsmith_scene::field_start::DensityStart;
use dreamsmith_scene::hash_field::HashField;
use dreamsmith_scene::lighting::{Lighting, Lit};
use dreamsmith_scene::positional_field::{PositionalField, PositionalFieldSpec};
use dreamsmith_scene::raster::Light;
use dreamsmith_scene::samples::{Samples, Seen};
use dreamsmith_scene::spec::FieldSpec;
use glam::Vec3;

use crate::tiny_scene::spec;

/// Steps of differences: the longer one may meet bends of ReLU, the shorter one suffers more from rounding.
const STEPS: [f32; 3] = [5e-4, 1e-4, 3e-5];
/// Random directions for each part of the weights.
const DIRECTIONS: u64 = 16;

fn hash() -> Result<HashField, Box<dyn Error>> {
    let FieldSpec::Hash(hash) = spec(1).field else {
        return Err("the tiny scene has a hash field".into());
    };
    let mut network = hash.network;
    network.start = DensityStart::Blob {
        peak: 1.0,
        radius: 0.5,
    };
    let mut field = HashField::new(network, 7)?;
    let mut stream = Stream::new(1, Purpose::Test, 0);
    // Initial values of the grid are too small to see anything.
    field.weights_mut()[0].fill_with(|| stream.uniform() - 0.5);
    Ok(field)
}

fn positional() -> Result<PositionalField, Box<dyn Error>> {
    let network = PositionalFieldSpec {
        point_frequencies: 2,
        dir_frequencies: 1,
        width: 32,
        precision: Precision::F32,
    };
    Ok(PositionalField::new(network, 7, 0)?)
}

fn random_samples() -> Samples {
    let mut samples = Samples::new();
    for i in 0..12 {
        let mut stream = Stream::new(2, Purpose::Test, i);
        let mut random = || Vec3::new(stream.normal(), stream.normal(), stream.normal());
        let ray = dreamsmith_base::Ray {
            origin: 0.2 * random(),
            dir: random().normalize(),
        };
        let depths = (0..i).map(|k| (0.03 * k as f32, 0.1));
        samples.push_ray(&ray, depths);
    }
    samples
}

/// A sum of what is seen, with weights that are some waves.
fn total(field: &dyn Field, samples: &Samples) -> f64 {
    let geometry = field.geometry(&samples.points);
    let appearance = field.appearance(samples, &geometry);
    let seen = Seen::new(samples, &geometry.density, &appearance.color);
    let colors = seen.color.iter().enumerate();
    let colors: f64 = colors.map(|(i, x)| f64::from(x * (i as f32).sin())).sum();
    let left = seen.transmittance.iter().enumerate();
    colors
        + left
            .map(|(i, x)| f64::from(x * (i as f32).cos()))
            .sum::<f64>()
}

fn slopes(field: &dyn Field, samples: &Samples) -> Vec<Vec<f32>> {
    let geometry = field.geometry(&samples.points);
    let appearance = field.appearance(samples, &geometry);
    let seen = Seen::new(samples, &geometry.density, &appearance.color);
    let by_color: Vec<f32> = (0..seen.color.len()).map(|i| (i as f32).sin()).collect();
    let by_left: Vec<f32> = (0..samples.n_rays()).map(|i| (i as f32).cos()).collect();
    let none = vec![0.0; samples.len()];
    let (by_density, by_colors) =
        seen.backward(samples, &appearance.color, &by_color, &by_left, none);
    let mut slopes = dreamsmith_scene::field::zero_gradients(field);
    let forward = (&geometry, &appearance);
    field.backward(samples, forward, &by_density, &by_colors, &mut slopes);
    slopes
}

/// How rays in turn are lit.
fn lighting(samples: &Samples) -> Vec<Lighting> {
    let light = Light::at(Vec3::new(1.0, 2.0, 3.0));
    let kinds = [
        Lighting::Lambertian(light),
        Lighting::Textureless(light),
        Lighting::Albedo,
    ];
    (0..samples.n_rays()).map(|i| kinds[i % 3]).collect()
}

fn look(field: &dyn Field, samples: &Samples) -> (Geometry, Appearance, Lit, Seen) {
    let geometry = field.geometry(&samples.points);
    let appearance = field.appearance(samples, &geometry);
    let plain = Seen::new(samples, &geometry.density, &appearance.color);
    let sight = (samples, &appearance.color[..], &plain.weights[..]);
    let lit = Lit::new(field, sight, &lighting(samples), 0.1);
    let seen = Seen::new(samples, &geometry.density, &lit.color);
    (geometry, appearance, lit, seen)
}

/// The same of what is seen under a lamp, and of the normals.
fn lit_total(field: &dyn Field, samples: &Samples) -> f64 {
    let (_, _, lit, seen) = look(field, samples);
    let colors = seen.color.iter().enumerate();
    let colors = colors.map(|(i, x)| f64::from(x * (i as f32).sin()));
    let turned = lit.normals().map(|(i, n)| f64::from(0.1 * wave(i).dot(n)));
    colors.chain(turned).sum()
}

fn wave(i: usize) -> Vec3 {
    Vec3::new(i as f32, i as f32 + 1.0, i as f32 + 2.0).map(f32::cos)
}

fn lit_slopes(field: &dyn Field, samples: &Samples) -> Vec<Vec<f32>> {
    let (geometry, appearance, lit, seen) = look(field, samples);
    let by_color: Vec<f32> = (0..seen.color.len()).map(|i| (i as f32).sin()).collect();
    let by_left = vec![0.0; samples.n_rays()];
    let none = vec![0.0; samples.len()];
    let (by_density, mut by_lit) = seen.backward(samples, &lit.color, &by_color, &by_left, none);
    let mut slopes = dreamsmith_scene::field::zero_gradients(field);
    let by_normals = lit.normals().map(|(i, _)| 0.1 * wave(i)).collect();
    let color = &appearance.color;
    lit.backward(field, (color, &mut by_lit), by_normals, &mut slopes);
    let forward = (&geometry, &appearance);
    field.backward(samples, forward, &by_density, &by_lit, &mut slopes);
    slopes
}

/// A number that follows from a field and samples, and its gradients by the weights.
type Way = (
    fn(&dyn Field, &Samples) -> f64,
    fn(&dyn Field, &Samples) -> Vec<Vec<f32>>,
);

fn check_weights(field: &mut dyn Field, (total, slopes): Way) {
    let samples = random_samples();
    let slopes = slopes(field, &samples);
    for (part, slopes) in slopes.iter().enumerate() {
        let size = slopes.iter().map(|s| f64::from(s * s)).sum::<f64>().sqrt();
        // Along random directions of all weights of the part at once, the slope is a normal number of this size.
        let mut errors: Vec<f64> = (0..DIRECTIONS)
            .map(|direction| {
                let mut stream = Stream::new(direction, Purpose::Test, part as u64);
                let along = stream.normals(slopes.len());
                let products = slopes.iter().zip(&along).map(|(s, a)| f64::from(s * a));
                let expected: f64 = products.sum();
                let kept = field.weights_mut()[part].clone();
                let mut moved = |step: f32| {
                    let moved = kept.iter().zip(&along).map(|(w, a)| w + step * a);
                    *field.weights_mut()[part] = moved.collect();
                    let at = total(field, &samples);
                    field.weights_mut()[part].clone_from(&kept);
                    at
                };
                let mut error = |h: f32| {
                    let found = (moved(h) - moved(-h)) / f64::from(2.0 * h);
                    (found - expected).abs() / size
                };
                STEPS
                    .map(&mut error)
                    .into_iter()
                    .fold(f64::INFINITY, f64::min)
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        let (middle, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
        // Seen: 0.1 % and 0.6 % for the hash field; 1.5 % and 3.3 % for the other, whose many units bend within the step, a
        // third of that at a third of the step. A wrong derivative would show in all directions and at any step.
        assert!(middle < 0.02 && worst < 0.05, "part {part}: {errors:?}");
    }
}

fn check_points(field: &dyn Field) {
    let points: Vec<[f32; 3]> = (0..50)
        .map(|i| {
            let mut stream = Stream::new(3, Purpose::Test, i);
            [(); 3].map(|()| 1.6 * stream.uniform() - 0.8)
        })
        .collect();
    let slopes = field.density_slope(&points);
    let mut errors: Vec<f32> = points
        .iter()
        .zip(&slopes)
        .map(|(point, slope)| {
            let slope = Vec3::from(*slope);
            let at = |step: Vec3| {
                field
                    .geometry(&[(Vec3::from(*point) + step).into()])
                    .density[0]
            };
            let h = STEPS[1];
            let along = |axis: Vec3| (at(h * axis) - at(-h * axis)) / (2.0 * h);
            let found = Vec3::from([Vec3::X, Vec3::Y, Vec3::Z].map(along));
            found.distance(slope) / slope.length()
        })
        .collect();
    errors.sort_by(f32::total_cmp);
    // Faces of cells and bends of ReLU lie within the step of some points, where one side is another slope.
    let (middle, most) = (errors[errors.len() / 2], errors[errors.len() * 9 / 10]);
    assert!(middle < 0.005 && most < 0.02, "{errors:?}");
}

#[test]
fn of_a_hash_field() -> Result<(), Box<dyn Error>> {
    let mut field = hash()?;
    check_points(&field);
    check_weights(&mut field, (total, slopes));
    check_weights(&mut field, (lit_total, lit_slopes));
    Ok(())
}

#[test]
fn of_a_positional_field() -> Result<(), Box<dyn Error>> {
    let mut field = positional()?;
    check_points(&field);
    check_weights(&mut field, (total, slopes));
    check_weights(&mut field, (lit_total, lit_slopes));
    Ok(())
}
