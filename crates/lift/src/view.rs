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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_all_around_and_lit_as_often_as_asked() -> Result<(), CameraError> {
        let (spec, lighting) = (ViewpointSpec::default(), LightingSpec::default());
        let at = |step, progress| views((&spec, &lighting), (5, step, progress), (4, 8));
        let mut kinds = [0; 3];
        for step in 0..500 {
            let views = at(step, 0.5)?;
            let mut azimuths: Vec<f32> = views.iter().map(|v| v.viewpoint.record.azimuth).collect();
            azimuths.sort_by(f32::total_cmp);
            // One in each quarter: two neighbours are never half a turn apart.
            for pair in azimuths.windows(2) {
                assert!(pair[1] - pair[0] < 180.0, "{azimuths:?}");
            }
            for view in views {
                kinds[match view.lighting {
                    Lighting::Albedo => 0,
                    Lighting::Lambertian(_) => 1,
                    Lighting::Textureless(_) => 2,
                }] += 1;
            }
        }
        // Five standard deviations of 2000 draws of 0.3, 0.6 and 0.1.
        for (found, expected, most) in [
            (kinds[0], 600, 102),
            (kinds[1], 1200, 110),
            (kinds[2], 200, 67),
        ] {
            assert!(i32::abs(found - expected) < most, "{kinds:?}");
        }
        let early = at(0, 0.1)?;
        assert!(early.iter().all(|view| view.lighting == Lighting::Albedo));
        assert_eq!(at(3, 0.5)?, at(3, 0.5)?);
        Ok(())
    }

    #[test]
    fn words_tell_where_from() {
        let told = |word| worded("a cat", word, TellView::InWords);
        assert_eq!(told(ViewWord::Back), "a cat, back view");
        assert_eq!(worded("a cat", ViewWord::Back, TellView::Never), "a cat");
    }
}
