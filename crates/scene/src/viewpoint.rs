//! Where an object is looked at from, and how it is lit: drawn at random around a ball of radius 1, the lamp near the
//! camera [Poole22, section 3.2], but above it and to its left. What networks learnt from such views they are asked
//! about from such views.
//! Leaves out cameras that look past the middle.

use dreamsmith_base::{Camera, CameraError, Lens, Radians, Stream};
use dreamsmith_data::{CameraRecord, LightRecord, ViewWord};
use glam::Vec3;
use serde::{Deserialize, Serialize};

use crate::raster::Light;

/// The direction of a lamp, to the right of the camera, above it and towards it. A box has three shades then, and shade
/// follows from shape. Were the lamp anywhere, a network could but guess, and its guess, the mean, is flat.
const KEY_LIGHT: Vec3 = Vec3::new(-0.6, 0.8, 1.0);
/// How far a lamp is from there.
const LAMP_SPREAD: f32 = 0.15;

/// From where to where: each is drawn evenly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewpointSpec {
    /// Degrees; 0 is the front.
    pub azimuths: [f32; 2],
    /// Degrees; even in angle, so that most views are from eye height.
    pub elevations: [f32; 2],
    /// Vertical angles of view in degrees.
    pub fovs: [f32; 2],
    /// How much farther than needed to see all of the ball.
    pub distances: [f32; 2],
    /// The share of light that comes from all around.
    pub ambients: [f32; 2],
    /// How far away the lamp is, in distances of the camera.
    pub lamps: [f32; 2],
}

impl Default for ViewpointSpec {
    fn default() -> Self {
        Self {
            azimuths: [0.0, 360.0],
            elevations: [-10.0, 70.0],
            fovs: [25.0, 60.0],
            distances: [1.0, 1.15],
            ambients: [0.15, 0.3],
            lamps: [0.8, 1.5],
        }
    }
}

/// A camera and a lamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewpoint {
    /// In degrees and radii of the ball.
    pub record: CameraRecord,
    /// The same.
    pub camera: Camera,
    /// What lights the object.
    pub lamp: LightRecord,
}

impl ViewpointSpec {
    /// The next viewpoint of `stream`, for pictures of `side` pixels.
    pub fn draw(&self, stream: &mut Stream, side: u32) -> Result<Viewpoint, CameraError> {
        let mut between = |[low, high]: [f32; 2]| low + stream.uniform() * (high - low);
        let (azimuth, elevation) = (between(self.azimuths), between(self.elevations));
        let fov = between(self.fovs);
        let distance = between(self.distances) / (fov.to_radians() / 2.0).sin();
        let (ambient, far) = (between(self.ambients), between(self.lamps) * distance);
        let record = CameraRecord {
            azimuth,
            elevation,
            distance,
            fov,
        };
        let camera = orbit(&record, side)?;
        let off = Vec3::new(stream.normal(), stream.normal(), stream.normal());
        let key = camera
            .camera_to_world()
            .transform_vector3(KEY_LIGHT.normalize());
        let toward = (key + LAMP_SPREAD * off).normalize_or(Vec3::Y);
        let lamp = LightRecord {
            position: (toward * far).into(),
            ambient,
        };
        Ok(Viewpoint {
            record,
            camera,
            lamp,
        })
    }
}

impl Viewpoint {
    /// The lamp with the light from all around, together at most 1.
    pub fn light(&self) -> Light {
        Light {
            ambient: self.lamp.ambient,
            diffuse: 1.0 - self.lamp.ambient,
            ..Light::at(self.lamp.position.into())
        }
    }

    /// What is told of the view from the opposite side.
    pub fn opposite(&self) -> CameraRecord {
        CameraRecord {
            azimuth: (self.record.azimuth + 180.0) % 360.0,
            ..self.record
        }
    }

    /// What a caption calls it.
    pub fn word(&self) -> ViewWord {
        ViewWord::of(self.record.azimuth, self.record.elevation)
    }
}

/// The camera of `record`, which looks at the middle, with pictures of `side` pixels.
pub fn orbit(record: &CameraRecord, side: u32) -> Result<Camera, CameraError> {
    Camera::orbit(
        Radians::from_degrees(record.azimuth),
        Radians::from_degrees(record.elevation),
        record.distance,
        Lens::from_fov_y(Radians::from_degrees(record.fov), [side; 2])?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::Purpose;

    #[test]
    fn the_opposite_side_is_half_a_turn_away() -> Result<(), CameraError> {
        for (azimuth, opposite, word) in [
            (10.0, 190.0, ViewWord::Back),
            (200.0, 20.0, ViewWord::Front),
        ] {
            let from = ViewpointSpec {
                azimuths: [azimuth; 2],
                ..ViewpointSpec::default()
            };
            let here = from.draw(&mut Stream::new(0, Purpose::DreamView, 0), 32)?;
            let there = here.opposite();
            assert_eq!(there.azimuth, opposite);
            assert_eq!(ViewWord::of(there.azimuth, 0.0), word);
            assert_eq!(CameraRecord { azimuth, ..there }, here.record);
        }
        Ok(())
    }
}
