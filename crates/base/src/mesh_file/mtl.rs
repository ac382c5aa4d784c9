//! Wavefront's material libraries: Kd, d, Tr, map_Kd and map_d.
//! Kd is taken as sRGB, as modelling tools show it. Where there is a texture, its colours count alone, as in Blender,
//! obj2gltf and Sweet Home 3D: Kd is then what an exporter left there. (The format's own text multiplies the two.)
//! Leaves out all that shines, glows or bumps, and the scale and offset of textures.

use std::sync::Arc;

use super::load::Load;
use crate::color::srgb_to_linear;
use crate::image::{ImageError, Rgba};
use crate::mesh::Material;

/// A material as its library tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    diffuse: Option<[f32; 3]>,
    opacity: Option<f32>,
    transparency: Option<f32>,
    color_map: Option<String>,
    opacity_map: Option<String>,
}

/// The materials of a library; lines that make no sense are warnings.
pub(super) fn parse(text: &str, load: &mut Load) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        if key == "newmtl" {
            entries.push(Entry {
                name: value.to_owned(),
                ..Entry::default()
            });
            continue;
        }
        let Some(entry) = entries.last_mut() else {
            continue;
        };
        let understood = match key.to_lowercase().as_str() {
            "kd" => set(&mut entry.diffuse, color(value)),
            "d" => set(
                &mut entry.opacity,
                number(value.trim_start_matches("-halo")),
            ),
            "tr" => set(&mut entry.transparency, number(value)),
            "map_kd" => set(&mut entry.color_map, map_name(value)),
            "map_d" => set(&mut entry.opacity_map, map_name(value)),
            _ => true,
        };
        if !understood {
            load.warn(format!("`{line}` of material `{}` is ignored", entry.name));
        }
    }
    entries
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let understood = value.is_some();
    if understood {
        *place = value;
    }
    understood
}

fn number(text: &str) -> Option<f32> {
    let number: f32 = text.trim().parse().ok()?;
    number.is_finite().then(|| number.clamp(0.0, 1.0))
}

/// `r g b`, or one value for all three.
fn color(text: &str) -> Option<[f32; 3]> {
    let values: Option<Vec<f32>> = text.split_whitespace().map(number).collect();
    match values?.as_slice() {
        [grey] => Some([*grey; 3]),
        [r, g, b, ..] => Some([*r, *g, *b]),
        _ => None,
    }
}

/// The file after the options; its name may have spaces.
fn map_name(text: &str) -> Option<String> {
    let mut rest = text.trim();
    while rest.starts_with('-') {
        let (option, after) = rest.split_once(char::is_whitespace)?;
        let (least, most) = match option {
            "-mm" => (2, 2),
            "-o" | "-s" | "-t" => (1, 3),
            _ => (1, 1),
        };
        rest = after.trim_start();
        for i in 0..most {
            let (word, after) = rest.split_once(char::is_whitespace)?;
            if i >= least && word.parse::<f32>().is_err() {
                break;
            }
            rest = after.trim_start();
        }
    }
    let name = rest.trim_matches('"');
    (!name.is_empty()).then(|| name.to_owned())
}

impl Entry {
    /// The material, with its textures read.
    pub(super) fn material(&self, load: &mut Load) -> Material {
        let colors = self
            .color_map
            .as_deref()
            .and_then(|name| load.texture(name));
        let diffuse = match colors {
            Some(_) => [1.0; 3],
            None => self.diffuse.unwrap_or([1.0; 3]),
        };
        let masked = self.opacity_map.as_deref();
        let mask = masked
            .filter(|name| self.color_map.as_deref() != Some(name))
            .and_then(|name| load.texture(name));
        let texture = match mask {
            Some(mask) => match with_opacity(colors.as_deref(), &mask) {
                Ok(both) => Some(Arc::new(both)),
                Err(e) => {
                    load.warn(format!("map_d of material `{}` is ignored: {e}", self.name));
                    colors
                }
            },
            None => colors,
        };
        let transparency = self.transparency.unwrap_or(0.0);
        Material {
            name: self.name.clone(),
            base_color: diffuse.map(srgb_to_linear),
            alpha: self.opacity.unwrap_or(1.0 - transparency),
            texture,
        }
    }
}

/// The colours (white if none) with the mask's alpha, or its red where it is opaque throughout.
fn with_opacity(colors: Option<&Rgba>, mask: &Rgba) -> Result<Rgba, ImageError> {
    let size = colors.map_or((mask.width(), mask.height()), |c| (c.width(), c.height()));
    let mask = match size == (mask.width(), mask.height()) {
        true => mask,
        false => &mask.resize(size.0, size.1)?,
    };
    let opaque = mask.rgba().chunks_exact(4).all(|p| p[3] == 255);
    let channel = if opaque { 0 } else { 3 };
    let mut pixels = match colors {
        Some(colors) => colors.rgba().to_vec(),
        None => vec![255; mask.rgba().len()],
    };
    for (pixel, mask) in pixels.chunks_exact_mut(4).zip(mask.rgba().chunks_exact(4)) {
        pixel[3] = mask[channel];
    }
    Rgba::new(size.0, size.1, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_maps_follow_their_options() {
        for (line, name) in [
            ("a.png", "a.png"),
            ("-s 1 2 3 -o 0.5 -clamp on my tex.png", "my tex.png"),
            ("-bm 0.3 -o .2 .2 .2 sheet.jpg", "sheet.jpg"),
            ("\"quoted name.png\"", "quoted name.png"),
        ] {
            assert_eq!(map_name(line).as_deref(), Some(name), "{line}");
        }
        assert_eq!(map_name("-s 1 1 1"), None);
        assert_eq!(map_name(""), None);
    }

    #[test]
    fn a_mask_becomes_alpha() -> Result<(), ImageError> {
        let colors = Rgba::new(1, 2, vec![9, 8, 7, 255, 6, 5, 4, 255])?;
        let grey = Rgba::new(1, 2, vec![0, 0, 0, 255, 200, 200, 200, 255])?;
        let both = with_opacity(Some(&colors), &grey)?;
        assert_eq!(both.rgba(), [9, 8, 7, 0, 6, 5, 4, 200]);
        let clear = Rgba::new(1, 2, vec![50, 0, 0, 255, 50, 0, 0, 30])?;
        assert_eq!(with_opacity(None, &clear)?.rgba()[7], 30);
        Ok(())
    }
}
