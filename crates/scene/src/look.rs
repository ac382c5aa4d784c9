//! What rays see of a field. It is asked from front to back, in rounds of a few samples of each ray: so it tells little of
//! what nobody sees [Mueller22, appendix E].
//! Leaves out where the samples lie (`march`, `hierarchical`).

use std::ops::Range;

use crate::field::{Appearance, Field, Geometry};
use crate::samples::{Samples, Seen};

/// Samples of a ray that are asked together: at first, and then twice as many each time.
const FIRST: usize = 4;

/// What a field says about samples, and what the rays see of it.
pub struct Look {
    /// Densities.
    pub geometry: Geometry,
    /// Colours.
    pub appearance: Appearance,
    /// Weights and sums.
    pub seen: Seen,
    /// Samples that the field was asked about.
    pub n_asked: usize,
}

impl Look {
    /// Asks `field` about `samples`, and leaves out of these what lies behind a transmittance of `least`. What comes out
    /// does not depend on the rounds.
    pub fn new(field: &dyn Field, samples: &mut Samples, least: f32) -> Self {
        let rounds = rounds(field, samples, least);
        let parts = rounds.iter().flat_map(|round| &round.parts);
        let n_asked = parts.map(|part| part.asked.len()).sum();
        let geometry = joined(rounds, samples);
        let appearance = field.appearance(samples, &geometry);
        let seen = Seen::new(samples, &geometry.density, &appearance.color);
        Self {
            geometry,
            appearance,
            seen,
            n_asked,
        }
    }
}

/// Some samples of some rays.
struct Round {
    parts: Vec<Part>,
    /// Of one part after the other.
    geometry: Geometry,
}

/// Some samples of a ray.
struct Part {
    ray: usize,
    /// Their numbers among the samples of all rays.
    asked: Range<usize>,
    /// So many of them are seen, the others lie behind.
    n_seen: usize,
}

/// All rounds; at least one, which shows what a field notes.
fn rounds(field: &dyn Field, samples: &Samples, least: f32) -> Vec<Round> {
    let most = -least.ln();
    // Where everything is seen, rounds save nothing.
    let mut n = if most.is_finite() { FIRST } else { usize::MAX };
    let mut thickness = vec![0.0; samples.n_rays()];
    let mut going = Vec::from_iter((0..samples.n_rays()).map(|ray| (ray, samples.of_ray(ray))));
    let mut rounds: Vec<Round> = vec![];
    while rounds.is_empty() || !going.is_empty() {
        let (mut parts, mut points) = (vec![], vec![]);
        for (ray, rest) in &going {
            let asked = rest.start..rest.end.min(rest.start.saturating_add(n));
            points.extend_from_slice(&samples.points[asked.clone()]);
            let (ray, n_seen) = (*ray, 0);
            parts.push(Part { ray, asked, n_seen });
        }
        let geometry = field.geometry(&points);
        let mut densities = &geometry.density[..];
        for part in &mut parts {
            let (density, rest) = densities.split_at(part.asked.len());
            let thickness = &mut thickness[part.ray];
            for (density, length) in density.iter().zip(&samples.lengths[part.asked.clone()]) {
                if *thickness < most {
                    part.n_seen += 1;
                    *thickness += density * length;
                }
            }
            densities = rest;
        }
        let mut asked = parts.iter();
        going.retain_mut(|(ray, rest)| {
            rest.start = asked.next().map_or(rest.end, |part| part.asked.end);
            thickness[*ray] < most && rest.start < rest.end
        });
        rounds.push(Round { parts, geometry });
        n = n.saturating_mul(2);
    }
    rounds
}

/// What is seen of all rounds, in the order of `samples`, which keep only that.
fn joined(mut rounds: Vec<Round>, samples: &mut Samples) -> Geometry {
    let mut n_seen = vec![0; samples.n_rays()];
    for part in rounds.iter().flat_map(|round| &round.parts) {
        n_seen[part.ray] += part.n_seen as u32;
    }
    let first: Vec<u32> = samples.offsets.clone();
    let n_asked = samples.len();
    samples.keep(&n_seen);
    if let ([round], true) = (&mut rounds[..], samples.len() == n_asked) {
        return std::mem::take(&mut round.geometry);
    }
    let mut seen = rounds.first().map_or_else(Geometry::default, |round| {
        round.geometry.zeros(samples.len())
    });
    for Round { parts, geometry } in &rounds {
        let mut from = 0;
        for Part { ray, asked, n_seen } in parts {
            let to = samples.offsets[*ray] as usize + asked.start - first[*ray] as usize;
            seen.copy(to, geometry, from..from + n_seen);
            from += asked.len();
        }
    }
    seen
}
