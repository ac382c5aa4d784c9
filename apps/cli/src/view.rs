//! From where a picture is to be seen: a word, or angles.

use clap::{Args, ValueEnum};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_data::{CameraRecord, ViewWord};
use dreamsmith_diffusion::spec::SideSpec;

/// The angle of view that most pictures of objects have, in degrees, and how far away that is from an object of
/// radius 1 that fills the picture.
const FOV: f32 = 40.0;
const MARGIN: f32 = 1.075;
/// Above the ground, in degrees, where no angle is given.
const ELEVATION: f32 = 20.0;

/// A side of an object.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Viewpoint {
    Front,
    Side,
    Back,
    Overhead,
}

impl Viewpoint {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Front, Self::Side, Self::Back, Self::Overhead];

    /// As captions call it.
    pub fn word(self) -> ViewWord {
        match self {
            Self::Front => ViewWord::Front,
            Self::Side => ViewWord::Side,
            Self::Back => ViewWord::Back,
            Self::Overhead => ViewWord::Overhead,
        }
    }

    /// A camera that sees an object from there.
    pub fn camera(self) -> CameraRecord {
        let (azimuth, elevation) = match self {
            Self::Front => (0.0, ELEVATION),
            Self::Side => (90.0, ELEVATION),
            Self::Back => (180.0, ELEVATION),
            Self::Overhead => (0.0, 65.0),
        };
        CameraRecord {
            azimuth,
            elevation,
            distance: MARGIN / (FOV.to_radians() / 2.0).sin(),
            fov: FOV,
        }
    }
}

/// The camera, if the model was trained with one.
#[derive(Args, Clone, Copy, Debug)]
pub struct View {
    /// From where the object is seen
    #[arg(long)]
    view: Option<Viewpoint>,
    /// The same in degrees from the front, to the right
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = parse_azimuth)]
    azimuth: Option<f32>,
    /// Degrees above the ground, -90 to 90
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = parse_elevation)]
    elevation: Option<f32>,
    /// From any side, where the model would choose one that shows the object well
    #[arg(long, conflicts_with_all = ["view", "azimuth", "elevation"])]
    pub any_side: bool,
}

/// The camera within `side` that goes with `seed`.
pub fn chosen(side: &SideSpec, seed: u64) -> CameraRecord {
    let mut stream = Stream::new(seed, Purpose::Side, 0);
    let mut between = |[low, high]: [f32; 2], most: f32| {
        (low + stream.uniform() * (high - low)).clamp(-most, most)
    };
    CameraRecord {
        azimuth: between(side.azimuths, 360.0),
        elevation: between(side.elevations, 90.0),
        ..Viewpoint::Front.camera()
    }
}

impl View {
    /// The camera that was asked for, if any was.
    pub fn camera(&self) -> Option<CameraRecord> {
        if self.view.is_none() && self.azimuth.is_none() && self.elevation.is_none() {
            return None;
        }
        let usual = self.view.unwrap_or(Viewpoint::Front).camera();
        Some(CameraRecord {
            azimuth: self.azimuth.unwrap_or(usual.azimuth),
            elevation: self.elevation.unwrap_or(usual.elevation),
            ..usual
        })
    }
}

fn parse_azimuth(text: &str) -> Result<f32, String> {
    parse(text, 3600.0)
}

fn parse_elevation(text: &str) -> Result<f32, String> {
    parse(text, 90.0)
}

fn parse(text: &str, most: f32) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(degrees) if degrees.abs() <= most => Ok(degrees),
        _ => Err(format!("expected degrees from -{most} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_has_a_side_of_its_own_within_bounds() {
        let side = SideSpec {
            azimuths: [-40.0, 40.0],
            elevations: [12.0, 1e9],
        };
        let cameras: Vec<CameraRecord> = (0..50).map(|seed| chosen(&side, seed)).collect();
        assert_eq!(cameras[7], chosen(&side, 7));
        for camera in &cameras {
            assert!((-40.0..=40.0).contains(&camera.azimuth), "{camera:?}");
            assert!((12.0..=90.0).contains(&camera.elevation), "{camera:?}");
        }
        assert!(cameras.iter().any(|camera| camera.azimuth < -20.0));
        assert!(cameras.iter().any(|camera| camera.azimuth > 20.0));
    }
}
