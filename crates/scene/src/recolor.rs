//! Colours of a textured mesh, corrected by pictures: what pictures of the mesh lack of those of its field is added to the
//! texels that they show, in rounds. A haze before a surface, or a field that is nowhere quite solid, looks other than
//! its colours at the surface. Leaves out what no camera sees.

use dreamsmith_base::color::linear_to_srgb;
use dreamsmith_base::{Camera, Mesh};
use glam::Vec3;
use rayon::prelude::*;

use crate::agreement::{Sight, Sights};
use crate::bake::{Place, Texels};
use crate::extract::ExtractError;
use crate::raster::{Fragments, Light, RasterError, Shading, Surface, fragments, render};

/// The first round does nearly all, the third wins some tenths of a dB.
const ROUNDS: usize = 3;
/// Pixels with less of the field mix its colour with what lies behind.
const SOLID: f32 = 0.9;
/// The cosine of 84 degrees. What is looked at from aside weighs little, but a pit may be seen in no other way.
const GRAZING: f32 = 0.1;
/// Which texels are seen is found on pictures so many times as fine.
const FINER: u32 = 2;

/// What pictures of a mesh lack of those of a field.
struct Lack {
    /// sRGB, of each camera, where both fill the pixel `[H W, 3]`.
    pictures: Vec<Vec<Option<Vec3>>>,
    /// The mean square over all of these pixels.
    fault: f64,
}

/// What of a mesh a camera sees.
struct Seen {
    /// With more pixels than that of the pictures.
    camera: Camera,
    surface: Fragments,
}

/// The mesh with a texture of sRGB `colors`, corrected for as long as it comes closer to what the field shows.
pub(crate) fn corrected(
    texels: &Texels,
    mut colors: Vec<[f32; 3]>,
    sights: &Sights,
) -> Result<Mesh, ExtractError> {
    let mut best = texels.painted(&colors)?;
    let mut lack = Lack::of(&best, sights)?;
    let seen = seen(&best, sights)?;
    for _ in 0..ROUNDS {
        let places = texels.places().par_iter().zip(&mut colors);
        places.for_each(|(place, color)| {
            let more = lack.at(place, (sights, &seen)).unwrap_or_default();
            let corrected = Vec3::from(*color) + more;
            *color = corrected.clamp(Vec3::ZERO, Vec3::ONE).into();
        });
        let mesh = texels.painted(&colors)?;
        let left = Lack::of(&mesh, sights)?;
        if left.fault >= lack.fault {
            break;
        }
        (best, lack) = (mesh, left);
    }
    Ok(best)
}

fn seen(mesh: &Mesh, sights: &Sights) -> Result<Vec<Seen>, ExtractError> {
    let surface = Surface::new(mesh, Shading::Flat);
    let see = |sight: &Sight| {
        let size = sight.camera.lens().size().map(|side| FINER * side);
        let camera = sight.camera.resized(size)?;
        let surface = fragments(&surface, &camera)?;
        Ok(Seen { camera, surface })
    };
    sights.sights.par_iter().map(see).collect()
}

impl Lack {
    fn of(mesh: &Mesh, sights: &Sights) -> Result<Self, RasterError> {
        let surface = Surface::new(mesh, Shading::default());
        let pictures = sights.sights.par_iter().map(|sight| sight.lack(&surface));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
        let (mut sum, mut n) = (0.0, 0u32);
        for lack in pictures.iter().flatten().flatten() {
            sum += f64::from(lack.length_squared());
            n += 1;
        }
        let fault = sum / f64::from(n.max(1));
        Ok(Self { pictures, fault })
    }

    /// The mean over the cameras that see `place`, by how straight they look at it; `None` if none does.
    fn at(&self, place: &Place, (sights, seen): (&Sights, &[Seen])) -> Option<Vec3> {
        let (mut sum, mut weights) = (Vec3::ZERO, 0.0);
        for ((sight, seen), lack) in sights.sights.iter().zip(seen).zip(&self.pictures) {
            let straight = seen.straightness(place);
            let lack = straight.and_then(|_| sight.between(lack, place.point));
            if let (Some(straight), Some(lack)) = (straight, lack) {
                sum += straight * straight * lack;
                weights += straight * straight;
            }
        }
        (weights > 0.0).then(|| sum / weights)
    }
}

impl Seen {
    /// The cosine between the normal of `place` and the way to the camera, if it is seen.
    fn straightness(&self, place: &Place) -> Option<f32> {
        let from = self.camera.position() - place.point;
        let straight = place.normal.dot(from.normalize_or_zero());
        if straight < GRAZING {
            return None;
        }
        let [width, height] = self.surface.size;
        let [x, y] = self.camera.project(place.point)?;
        let is_inside = (0.0..width as f32).contains(&x) && (0.0..height as f32).contains(&y);
        let pixel = is_inside.then(|| y as usize * width as usize + x as usize)?;
        let depth = -from.dot(self.camera.direction());
        // Within a pixel a surface is the deeper, the more it is seen from aside.
        let slack = depth / self.camera.lens().focal()[0] / straight;
        let is_there = self.surface.face_id[pixel] != u32::MAX;
        (is_there && depth < self.surface.depth[pixel] + slack).then_some(straight)
    }
}

impl Sight {
    /// What the picture of a mesh lacks of the field's, where both fill the pixel.
    fn lack(&self, surface: &Surface) -> Result<Vec<Option<Vec3>>, RasterError> {
        let light = Light::at(self.camera.position());
        let drawn = render(surface, &self.camera, &light)?;
        let field = self.color.iter().zip(&self.opacity);
        let pixels = field.zip(drawn.albedo.iter().zip(&drawn.mask));
        let lack = pixels.map(|((color, opacity), (own, mask))| {
            let own = Vec3::from_array(own.map(linear_to_srgb));
            (*opacity > SOLID && *mask == 1.0).then(|| Vec3::from(*color) - own)
        });
        Ok(lack.collect())
    }

    /// The value of `picture` where `point` of the world is, between the pixels that have one.
    fn between(&self, picture: &[Option<Vec3>], point: Vec3) -> Option<Vec3> {
        let [width, height] = self.camera.lens().size().map(i64::from);
        let [x, y] = self.camera.project(point)?.map(|x| x - 0.5);
        let (mut sum, mut shares) = (Vec3::ZERO, 0.0);
        for (i, j) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let (column, row) = (x.floor() as i64 + i, y.floor() as i64 + j);
            if !(0..width).contains(&column) || !(0..height).contains(&row) {
                continue;
            }
            if let Some(value) = picture[(row * width + column) as usize] {
                let share = (1.0 - (x - column as f32).abs()) * (1.0 - (y - row as f32).abs());
                sum += share * value;
                shares += share;
            }
        }
        (shares > 0.0).then(|| sum / shares)
    }
}
