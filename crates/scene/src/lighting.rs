//! What light makes of a field's colours: nothing, a matt surface under a lamp, or that of white clay [Poole22, section
//! 3.2]. With the gradients, so that shape is learnt from shade.
//! Leaves out shadows and highlights.

use glam::Vec3;

use crate::field::Field;
use crate::normals::Normals;
use crate::raster::Light;
use crate::samples::Samples;

/// A pixel's value is about light to the power of 1 over this, so that values can be multiplied as light is.
const GAMMA: f32 = 2.2;
/// What hardly anybody sees is not lit.
const LEAST_WEIGHT: f32 = 1e-3;

/// How a view is lit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lighting {
    /// Colours as they are.
    Albedo,
    /// Colours under a lamp.
    Lambertian(Light),
    /// White under a lamp: only the shape is seen.
    Textureless(Light),
}

/// Samples in their light, and what led to it.
pub struct Lit {
    /// sRGB `[S, 3]`.
    pub color: Vec<f32>,
    /// The numbers of the samples that are lit.
    lit: Vec<usize>,
    /// What is known of each of them.
    shades: Vec<Shade>,
    normals: Option<Normals>,
}

/// The light of a sample.
#[derive(Clone, Copy)]
struct Shade {
    /// By what its colour is multiplied.
    factor: f32,
    /// The derivative of that by the normal.
    by_normal: Vec3,
    /// Whether the colour is the field's own.
    textured: bool,
}

impl Lit {
    /// `samples` of rays that are lit as `lighting` `[R]` says, with `color` `[S, 3]` and `weights` `[S]`; normals are
    /// taken over `reach`. The box is the world.
    pub fn new(
        field: &dyn Field,
        (samples, color, weights): (&Samples, &[f32], &[f32]),
        lighting: &[Lighting],
        reach: f32,
    ) -> Self {
        let (mut lit, mut lights) = (vec![], vec![]);
        for (ray, lighting) in lighting.iter().enumerate() {
            let (light, textured) = match lighting {
                Lighting::Albedo => continue,
                Lighting::Lambertian(light) => (light, true),
                Lighting::Textureless(light) => (light, false),
            };
            let seen = samples.of_ray(ray).filter(|i| weights[*i] > LEAST_WEIGHT);
            lit.extend(seen);
            lights.resize(lit.len(), (light, textured));
        }
        let mut made = Self {
            color: color.to_vec(),
            lit,
            shades: vec![],
            normals: None,
        };
        if made.lit.is_empty() {
            return made;
        }
        let points: Vec<[f32; 3]> = made.lit.iter().map(|i| samples.points[*i]).collect();
        let normals = Normals::new(field, &points, reach);
        let of = points.iter().zip(&normals.normals).zip(lights);
        made.shades = of
            .map(|((point, normal), (light, textured))| {
                Shade::new((Vec3::from(*point), *normal), light, textured)
            })
            .collect();
        for (i, shade) in made.lit.iter().zip(&made.shades) {
            for c in &mut made.color[3 * i..3 * i + 3] {
                *c = shade.factor * if shade.textured { *c } else { 1.0 };
            }
        }
        made.normals = Some(normals);
        made
    }

    /// The normals of the lit samples, with the samples' numbers.
    pub fn normals(&self) -> impl Iterator<Item = (usize, Vec3)> {
        let normals = self.normals.iter().flat_map(|of| &of.normals);
        self.lit.iter().copied().zip(normals.copied())
    }

    /// Makes the gradient by the lit colours `[S, 3]` that by the field's own `color`; adds to `to` what goes through
    /// the normals, on which `by_normals` acts too, one for each of [`Lit::normals`].
    pub fn backward(
        &self,
        field: &dyn Field,
        (color, by_color): (&[f32], &mut [f32]),
        mut by_normals: Vec<Vec3>,
        to: &mut [Vec<f32>],
    ) {
        let Some(normals) = &self.normals else {
            return;
        };
        for ((i, shade), by_normal) in self.lit.iter().zip(&self.shades).zip(&mut by_normals) {
            let by_color = &mut by_color[3 * i..3 * i + 3];
            let mut by_factor = 0.0;
            for (by, color) in by_color.iter_mut().zip(&color[3 * i..]) {
                by_factor += *by * if shade.textured { *color } else { 1.0 };
                *by *= if shade.textured { shade.factor } else { 0.0 };
            }
            *by_normal += by_factor * shade.by_normal;
        }
        normals.backward(field, &by_normals, to);
    }
}

impl Shade {
    fn new((point, normal): (Vec3, Vec3), light: &Light, textured: bool) -> Self {
        let irradiance = light.irradiance(point, normal);
        let factor = irradiance.powf(1.0 / GAMMA);
        let slope = match irradiance > light.ambient {
            true => factor / (GAMMA * irradiance) * light.diffuse,
            false => 0.0,
        };
        Self {
            factor,
            by_normal: slope * light.toward(point),
            textured,
        }
    }
}
