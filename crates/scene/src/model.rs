//! A radiance field with all that is needed to look at it: its place in the world, where along rays it is asked, and
//! what lies behind it. Leaves out how it learns (`reconstruct`).

use dreamsmith_base::{Camera, Ray};
use glam::Vec3;
use rayon::iter::ParallelIterator;
use rayon::slice::ParallelSlice;

use crate::background::Background;
use crate::bound::SceneCube;
use crate::field::Field;
use crate::hash_field::HashField;
use crate::hierarchical::{refine, spread};
use crate::look::Look;
use crate::march::march;
use crate::occupancy::Occupancy;
use crate::positional_field::PositionalField;
use crate::reconstruct_error::SpecError;
use crate::samples::{Samples, Seen};
use crate::spec::{FieldSpec, MarchSpec, ReconstructSpec};

/// Rays that a thread takes at a time.
const RAYS: usize = 128;
/// Samples through a surface that tell its colour.
const LAYERS: u16 = 8;
/// Less opacity than this tells no colour, and behind less transmittance nothing is seen.
const LEAST: f32 = 1e-3;

/// A radiance field in its world.
pub struct Model {
    /// The part of the world that the field fills.
    pub cube: SceneCube,
    /// What lies behind it.
    pub background: Background,
    /// The fields, of which the last is what is seen.
    pub fields: Vec<Box<dyn Field>>,
    /// Where they are asked.
    pub sampling: Sampling,
}

/// Where along rays a model's fields are asked.
#[derive(Clone, Debug)]
pub enum Sampling {
    /// One field, in occupied cells.
    Occupied {
        /// The cells.
        grid: Occupancy,
        /// How rays go through them.
        march: MarchSpec,
    },
    /// Two fields, of which the first tells where to ask the second.
    Hierarchical {
        /// Samples of a ray for the first.
        coarse: u32,
        /// Further samples for the second.
        fine: u32,
    },
}

impl Model {
    /// The model that a reconstruction of `spec` starts from.
    pub fn new(spec: &ReconstructSpec, cameras: &[Camera]) -> Result<Self, SpecError> {
        let seed = spec.run.seed;
        let (fields, sampling): (Vec<Box<dyn Field>>, _) = match &spec.field {
            FieldSpec::Hash(hash) => (
                vec![Box::new(HashField::new(hash.network.clone(), seed)?)],
                Sampling::Occupied {
                    grid: Occupancy::new(hash.occupancy),
                    march: hash.march,
                },
            ),
            FieldSpec::Nerf(nerf) => {
                let field = |number| PositionalField::new(nerf.network.clone(), seed, number);
                (
                    vec![Box::new(field(0)?), Box::new(field(1)?)],
                    Sampling::Hierarchical {
                        coarse: nerf.coarse,
                        fine: nerf.fine,
                    },
                )
            }
        };
        Ok(Self {
            cube: spec.bound.cube(cameras)?,
            background: Background::new(spec.background, seed)?,
            fields,
            sampling,
        })
    }

    /// The field that is seen.
    pub fn field(&self) -> &dyn Field {
        // `new` makes one or two.
        self.fields[self.fields.len() - 1].as_ref()
    }

    /// Names and values of all weights: those of the fields, then those of the background.
    pub fn weights(&self) -> Vec<(String, &[f32])> {
        let mut weights = vec![];
        for (i, field) in self.fields.iter().enumerate() {
            let named = field.weights().into_iter();
            weights.extend(named.map(|(name, values)| (format!("fields.{i}.{name}"), values)));
        }
        weights.push(("background".into(), self.background.weights()));
        weights
    }

    /// The same, to be changed.
    pub fn weights_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let fields = self.fields.iter_mut().flat_map(|field| field.weights_mut());
        fields.chain([self.background.weights_mut()]).collect()
    }

    /// The density of the field at points of the box `[S, 3]`.
    pub fn density(&self, points: &[[f32; 3]]) -> Vec<f32> {
        self.field().geometry(points).density
    }

    /// The colour that a view along `dirs` `[S, 3]` has of points of the box `[S, 3]`, from `reach` before to `reach`
    /// behind each; sRGB `[S, 3]`.
    pub fn colors(&self, points: &[[f32; 3]], dirs: &[[f32; 3]], reach: f32) -> Vec<f32> {
        let length = 2.0 * reach / LAYERS as f32;
        let mut samples = Samples::new();
        for (point, dir) in points.iter().zip(dirs) {
            let dir = Vec3::from(*dir);
            let origin = Vec3::from(*point) - reach * dir;
            let layer = |i: u16| ((f32::from(i) + 0.5) * length, length);
            samples.push_ray(&Ray { origin, dir }, (0..LAYERS).map(layer));
        }
        let look = Look::new(self.field(), &mut samples, LEAST);
        let mut colors = look.seen.color;
        for (ray, rgb) in colors.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let opacity = 1.0 - look.seen.transmittance[ray];
            // Where hardly anything is, the first layer tells as much as any.
            let first = 3 * samples.of_ray(ray).start;
            *rgb = std::array::from_fn(|c| match opacity > LEAST {
                true => rgb[c] / opacity,
                false => look.appearance.color[first + c],
            });
        }
        colors
    }
}

/// Rays of the box with their samples in occupied cells, the first `jitter(r)` steps behind where ray r enters.
pub fn march_rays(
    rays: &[Ray],
    (grid, spec): (&Occupancy, &MarchSpec),
    jitter: &dyn Fn(usize) -> f32,
) -> Samples {
    let mut samples = Samples::new();
    for (i, ray) in rays.iter().enumerate() {
        march(ray, grid, spec.step(), jitter(i), &mut samples);
    }
    samples
}

/// The same from the middle of the first step, on all threads.
pub fn march_all(rays: &[Ray], occupied: (&Occupancy, &MarchSpec)) -> Samples {
    let parts = rays.par_chunks(RAYS);
    let parts: Vec<Samples> = parts
        .map(|rays| march_rays(rays, occupied, &|_| 0.5))
        .collect();
    let mut all = Samples::new();
    for part in &parts {
        all.append(part, usize::MAX);
    }
    all
}

/// Rays of the box with samples at `places(r)` of ray r.
pub fn spread_all(rays: &[Ray], places: &(dyn Fn(usize) -> Vec<f32> + Sync)) -> Samples {
    let mut samples = Samples::new();
    for (i, ray) in rays.iter().enumerate() {
        spread(ray, &places(i), &mut samples);
    }
    samples
}

/// The same rays with more samples at `places(r)` of what was `seen`.
pub fn refine_all(
    rays: &[Ray],
    (first, seen): (&Samples, &Seen),
    places: &(dyn Fn(usize) -> Vec<f32> + Sync),
) -> Samples {
    let mut samples = Samples::new();
    for (i, ray) in rays.iter().enumerate() {
        refine(ray, (first, i), &seen.weights, &places(i), &mut samples);
    }
    samples
}
