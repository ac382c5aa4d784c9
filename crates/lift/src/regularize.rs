//! What a field is punished for besides what the prior says of it. Leaves out the spread of the weights along a ray:
//! see `scene::distortion`.

use dreamsmith_scene::samples::Samples;
use glam::Vec3;

use crate::spec::RegularizerSpec;

impl RegularizerSpec {
    /// The slope by the opacity O of a ray, at the share `progress` of the run: of sqrt(O^2 + 0.01) [Poole22, appendix
    /// A], and of -O log2 O - (1 - O) log2 (1 - O), which counts more and more.
    pub(crate) fn by_opacity(&self, opacity: f32, progress: f64) -> f32 {
        let decided = opacity.clamp(1e-3, 1.0 - 1e-3);
        let entropy = ((1.0 - decided) / decided).log2();
        self.opacity * opacity / (opacity * opacity + 0.01).sqrt()
            + self.entropy * progress as f32 * entropy
    }

    /// The gradient of the means over all rays by `normals` of some samples, weights held: of how far they face away,
    /// the sum of w max(0, n d)^2 [Verbin22] eq. 11, and of the squared differences between what a ray and the next ones
    /// to the right and below, of views of `side` by `side`, see of normals.
    pub(crate) fn by_normals(
        &self,
        normals: &[(usize, Vec3)],
        (samples, weights): (&Samples, &[f32]),
        side: usize,
    ) -> Vec<Vec3> {
        let n_rays = samples.n_rays();
        let share = 1.0 / n_rays.max(1) as f32;
        let mut of_sample = vec![0; samples.len()];
        for ray in 0..n_rays {
            of_sample[samples.of_ray(ray)].fill(ray);
        }
        let mut sights = vec![Vec3::ZERO; n_rays];
        for (i, normal) in normals {
            sights[of_sample[*i]] += weights[*i] * *normal;
        }
        let rough: Vec<Vec3> = (0..n_rays)
            .map(|ray| {
                let (x, y) = (ray % side, ray / side % side);
                let near = [
                    (x > 0).then(|| ray - 1),
                    (x + 1 < side).then(|| ray + 1),
                    (y > 0).then(|| ray - side),
                    (y + 1 < side).then(|| ray + side),
                ];
                let near = near.into_iter().flatten();
                near.map(|other| sights[ray] - sights[other]).sum()
            })
            .collect();
        let slope = |(i, normal): &(usize, Vec3)| {
            let ray = of_sample[*i];
            let direction = Vec3::from(samples.dirs[ray]);
            let away = normal.dot(direction).max(0.0) * direction;
            2.0 * share * weights[*i] * (self.orientation * away + self.smoothness * rough[ray])
        };
        normals.iter().map(slope).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::{Purpose, Ray, Stream};

    #[test]
    fn slopes_by_opacity_are_central_differences() {
        let spec = RegularizerSpec {
            opacity: 0.7,
            entropy: 0.3,
            ..RegularizerSpec::default()
        };
        let loss = |o: f64| {
            let entropy = -o * o.log2() - (1.0 - o) * (1.0 - o).log2();
            0.7 * (o * o + 0.01).sqrt() + 0.5 * 0.3 * entropy
        };
        for opacity in [0.05, 0.3, 0.5, 0.9] {
            let expected = (loss(opacity + 1e-5) - loss(opacity - 1e-5)) / 2e-5;
            let found = f64::from(spec.by_opacity(opacity as f32, 0.5));
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn gradients_by_normals_are_central_differences() {
        let spec = RegularizerSpec {
            orientation: 0.4,
            smoothness: 0.9,
            ..RegularizerSpec::default()
        };
        let mut stream = Stream::new(3, Purpose::Init, 0);
        let mut any = || Vec3::from([(); 3].map(|()| stream.normal()));
        let side = 3;
        // Two views; the rays of the second have no normals.
        let mut samples = Samples::new();
        for _ in 0..2 * side * side {
            let ray = Ray {
                origin: Vec3::ZERO,
                dir: any().normalize(),
            };
            samples.push_ray(&ray, [(0.1, 0.1), (0.2, 0.1)]);
        }
        let n = side * side * 2;
        let normals: Vec<(usize, Vec3)> = (0..n).map(|i| (i, any().normalize())).collect();
        let weights: Vec<f32> = (0..samples.len()).map(|_| any().x.abs()).collect();
        let loss = |normals: &[(usize, Vec3)]| {
            let mut sights = vec![Vec3::ZERO; samples.n_rays()];
            let mut sum = 0.0;
            for (i, normal) in normals {
                let away = normal.dot(samples.dirs[i / 2].into()).max(0.0);
                sum += f64::from(0.4 * weights[*i] * away * away);
                sights[i / 2] += weights[*i] * *normal;
            }
            for view in sights.chunks(side * side) {
                for place in 0..view.len() {
                    let right = (place % side + 1 < side).then(|| place + 1);
                    let below = (place + side < view.len()).then(|| place + side);
                    for other in right.into_iter().chain(below) {
                        sum += f64::from(0.9 * view[place].distance_squared(view[other]));
                    }
                }
            }
            sum / samples.n_rays() as f64
        };
        let found = spec.by_normals(&normals, (&samples, &weights), side);
        for (i, found) in found.iter().enumerate() {
            for axis in 0..3 {
                let at = |step: f32| {
                    let mut moved = normals.clone();
                    moved[i].1[axis] += step;
                    loss(&moved)
                };
                let expected = (at(1e-2) - at(-1e-2)) / 2e-2;
                let error = (f64::from(found[axis]) - expected).abs();
                assert!(error < 1e-3, "{i} {axis}: {} {expected}", found[axis]);
            }
        }
    }
}
