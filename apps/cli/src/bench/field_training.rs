//! Whole steps of learning a radiance field, from the choice of pixels to the optimiser.
//! The pictures are of a ball, so that nothing needs a file.

use std::hint::black_box;

use dreamsmith_base::{Camera, Lens, Radians, Rgba};
use dreamsmith_data::View;
use dreamsmith_scene::bound::Bound;
use dreamsmith_scene::ray::hit_sphere;
use dreamsmith_scene::reconstruct::Reconstruction;
use dreamsmith_scene::spec::{FieldSpec, HashSpec, NerfSpec, OptimizerSpec, ReconstructSpec};

use crate::bench::rows::{Prepared, Row, Work};

/// Pixels along an edge of a picture.
const SIDE: u32 = 128;
const N_VIEWS: u32 = 24;
const RADIUS: f32 = 0.7;
/// Steps before the measurement, of each kind: cells where nothing is are empty then, and what shows nothing is known.
const STEPS_BEFORE: [usize; 2] = [100, 20];
/// Multiplications and additions of the perceptrons for a sample: those of density and colour of the hash field, and all
/// of the original NeRF.
const HASH_FLOPS: [usize; 2] = [2 * (32 * 64 + 64 * 16), 2 * (32 * 64 + 64 * 64 + 64 * 3)];
const NERF_FLOPS: usize =
    2 * (60 * 256 + 4 * 256 * 256 + 316 * 256 + 2 * 256 * 256 + 256 * 257 + 280 * 128 + 128 * 3);

/// The work that is counted is that of the perceptrons, there and back for all samples, though some are not learnt from;
/// rays, encodings, rendering and the optimiser are beside it.
pub(super) fn rows() -> Vec<Row> {
    vec![hash(), nerf()]
}

fn hash() -> Row {
    let samples = HashSpec::default().march.samples;
    let flops = 3 * samples * HASH_FLOPS.iter().sum::<usize>();
    let name = format!("hash field, training step of {samples}");
    let work = Work::Flops(flops as f64);
    Row::of_samples(name, work, samples, |precision| {
        let mut hash = HashSpec::default();
        hash.network.precision = precision;
        steps(
            FieldSpec::Hash(hash),
            OptimizerSpec::default(),
            STEPS_BEFORE[0],
        )
    })
}

fn nerf() -> Row {
    let NerfSpec {
        coarse, fine, rays, ..
    } = NerfSpec::default();
    let samples = rays * (2 * coarse + fine) as usize;
    let name = format!("original NeRF, training step of {samples}");
    let work = Work::Flops((3 * samples * NERF_FLOPS) as f64);
    Row::of_samples(name, work, samples, |precision| {
        let mut nerf = NerfSpec::default();
        nerf.network.precision = precision;
        steps(
            FieldSpec::Nerf(nerf),
            OptimizerSpec::for_nerf(),
            STEPS_BEFORE[1],
        )
    })
}

fn steps(field: FieldSpec, optimizer: OptimizerSpec, before: usize) -> anyhow::Result<Prepared> {
    let spec = ReconstructSpec {
        bound: Bound::Cube {
            center: [0.0; 3],
            half_side: 1.0,
        },
        field,
        optimizer,
        ..ReconstructSpec::default()
    };
    let views: anyhow::Result<_> = (0..N_VIEWS).map(view).collect();
    let mut reconstruction = Reconstruction::new(spec, views?)?;
    for _ in 0..before {
        reconstruction.step(0.0)?;
    }
    Ok(Box::new(move || {
        // An error would show as a rate beyond all limits.
        black_box(reconstruction.step(0.0).ok());
    }))
}

/// A ball in the colours of its normals, with nothing around it.
fn view(number: u32) -> anyhow::Result<View> {
    let focal = 1.4 * SIDE as f32;
    let lens = Lens::new([focal; 2], [SIDE as f32 / 2.0; 2], [SIDE; 2])?;
    let (azimuth, elevation) = (Radians(number as f32), Radians((number as f32).sin()));
    let camera = Camera::orbit(azimuth, elevation, 3.5, lens)?;
    let mut rgba = vec![];
    for y in 0..SIDE {
        for x in 0..SIDE {
            let ray = camera.ray(x as f32 + 0.5, y as f32 + 0.5);
            let pixel = hit_sphere(&ray, RADIUS).map(|span| {
                let normal = (ray.origin + span.t_near * ray.dir) / RADIUS;
                let [r, g, b] = (128.0 + 127.0 * normal).to_array().map(|c| c as u8);
                [r, g, b, 255]
            });
            rgba.extend(pixel.unwrap_or_default());
        }
    }
    Ok(View {
        name: format!("view {number}"),
        camera,
        picture: Rgba::new(SIDE, SIDE, rgba)?,
    })
}
