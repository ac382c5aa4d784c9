//! Colours that have a name: twelve of them, and which one a colour is called, in Oklab [Ottosson20].
//! Leaves out shades: what lies between two names has none.

use dreamsmith_base::Stream;
use dreamsmith_base::color::srgb_to_linear;
use serde::Serialize;

/// A colour is called by a name if it is this near in Oklab...
const NEAR: f32 = 0.14;
/// ...and the next name is farther by this factor.
const CLEARLY: f32 = 1.4;
/// By how much a channel of a drawn colour, in sRGB, strays from the table.
const STRAY: f32 = 0.06;

/// A colour with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum NamedColor {
    Red,
    Orange,
    Yellow,
    Green,
    Turquoise,
    Blue,
    Purple,
    Pink,
    Brown,
    Black,
    Grey,
    White,
}

impl NamedColor {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Turquoise,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Brown,
        Self::Black,
        Self::Grey,
        Self::White,
    ];

    /// As in "red".
    pub fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Turquoise => "turquoise",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::Brown => "brown",
            Self::Black => "black",
            Self::Grey => "grey",
            Self::White => "white",
        }
    }

    /// A typical colour of that name, sRGB.
    fn srgb(self) -> [u8; 3] {
        match self {
            Self::Red => [204, 28, 32],
            Self::Orange => [240, 130, 20],
            Self::Yellow => [245, 212, 35],
            Self::Green => [50, 150, 55],
            Self::Turquoise => [48, 196, 190],
            Self::Blue => [35, 80, 200],
            Self::Purple => [125, 50, 165],
            Self::Pink => [244, 130, 175],
            Self::Brown => [110, 66, 33],
            Self::Black => [24, 24, 26],
            Self::Grey => [128, 128, 130],
            Self::White => [240, 240, 238],
        }
    }

    /// A colour of that name, linear RGB, a little different each time.
    pub fn draw(self, stream: &mut Stream) -> [f32; 3] {
        self.srgb().map(|byte| {
            let value = f32::from(byte) / 255.0 + (stream.uniform() * 2.0 - 1.0) * STRAY;
            srgb_to_linear(value.clamp(0.0, 1.0))
        })
    }

    /// What a linear RGB is called; none if that is doubtful.
    pub fn of(color: [f32; 3]) -> Option<Self> {
        let place = oklab(color);
        let mut near: Vec<(f32, Self)> = Self::ALL
            .iter()
            .map(|name| {
                let typical = name
                    .srgb()
                    .map(|byte| srgb_to_linear(f32::from(byte) / 255.0));
                (distance(place, oklab(typical)), *name)
            })
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (nearest, next) = (near[0], near[1]);
        (nearest.0 < NEAR && next.0 > CLEARLY * nearest.0).then_some(nearest.1)
    }
}

/// How different two colours, linear RGB, look: the distance in Oklab; black and white are 1 apart.
pub fn color_distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    distance(oklab(a), oklab(b))
}

fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f32>().sqrt()
}

fn oklab([r, g, b]: [f32; 3]) -> [f32; 3] {
    let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
    let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
    let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::Purpose;

    #[test]
    fn oklab_has_its_published_values() {
        // White, and sRGB red, from the author's page; three digits there.
        assert!(distance(oklab([1.0; 3]), [1.0, 0.0, 0.0]) < 1e-3);
        assert!(distance(oklab([1.0, 0.0, 0.0]), [0.628, 0.225, 0.126]) < 1e-3);
    }

    #[test]
    fn drawn_colours_are_called_by_their_names() {
        let mut stream = Stream::new(1, Purpose::Test, 0);
        for name in NamedColor::ALL {
            let drawn = (0..100).map(|_| NamedColor::of(name.draw(&mut stream)));
            let found: Vec<_> = drawn.collect();
            let right = found.iter().filter(|found| **found == Some(name)).count();
            let wrong = found
                .iter()
                .flatten()
                .filter(|found| **found != name)
                .count();
            // The corners of the stray may be doubtful, never another colour.
            assert!(
                right >= 80 && wrong == 0,
                "{name:?}: {right} right, {wrong} wrong"
            );
        }
    }

    #[test]
    fn colours_between_names_have_none() {
        for between in [[0.6, 0.4, 0.35], [0.45, 0.6, 0.2]] {
            assert_eq!(NamedColor::of(between), None);
        }
    }
}
