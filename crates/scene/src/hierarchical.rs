//! Where rays are looked at without an occupancy grid: first evenly, then where something was seen [Mildenhall20, section
//! 5.2]. Leaves out cones and the networks that propose samples in later papers.

use dreamsmith_base::{Ray, Stream};

use crate::ray::hit_box;
use crate::samples::Samples;

/// What the least likely bin gets besides its weight, so that nothing is never looked at.
const LEAST_WEIGHT: f32 = 1e-5;

/// Adds `ray` with samples at `places`, which rise in [0, 1) over its part in the box.
pub fn spread(ray: &Ray, places: &[f32], to: &mut Samples) {
    let Some(span) = hit_box(ray) else {
        return to.push_ray(ray, []);
    };
    let depth = |place: &f32| span.t_near + place * span.length();
    let depths: Vec<f32> = places.iter().map(depth).collect();
    to.push_ray(ray, with_lengths(&depths, span.t_far));
}

/// Adds `ray` with the samples of ray `number` of `first`, one in each of equal bins, and as many more as there are
/// `places`: at these shares of the sum of `weights` over all bins.
pub fn refine(
    ray: &Ray,
    (first, number): (&Samples, usize),
    weights: &[f32],
    places: &[f32],
    to: &mut Samples,
) {
    let of_ray = first.of_ray(number);
    let (Some(span), false) = (hit_box(ray), of_ray.is_empty()) else {
        return to.push_ray(ray, []);
    };
    let bin = span.length() / of_ray.len() as f32;
    let weights = &weights[of_ray.clone()];
    let total: f32 = weights.iter().map(|w| w + LEAST_WEIGHT).sum();
    let mut depths = first.depths[of_ray].to_vec();
    let (mut i, mut before) = (0, 0.0);
    for place in places {
        let target = place * total;
        while i + 1 < weights.len() && before + weights[i] + LEAST_WEIGHT < target {
            before += weights[i] + LEAST_WEIGHT;
            i += 1;
        }
        let within = ((target - before) / (weights[i] + LEAST_WEIGHT)).clamp(0.0, 1.0);
        depths.push(span.t_near + (i as f32 + within) * bin);
    }
    depths.sort_by(f32::total_cmp);
    to.push_ray(ray, with_lengths(&depths, span.t_far));
}

/// A random number in each of `n` equal parts of [0, 1), rising.
pub fn random_places(n: u32, stream: &mut Stream) -> Vec<f32> {
    let place = |i| (i as f32 + stream.uniform()) / n as f32;
    (0..n).map(place).collect()
}

/// The middles of `n` equal parts of [0, 1), rising.
pub fn middle_places(n: u32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 + 0.5) / n as f32).collect()
}

/// Each sample stands for the way to the next, the last for that to the end.
fn with_lengths(depths: &[f32], end: f32) -> impl Iterator<Item = (f32, f32)> {
    let next = depths.iter().skip(1).copied().chain([end]);
    depths.iter().zip(next).map(|(a, b)| (*a, b - a))
}
