//! SVG drawings as pictures, through resvg.
//! Leaves out text (fonts differ from machine to machine) and anything outside the file itself.

use std::sync::Arc;

use dreamsmith_base::{ImageError, ImageLimits, Rgba, decode_image};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{ImageHrefResolver, Options, Tree};

/// Draws an SVG at the scale that `scale` gives for its own (width, height).
pub(crate) fn draw_svg(
    name: &str,
    bytes: &[u8],
    limits: &ImageLimits,
    scale: impl Fn(f32, f32) -> f32,
) -> Result<Rgba, ImageError> {
    let broken = |reason: String| ImageError::Broken {
        name: name.into(),
        format: "SVG",
        reason,
    };
    let tree = Tree::from_data(bytes, &options(limits)).map_err(|e| broken(e.to_string()))?;
    let size = tree.size();
    let scale = scale(size.width(), size.height());
    // The casts saturate, so a monstrous drawing fails the check below.
    let side = |length: f32| (length * scale).round().max(1.0) as u32;
    let (width, height) = (side(size.width()), side(size.height()));
    limits.check(name, width, height)?;
    let mut canvas = Pixmap::new(width, height)
        .ok_or_else(|| broken(format!("it cannot be drawn at {width}x{height}")))?;
    let fill = Transform::from_scale(width as f32 / size.width(), height as f32 / size.height());
    resvg::render(&tree, fill, &mut canvas.as_mut());
    let rgba = canvas
        .pixels()
        .iter()
        .map(|p| p.demultiply())
        .flat_map(|c| [c.red(), c.green(), c.blue(), c.alpha()])
        .collect();
    Rgba::new(width, height, rgba)
}

/// Nothing is loaded from disk, and embedded pictures obey the limits.
fn options(limits: &ImageLimits) -> Options<'static> {
    let limits = *limits;
    let embedded = ImageHrefResolver::default_data_resolver();
    Options {
        image_href_resolver: ImageHrefResolver {
            resolve_data: Box::new(move |kind, data: Arc<Vec<u8>>, options| {
                decode_image("embedded", &data, &limits).ok()?;
                embedded(kind, data, options)
            }),
            resolve_string: Box::new(|_, _| None),
        },
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_that_unfolds_to_millions_of_shapes_is_refused() {
        let mut text = String::from(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><defs><rect id="a0" width="1" height="1"/>"#,
        );
        for level in 1..9 {
            let copy = format!(r##"<use href="#a{}"/>"##, level - 1);
            text += &format!(r#"<g id="a{level}">{}</g>"#, copy.repeat(10));
        }
        text += r##"</defs><use href="#a8"/></svg>"##;
        let error = draw_svg(
            "nested",
            text.as_bytes(),
            &ImageLimits::default(),
            |_, _| 1.0,
        );
        let error = error.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(
            error.contains("nested") && error.contains("limit"),
            "{error}"
        );
    }
}
