//! From what samples see to the values of a pixel: each face is looked at once a pixel, in the middle
//! of the samples that see it, with perspective-correct barycentric coordinates.
//! Leaves out the order of layers that cross inside a pixel.

use glam::{DVec2, DVec3, Vec3};

use super::coverage::{Pattern, SUBPIXELS};
use super::light::Light;
use super::project::View;
use super::surface::{Sight, Surface};
use super::visibility::{Layer, NOTHING, Samples};

/// The values of a pixel, each summed over what is seen times its share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pixel {
    pub(super) mask: f32,
    pub(super) color: Vec3,
    pub(super) albedo: Vec3,
    pub(super) normal: Vec3,
    pub(super) depth: f32,
    pub(super) clay: f32,
}

/// A point of a face as a pixel sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) bary: [f32; 3],
    /// Of `bary`, to the next pixel in x and in y.
    along: [[f32; 3]; 2],
    pub(super) depth: f32,
    /// The face shows its outside.
    is_front: bool,
}

/// What shading needs to know.
pub(super) struct Shader<'a> {
    pub(super) surface: &'a Surface,
    pub(super) view: &'a View,
    pub(super) light: &'a Light,
}

impl Shader<'_> {
    /// The values of pixel `x`, `y`.
    pub(super) fn pixel<const N: usize>(
        &self,
        [x, y]: [i32; 2],
        samples: &Samples<N>,
        layers: &[Layer],
        pattern: &Pattern<N>,
    ) -> Pixel {
        let mut pixel = Pixel::default();
        let mut transmittance = [1.0; N];
        let place = |mask: u32| middle_of([x, y], mask, pattern);
        for layer in layers {
            let (hit, sight) = self.look(layer.face, place(layer.mask));
            let mut share = 0.0;
            for (s, left) in transmittance.iter_mut().enumerate() {
                if layer.mask >> s & 1 == 1 {
                    share += *left * sight.alpha;
                    *left *= 1.0 - sight.alpha;
                }
            }
            self.add(&mut pixel, share / N as f32, &hit, &sight);
        }
        let mut rest = samples.mask(|face| face != NOTHING);
        while rest != 0 {
            let face = samples.face[rest.trailing_zeros() as usize];
            let mask = samples.mask(|other| other == face);
            let (hit, sight) = self.look(face, place(mask));
            let share: f32 = (0..N)
                .filter(|s| mask >> s & 1 == 1)
                .map(|s| transmittance[s])
                .sum();
            self.add(&mut pixel, share / N as f32, &hit, &sight);
            rest &= !mask;
        }
        pixel
    }

    /// What is seen of a face at a point of the picture, its normal turned to the viewer.
    fn look(&self, face: u32, place: DVec2) -> (Hit, Sight) {
        let hit = hit(self.view, self.surface.faces()[face as usize], place);
        let mut sight = self.surface.look(face, hit.bary, hit.along);
        if !hit.is_front {
            sight.normal = -sight.normal;
        }
        (hit, sight)
    }

    fn add(&self, pixel: &mut Pixel, share: f32, hit: &Hit, sight: &Sight) {
        let irradiance = self.light.irradiance(sight.position, sight.normal);
        let albedo = Vec3::from(sight.albedo);
        pixel.mask += share;
        pixel.albedo += share * albedo;
        pixel.color += share * irradiance * albedo;
        pixel.clay += share * irradiance;
        pixel.normal += share * sight.normal;
        pixel.depth += share * hit.depth;
    }
}

/// Where the ray through a point of the picture meets a face, or comes nearest to it.
pub(super) fn hit(view: &View, face: [u32; 3], place: DVec2) -> Hit {
    let [a, b, c] = face.map(|i| view.verts[i as usize]);
    let (ab, ac) = (b - a, c - a);
    let normal = ab.cross(ac);
    let square = normal.length_squared();
    let dir = view.dir(place);
    let facing = normal.dot(dir);
    // The weights of b and c at a point of the plane, less those at a; both are linear.
    let weights = |v: DVec3| DVec2::new(v.cross(ac).dot(normal), ab.cross(v).dot(normal)) / square;
    let depth = normal.dot(a) / facing;
    let point = dir * depth;
    let inner = weights(point - a);
    if !inner.is_finite() {
        return Hit {
            bary: [1.0 / 3.0; 3],
            along: [[0.0; 3]; 2],
            depth: -(a.z + b.z + c.z) as f32 / 3.0,
            is_front: true,
        };
    }
    // point = depth dir and normal.point is constant, so depth' = -depth normal.dir' / normal.dir.
    let along = [DVec3::X / view.focal.x, DVec3::NEG_Y / view.focal.y].map(|step| {
        let change = weights(depth * (step - dir * (normal.dot(step) / facing)));
        [-change.x - change.y, change.x, change.y].map(|w| w as f32)
    });
    Hit {
        bary: clamped(inner),
        along,
        depth: depth as f32,
        is_front: facing < 0.0,
    }
}

/// Barycentric coordinates inside the face, from the weights of its second and third corner.
fn clamped(inner: DVec2) -> [f32; 3] {
    let all = [1.0 - inner.x - inner.y, inner.x, inner.y].map(|w| w.max(0.0));
    let sum: f64 = all.iter().sum();
    all.map(|w| (w / sum) as f32)
}

/// The mean place of some samples of a pixel.
fn middle_of<const N: usize>([x, y]: [i32; 2], mask: u32, pattern: &Pattern<N>) -> DVec2 {
    let (mut sum_x, mut sum_y) = (0, 0);
    for s in 0..N {
        let take = (mask >> s & 1) as i32;
        sum_x += take * pattern.x[s];
        sum_y += take * pattern.y[s];
    }
    let scale = 1.0 / (f64::from(SUBPIXELS) * f64::from(mask.count_ones()));
    let inner = DVec2::new(f64::from(sum_x), f64::from(sum_y)) * scale;
    DVec2::new(f64::from(x) + 0.5, f64::from(y) + 0.5) + inner
}
