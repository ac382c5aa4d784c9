//! From where a picture is to be seen: a word, or angles.

use clap::{Args, ValueEnum};
use dreamsmith_data::CameraRecord;

/// The angle of view that most pictures of objects have, in degrees, and how far away that is from an object of
/// radius 1 that fills the picture.
const FOV: f32 = 40.0;
const MARGIN: f32 = 1.075;
/// Above the ground, in degrees, where no angle is given.
const ELEVATION: f32 = 20.0;

/// A side of an object.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Side {
    Front,
    Side,
    Back,
    Overhead,
}

/// The camera, if the model was trained with one.
#[derive(Args, Clone, Copy, Debug)]
pub struct View {
    /// From where the object is seen
    #[arg(long)]
    view: Option<Side>,
    /// The same in degrees from the front, to the right
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = parse_azimuth)]
    azimuth: Option<f32>,
    /// Degrees above the ground, -90 to 90
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = parse_elevation)]
    elevation: Option<f32>,
}

impl View {
    /// The camera that was asked for, if any was.
    pub fn camera(&self) -> Option<CameraRecord> {
        let usual = match self.view {
            None if self.azimuth.is_none() && self.elevation.is_none() => return None,
            None | Some(Side::Front) => (0.0, ELEVATION),
            Some(Side::Side) => (90.0, ELEVATION),
            Some(Side::Back) => (180.0, ELEVATION),
            Some(Side::Overhead) => (0.0, 65.0),
        };
        Some(CameraRecord {
            azimuth: self.azimuth.unwrap_or(usual.0),
            elevation: self.elevation.unwrap_or(usual.1),
            distance: MARGIN / (FOV.to_radians() / 2.0).sin(),
            fov: FOV,
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
