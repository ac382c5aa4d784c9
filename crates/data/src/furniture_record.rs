//! One line of `metadata.jsonl` for each view of a piece of furniture, and where its picture lies.
//! Leaves out drawing: what a view shows is told, not made here.

use serde::{Deserialize, Serialize};

use crate::furniture_catalog::Piece;
use crate::furniture_color::NamedColor;

/// What is known about a picture of a piece of furniture.
#[derive(Clone, Debug, Serialize)]
pub struct FurnitureRecord {
    /// Relative to the data set.
    pub file_name: String,
    /// Captions, each of them true: "a red armchair", "red armchair, front view".
    pub text: Vec<String>,
    /// The class: the catalog's category.
    pub label: String,
    /// "armchair".
    pub name: String,
    /// As in "Living room".
    pub category: String,
    /// Of what colour most of it is, if that has a clear name.
    pub colour: Option<NamedColor>,
    /// The colour is not the model's own.
    pub recoloured: bool,
    /// From where it is seen.
    pub view: ViewWord,
    /// The camera.
    pub camera: CameraRecord,
    /// Where the lamp stands, in the world.
    pub light: LightRecord,
    /// Whom to thank.
    pub creator: String,
    /// What may be done with it.
    pub licence: String,
    /// The library and the OBJ in it.
    pub model: String,
}

/// A camera on a sphere around the object, in degrees and radii of the object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraRecord {
    /// From the front towards +X, in [0, 360).
    pub azimuth: f32,
    /// Above the ground.
    pub elevation: f32,
    /// From the middle of the object, whose radius is 1.
    pub distance: f32,
    /// Angle of view.
    pub fov: f32,
}

impl CameraRecord {
    /// Errs in words on what no camera can be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let known = [
            ("azimuth", self.azimuth, self.azimuth.is_finite()),
            ("elevation", self.elevation, self.elevation.abs() <= 90.0),
            (
                "distance",
                self.distance,
                self.distance > 0.0 && self.distance.is_finite(),
            ),
            ("fov", self.fov, self.fov > 0.0 && self.fov < 180.0),
        ];
        match known.into_iter().find(|(.., fits)| !fits) {
            None => Ok(()),
            Some((key, value, _)) => Err(format!(
                "camera.{key} is {value}; expected degrees, a distance above 0, and a fov above 0 and below 180"
            )),
        }
    }
}

/// A lamp.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LightRecord {
    /// In the world, where the object has the radius 1.
    pub position: [f32; 3],
    /// The share of light that comes from all around.
    pub ambient: f32,
}

/// From where an object is seen, as prompts say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewWord {
    /// Within 45 degrees of the front.
    Front,
    /// Anything else.
    Side,
    /// Within 45 degrees of the back.
    Back,
    /// From more than 60 degrees above.
    Overhead,
}

impl ViewWord {
    /// The word for a camera; degrees, azimuth 0 is the front [Poole22] section 3.2.
    pub fn of(azimuth: f32, elevation: f32) -> Self {
        let off_front = (azimuth + 180.0).rem_euclid(360.0) - 180.0;
        match off_front.abs() {
            _ if elevation > 60.0 => Self::Overhead,
            off if off < 45.0 => Self::Front,
            off if off > 135.0 => Self::Back,
            _ => Self::Side,
        }
    }
}

/// The folder of a piece's pictures: `scopia-017-armchair`.
pub fn piece_folder(piece: &Piece, name: &str) -> String {
    let whole = format!("{}-{:03}-{name}", piece.library, piece.number);
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let dashed: String = whole.chars().map(plain).collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_have_their_words() {
        for (azimuth, elevation, word) in [
            (0.0, 0.0, ViewWord::Front),
            (330.0, 59.0, ViewWord::Front),
            (-44.0, 0.0, ViewWord::Front),
            (90.0, -10.0, ViewWord::Side),
            (180.0, 0.0, ViewWord::Back),
            (224.0, 0.0, ViewWord::Back),
            (226.0, 0.0, ViewWord::Side),
            (0.0, 61.0, ViewWord::Overhead),
        ] {
            assert_eq!(
                ViewWord::of(azimuth, elevation),
                word,
                "{azimuth} {elevation}"
            );
        }
    }
}
