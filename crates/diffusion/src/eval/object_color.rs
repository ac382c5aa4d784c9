//! What colour the object of a picture is called. The border of the picture is taken for the background.

use dreamsmith_base::Image;
use dreamsmith_base::color::srgb_to_linear;
use dreamsmith_data::{NamedColor, color_distance};

/// Pixels nearer than this in Oklab to the background belong to it: less than named colours differ,
/// and more than the noise of a drawn background.
const BACKGROUND_WITHIN: f32 = 0.08;
/// How bright red, green and blue are.
const LUMINANCE: [f32; 3] = [0.2126, 0.7152, 0.0722];

/// The name that most pixels of the object have on its brighter half, as shade makes orange brown; `None` where there is
/// no object, or none of these pixels has a clear name.
pub fn object_color(picture: &Image) -> Option<NamedColor> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels: Vec<[f32; 3]> = picture
        .rgb()
        .chunks_exact(3)
        .map(|p| [p[0], p[1], p[2]].map(|byte| srgb_to_linear(f32::from(byte) / 255.0)))
        .collect();
    let is_border = |i: usize| {
        let (x, y) = (i % width, i / width);
        x == 0 || y == 0 || x + 1 == width || y + 1 == height
    };
    let border: Vec<[f32; 3]> = (0..pixels.len())
        .filter(|i| is_border(*i))
        .map(|i| pixels[i])
        .collect();
    let median = |channel: usize| {
        let mut values: Vec<f32> = border.iter().map(|pixel| pixel[channel]).collect();
        values.sort_by(f32::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let background = [0, 1, 2].map(median);
    let is_object: Vec<bool> = pixels
        .iter()
        .map(|pixel| color_distance(*pixel, background) >= BACKGROUND_WITHIN)
        .collect();
    // The rim is mixed with the background.
    let is_inside = |i: &usize| {
        !is_border(*i)
            && [i - 1, i + 1, i - width, i + width]
                .iter()
                .all(|i| is_object[*i])
    };
    let object: Vec<usize> = (0..pixels.len()).filter(|i| is_object[*i]).collect();
    let mut seen: Vec<usize> = object.iter().copied().filter(is_inside).collect();
    if seen.is_empty() {
        seen = object;
    }
    let luminance = |i: usize| (0..3).map(|c| LUMINANCE[c] * pixels[i][c]).sum::<f32>();
    seen.sort_by(|i, j| luminance(*j).total_cmp(&luminance(*i)));
    let mut votes = NamedColor::ALL.map(|_| 0);
    for i in &seen[..seen.len().div_ceil(2)] {
        let name = NamedColor::of(pixels[*i]);
        if let Some(i) = NamedColor::ALL
            .iter()
            .position(|color| Some(*color) == name)
        {
            votes[i] += 1;
        }
    }
    let (votes, color) = votes
        .into_iter()
        .zip(NamedColor::ALL)
        .max_by_key(|(votes, _)| *votes)?;
    (votes > 0).then_some(color)
}

/// The colour that a prompt names, if it names one.
pub fn color_in(prompt: &str) -> Option<NamedColor> {
    let mut words = prompt.split(|c: char| !c.is_alphabetic());
    words.find_map(|word| {
        NamedColor::ALL
            .into_iter()
            .find(|color| color.word() == word)
    })
}

/// What of a prompt the shape of an object can tell: neither its article nor its colour.
pub fn without_color(prompt: &str) -> String {
    let mut words: Vec<&str> = prompt.split_whitespace().collect();
    words.retain(|word| !["a", "an"].contains(word) && color_in(word).is_none());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_what_the_border_is_not() {
        let mut rgb = vec![250; 3 * 16 * 16];
        for y in 4..12 {
            for x in 4..12 {
                rgb[3 * (16 * y + x)..][..3].copy_from_slice(&[200, 20, 20]);
            }
        }
        let picture = Image::new(16, 16, rgb.clone()).unwrap();
        assert_eq!(object_color(&picture), Some(NamedColor::Red));
        for y in 4..9 {
            for x in 4..12 {
                rgb[3 * (16 * y + x)..][..3].copy_from_slice(&[40, 4, 4]);
            }
        }
        let shaded = Image::new(16, 16, rgb).unwrap();
        assert_eq!(object_color(&shaded), Some(NamedColor::Red));
        let empty = Image::new(16, 16, vec![120; 3 * 16 * 16]).unwrap();
        assert_eq!(object_color(&empty), None);
        assert_eq!(color_in("a red armchair"), Some(NamedColor::Red));
        assert_eq!(color_in("a bored armchair"), None);
        assert_eq!(without_color("an orange wine bottle"), "wine bottle");
    }
}
