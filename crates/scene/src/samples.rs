//! The samples of many rays, packed one ray after the other, and what volume rendering makes of them [Max95].
//! Leaves out how samples are chosen (`march`, `hierarchical`) and what a field says about them.

use dreamsmith_base::Ray;
use dreamsmith_kernels::field::{
    accumulate, accumulate_backward, render_weights, render_weights_backward,
};
use glam::Vec3;

use crate::thinning::Drawn;

/// R rays and their S samples, in the box [-1, 1]^3.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// The samples of ray r are `offsets[r]..offsets[r + 1]` `[R + 1]`.
    pub offsets: Vec<u32>,
    /// Directions of the rays, of length 1 `[R, 3]`.
    pub dirs: Vec<[f32; 3]>,
    /// Where the samples lie `[S, 3]`.
    pub points: Vec<[f32; 3]>,
    /// Their distances along the rays `[S]`.
    pub depths: Vec<f32>,
    /// The length that each stands for `[S]`.
    pub lengths: Vec<f32>,
}

impl Samples {
    /// No rays.
    pub fn new() -> Self {
        Self {
            offsets: vec![0],
            ..Self::default()
        }
    }

    /// R.
    pub fn n_rays(&self) -> usize {
        self.dirs.len()
    }

    /// S.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there are no samples; there may be rays.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Adds a ray with samples at `depths`, each for its length.
    pub fn push_ray(&mut self, ray: &Ray, samples: impl IntoIterator<Item = (f32, f32)>) {
        for (depth, length) in samples {
            self.points.push((ray.origin + depth * ray.dir).into());
            self.depths.push(depth);
            self.lengths.push(length);
        }
        self.dirs.push(ray.dir.into());
        self.offsets.push(self.points.len() as u32);
    }

    /// The first rays of `other`, as many as fit into `most` samples; at least one if there is none yet. Says whether
    /// all did.
    pub fn append(&mut self, other: &Self, most: usize) -> bool {
        let room = most.saturating_sub(self.len()).min(u32::MAX as usize) as u32;
        let fitting = other.offsets[1..].partition_point(|end| *end <= room);
        let n_rays = match self.n_rays() {
            0 => fitting.max(1).min(other.n_rays()),
            _ => fitting,
        };
        let (first, n) = (self.len() as u32, other.offsets[n_rays] as usize);
        let ends = &other.offsets[1..=n_rays];
        self.offsets.extend(ends.iter().map(|end| first + end));
        self.dirs.extend_from_slice(&other.dirs[..n_rays]);
        self.points.extend_from_slice(&other.points[..n]);
        self.depths.extend_from_slice(&other.depths[..n]);
        self.lengths.extend_from_slice(&other.lengths[..n]);
        n_rays == other.n_rays()
    }

    /// The sample numbers of a ray.
    pub fn of_ray(&self, ray: usize) -> std::ops::Range<usize> {
        self.offsets[ray] as usize..self.offsets[ray + 1] as usize
    }

    /// Only the samples that are drawn; all rays stay.
    pub fn thin(&mut self, drawn: &Drawn) {
        drawn.compact(1, &mut self.points);
        drawn.compact(1, &mut self.depths);
        drawn.compact(1, &mut self.lengths);
        for offset in &mut self.offsets {
            let before = |sample: &usize| *sample < *offset as usize;
            *offset = drawn.samples.partition_point(before) as u32;
        }
    }

    /// Only the first samples of each ray, as many as `counts` `[R]` says.
    pub fn keep(&mut self, counts: &[u32]) {
        let mut end = 0;
        for (ray, n) in counts.iter().enumerate() {
            let from = self.offsets[ray] as usize..(self.offsets[ray] + n) as usize;
            self.points.copy_within(from.clone(), end);
            self.depths.copy_within(from.clone(), end);
            self.lengths.copy_within(from.clone(), end);
            self.offsets[ray] = end as u32;
            end += from.len();
        }
        if let Some(last) = self.offsets.last_mut() {
            *last = end as u32;
        }
        self.points.truncate(end);
        self.depths.truncate(end);
        self.lengths.truncate(end);
    }
}

/// What R rays see.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The share of each sample in what is seen `[S]`.
    pub weights: Vec<f32>,
    /// The share of what lies behind all samples `[R]`: 1 - the sum of the ray's weights.
    pub transmittance: Vec<f32>,
    /// Sums of weight times colour, without what lies behind `[R, 3]`.
    pub color: Vec<f32>,
}

impl Seen {
    /// What rays see of `density` `[S]` and `color` `[S, 3]`.
    pub fn new(samples: &Samples, density: &[f32], color: &[f32]) -> Self {
        let n_rays = samples.n_rays();
        let mut seen = Self {
            weights: vec![0.0; samples.len()],
            transmittance: vec![1.0; n_rays],
            color: vec![0.0; 3 * n_rays],
        };
        let (weights, transmittance) = (&mut seen.weights, &mut seen.transmittance);
        render_weights(
            &samples.offsets,
            density,
            &samples.lengths,
            weights,
            transmittance,
        );
        accumulate(&samples.offsets, &seen.weights, color, &mut seen.color);
        seen
    }

    /// The gradients by density `[S]` and colour `[S, 3]` of the samples, from those by the rays' colours `[R, 3]` and
    /// transmittances `[R]`, and from what else there is by the weights `[S]`.
    pub fn backward(
        &self,
        samples: &Samples,
        color: &[f32],
        by_color: &[f32],
        by_transmittance: &[f32],
        mut by_weights: Vec<f32>,
    ) -> (Vec<f32>, Vec<f32>) {
        let mut by_values = vec![0.0; color.len()];
        let offsets = &samples.offsets;
        accumulate_backward(
            offsets,
            &self.weights,
            color,
            by_color,
            &mut by_weights,
            &mut by_values,
        );
        let mut by_density = vec![0.0; samples.len()];
        render_weights_backward(
            offsets,
            &samples.lengths,
            (&self.weights, &self.transmittance),
            (&by_weights, by_transmittance),
            &mut by_density,
        );
        (by_density, by_values)
    }

    /// The mean depth of a ray where it stops: sum of weight times depth over the opacity; infinite where nothing is.
    pub fn depth(&self, samples: &Samples, ray: usize) -> f32 {
        let mut sum = 0.0;
        for i in samples.of_ray(ray) {
            sum += self.weights[i] * samples.depths[i];
        }
        sum / (1.0 - self.transmittance[ray])
    }

    /// Sum of weight times a vector of each sample, of length 1 or 0.
    pub fn mean_direction(&self, samples: &Samples, ray: usize, vectors: &[[f32; 3]]) -> Vec3 {
        let sum = samples.of_ray(ray).fold(Vec3::ZERO, |sum, i| {
            sum + self.weights[i] * Vec3::from(vectors[i])
        });
        sum.normalize_or_zero()
    }
}
