//! From where a dream is looked at in a step: viewpoints all around, each in its sector, and what lies behind.

use dreamsmith_base::{CameraError, Purpose, Stream};
use dreamsmith_data::ViewWord;
use dreamsmith_scene::lighting::Lighting;
use dreamsmith_scene::viewpoint::{Viewpoint, ViewpointSpec};

use crate::spec::{LightingSpec, TellView};

/// One view of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The camera and the lamp.
    pub viewpoint: Viewpoint,
    /// What the lamp is for.
    pub lighting: Lighting,
    /// What lies behind, sRGB.
    pub behind: [f32; 3],
    /// Its number among all views of the dream.
    pub number: u64,
}

/// `count` views of step `step`, each in its own sector of azimuths, with pictures of `side` pixels.
pub fn views(
    (spec, lighting): (&ViewpointSpec, &LightingSpec),
    (seed, step, progress): (u64, u64, f64),
    (count, side): (u32, u32),
) -> Result<Vec<View>, CameraError> {
    let shift = Stream::new(seed, Purpose::DreamView, u64::MAX - step).uniform();
    let [first, last] = spec.azimuths;
    let sector = (last - first) / count as f32;
    let view = |i: u32| {
        let number = step * u64::from(count) + u64::from(i);
        let mut stream = Stream::new(seed, Purpose::DreamView, number);
        let start = first + sector * (i as f32 + shift);
        let spec = ViewpointSpec {
            azimuths: [start, start + sector],
            ..*spec
        };
        let mut viewpoint = spec.draw(&mut stream, side)?;
        viewpoint.record.azimuth = viewpoint.record.azimuth.rem_euclid(360.0);
        let light = viewpoint.light();
        let lighting = match stream.uniform() {
            _ if progress < lighting.albedo_until => Lighting::Albedo,
            x if x < lighting.textureless => Lighting::Textureless(light),
            x if x < lighting.textureless + lighting.lit => Lighting::Lambertian(light),
            _ => Lighting::Albedo,
        };
        Ok(View {
            viewpoint,
            lighting,
            behind: behind(&mut stream),
            number,
        })
    };
    (0..count).map(view).collect()
}

/// White, grey or any colour, as often as in training.
fn behind(stream: &mut Stream) -> [f32; 3] {
    match stream.below(4) {
        0 | 1 => [1.0; 3],
        2 => [stream.uniform(); 3],
        _ => [(); 3].map(|()| stream.uniform()),
    }
}

/// `prompt` with what a caption says of a view ([Poole22] section 3.2).
pub fn worded(prompt: &str, word: ViewWord, tell: TellView) -> String {
    let words = match (tell, word) {
        (TellView::Never, _) => return prompt.to_owned(),
        (TellView::InWords, ViewWord::Front) => "front view",
        (TellView::InWords, ViewWord::Side) => "side view",
        (TellView::InWords, ViewWord::Back) => "back view",
        (TellView::InWords, ViewWord::Overhead) => "overhead view",
    };
    format!("{prompt}, {words}")
}
