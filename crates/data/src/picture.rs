//! One picture file brought to a square of the training size, transparency kept.
//! The format is told by the content, an SVG by its ending or its first bytes.
//! Leaves out augmentation, which happens on the square.

use std::path::Path;

use dreamsmith_base::{ImageError, ImageLimits, Rgba, decode_image, read_limited};
use serde::{Deserialize, Serialize};

use crate::svg::draw_svg;

/// A drawing with more text than this is none.
const MAX_SVG_BYTES: u64 = 1 << 24;
/// Drawings are rendered larger and reduced, which smooths finer than the renderer alone.
const SVG_OVERSAMPLING: f32 = 2.0;

/// How a picture that is not square becomes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The largest square in the middle; the rest is cut off.
    #[default]
    Crop,
    /// All of it, with transparent margins.
    Pad,
}

/// Reads a picture file and brings it to `size` x `size`.
pub fn read_square(
    path: &Path,
    size: u32,
    fit: Fit,
    limits: &ImageLimits,
) -> Result<Rgba, ImageError> {
    let name = format!("`{}`", path.display());
    let bytes = read_limited(path, limits.max_file_bytes)?;
    let picture = if is_svg(path, &bytes) {
        if bytes.len() as u64 > MAX_SVG_BYTES {
            return Err(ImageError::Broken {
                name,
                format: "SVG",
                reason: format!(
                    "{} bytes are more than the limit of {MAX_SVG_BYTES}",
                    bytes.len()
                ),
            });
        }
        draw_svg(&name, &bytes, limits, |width, height| {
            let side = match fit {
                Fit::Crop => width.min(height),
                Fit::Pad => width.max(height),
            };
            size as f32 * SVG_OVERSAMPLING / side
        })?
    } else {
        decode_image(&name, &bytes, limits)?
    };
    square(&picture, size, fit)
}

fn is_svg(path: &Path, bytes: &[u8]) -> bool {
    let ending = path.extension().and_then(|e| e.to_str());
    let start = bytes.trim_ascii_start();
    ending.is_some_and(|e| e.eq_ignore_ascii_case("svg"))
        && (start.starts_with(b"<") || start.starts_with(b"\xef\xbb\xbf<"))
        || start.starts_with(b"<svg")
}

/// Brings a picture to `size` x `size`.
pub fn square(picture: &Rgba, size: u32, fit: Fit) -> Result<Rgba, ImageError> {
    let (width, height) = (picture.width(), picture.height());
    match fit {
        Fit::Crop => {
            let side = width.min(height);
            let corner = ((width - side) / 2, (height - side) / 2);
            picture.crop(corner, (side, side))?.resize(size, size)
        }
        Fit::Pad => {
            let longest = f64::from(width.max(height));
            let scaled = |side: u32| {
                let length = f64::from(side) / longest * f64::from(size);
                (length.round() as u32).clamp(1, size)
            };
            let small = picture.resize(scaled(width), scaled(height))?;
            on_canvas(&small, size)
        }
    }
}

/// The picture in the middle of a transparent square that is at least as large.
fn on_canvas(picture: &Rgba, size: u32) -> Result<Rgba, ImageError> {
    let (left, top) = ((size - picture.width()) / 2, (size - picture.height()) / 2);
    let (stride, row) = (size as usize * 4, picture.width() as usize * 4);
    let mut rgba = vec![0; stride * size as usize];
    let targets = rgba.chunks_exact_mut(stride).skip(top as usize);
    for (target, source) in targets.zip(picture.rgba().chunks_exact(row)) {
        target[left as usize * 4..][..row].copy_from_slice(source);
    }
    Rgba::new(size, size, rgba)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// 6x2: a red, a green and a blue square of 2x2.
    fn flag() -> Result<Rgba, ImageError> {
        let row = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]].map(|p| [p, p]);
        Rgba::new(6, 2, row.concat().concat().repeat(2))
    }

    fn draw(svg: &str, fit: Fit) -> Result<Rgba, Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.svg");
        std::fs::write(&path, svg)?;
        Ok(read_square(&path, 8, fit, &ImageLimits::default())?)
    }

    fn pixel(picture: &Rgba, x: u32, y: u32) -> &[u8] {
        &picture.rgba()[((y * picture.width() + x) * 4) as usize..][..4]
    }

    #[test]
    fn cropping_keeps_the_middle() -> Outcome {
        let small = square(&flag()?, 1, Fit::Crop)?;
        assert_eq!(small.rgba(), [0, 255, 0, 255]);
        Ok(())
    }

    #[test]
    fn padding_keeps_everything_between_clear_margins() -> Outcome {
        let padded = square(&flag()?, 6, Fit::Pad)?;
        assert_eq!(pixel(&padded, 3, 1), [0; 4]);
        assert_eq!(pixel(&padded, 0, 2), [255, 0, 0, 255]);
        assert_eq!(pixel(&padded, 5, 3), [0, 0, 255, 255]);
        assert_eq!(pixel(&padded, 3, 4), [0; 4]);
        Ok(())
    }

    #[test]
    fn slivers_survive() -> Outcome {
        let line = Rgba::new(1000, 1, vec![255; 4000])?;
        assert_eq!(square(&line, 4, Fit::Pad)?.rgba().len(), 64);
        assert_eq!(square(&line, 4, Fit::Crop)?.rgba(), [255; 64]);
        Ok(())
    }

    #[test]
    fn a_drawing_fills_the_square() -> Outcome {
        let svg = r##"<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="20" height="10">
            <rect width="10" height="10" fill="#ff0000"/></svg>"##;
        let padded = draw(svg, Fit::Pad)?;
        assert_eq!(pixel(&padded, 1, 4), [255, 0, 0, 255]);
        assert_eq!(pixel(&padded, 6, 4), [0; 4]);
        assert_eq!(pixel(&padded, 1, 0), [0; 4]);
        let cropped = draw(svg, Fit::Crop)?;
        assert_eq!(pixel(&cropped, 1, 0), [255, 0, 0, 255]);
        Ok(())
    }

    #[test]
    fn a_drawing_loads_nothing_from_disk() -> Outcome {
        let dir = tempfile::tempdir()?;
        let secret = dir.path().join("secret.png");
        let red = dreamsmith_base::Image::filled(8, 8, [255, 0, 0])?;
        dreamsmith_base::write_png(&secret, &red, &[])?;
        let svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><image href="{}" width="8" height="8"/></svg>"#,
            secret.display()
        );
        assert_eq!(draw(&svg, Fit::Crop)?.rgba(), [0; 256]);
        Ok(())
    }

    #[test]
    fn a_picture_inside_a_drawing_obeys_the_limits() -> Outcome {
        let dir = tempfile::tempdir()?;
        let (png, svg) = (dir.path().join("a.png"), dir.path().join("a.svg"));
        let red = dreamsmith_base::Image::filled(20, 20, [255, 0, 0])?;
        dreamsmith_base::write_png(&png, &red, &[])?;
        let code: String = std::fs::read(&png)?
            .iter()
            .map(|b| format!("%{b:02x}"))
            .collect();
        std::fs::write(
            &svg,
            format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><image href="data:image/png,{code}" width="8" height="8"/></svg>"#,
            ),
        )?;
        let corner = |max_pixels| {
            let limits = ImageLimits {
                max_pixels,
                ..ImageLimits::default()
            };
            read_square(&svg, 8, Fit::Crop, &limits).map(|p| p.rgba()[..4].to_vec())
        };
        assert_eq!(corner(400)?, [255, 0, 0, 255]);
        assert_eq!(corner(399)?, [0; 4]);
        Ok(())
    }

    #[test]
    fn monstrous_and_broken_drawings_are_refused() {
        let message = |svg: &str, fit| match draw(svg, fit) {
            Ok(_) => String::new(),
            Err(e) => e.to_string(),
        };
        let long = r#"<svg xmlns="http://www.w3.org/2000/svg" width="100000000" height="1"/>"#;
        assert!(message(long, Fit::Crop).contains("claims"));
        assert!(message("<svg", Fit::Crop).contains("broken SVG"));
        assert!(message("words", Fit::Crop).contains("found text"));
    }
}
