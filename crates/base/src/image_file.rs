//! Pictures in files: PNG, JPEG, WebP and GIF (first frame) in, PNG with text chunks and GIF out.
//! The format is told by the content. The header is held against a limit before anything is decoded.
//! Leaves out colour profiles, and animation but for writing GIF.

use std::io::{self, Cursor};
use std::path::Path;
use std::time::Duration;

use ::image::codecs::gif::{GifEncoder, Repeat};
use ::image::metadata::Orientation;
use ::image::{Delay, DynamicImage, Frame, ImageDecoder, ImageFormat, ImageReader, RgbaImage};
use png::text_metadata::ITXtChunk;

use crate::file::{read_limited, write_atomic, write_atomic_bytes};

/// From 1, the best palette, to 30; beyond 10 it is seen.
const GIF_SPEED: i32 = 10;
use crate::image::{Image, ImageError, Rgba};

/// What a picture file may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Most pixels (width times height).
    pub max_pixels: u64,
    /// Most bytes of the file itself.
    pub max_file_bytes: u64,
}

impl Default for ImageLimits {
    /// 64 million pixels (8192x8192) and 256 MiB.
    fn default() -> Self {
        Self {
            max_pixels: 1 << 26,
            max_file_bytes: 1 << 28,
        }
    }
}

impl ImageLimits {
    /// Refuses a claimed size beyond the limit.
    pub fn check(&self, name: &str, width: u32, height: u32) -> Result<(), ImageError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageError::TooManyPixels {
                name: name.into(),
                width,
                height,
                limit: self.max_pixels,
            });
        }
        Ok(())
    }
}

/// Reads a picture file.
pub fn read_image(path: &Path, limits: &ImageLimits) -> Result<Rgba, ImageError> {
    let bytes = read_limited(path, limits.max_file_bytes)?;
    decode_image(&format!("`{}`", path.display()), &bytes, limits)
}

/// Decodes the bytes of a picture file; `name` is what errors call it.
pub fn decode_image(name: &str, bytes: &[u8], limits: &ImageLimits) -> Result<Rgba, ImageError> {
    let (format, format_name) = recognise(name, bytes)?;
    let broken = |e: ::image::ImageError| ImageError::Broken {
        name: name.into(),
        format: format_name,
        reason: e.to_string(),
    };
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(ImageError::Broken {
            name: name.into(),
            format: format_name,
            reason: "it ends before its end marker".into(),
        });
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // Our own check names the file and comes first; the decoder's limit covers its inner buffers.
    let mut inner = ::image::Limits::default();
    inner.max_alloc = Some(limits.max_pixels.saturating_mul(32).max(1 << 20));
    reader.limits(inner);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    limits.check(name, width, height)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(broken)?;
    decoded.apply_orientation(orientation);
    let rgba = decoded.into_rgba8();
    let (width, height) = rgba.dimensions();
    Rgba::new(width, height, rgba.into_raw())
}

fn recognise(name: &str, bytes: &[u8]) -> Result<(ImageFormat, &'static str), ImageError> {
    let guessed = ::image::guess_format(bytes).ok();
    let found = match guessed {
        Some(ImageFormat::Png) => return Ok((ImageFormat::Png, "PNG")),
        Some(ImageFormat::Jpeg) => return Ok((ImageFormat::Jpeg, "JPEG")),
        Some(ImageFormat::WebP) => return Ok((ImageFormat::WebP, "WebP")),
        Some(ImageFormat::Gif) => return Ok((ImageFormat::Gif, "GIF")),
        Some(other) => format!("{other:?}"),
        None if bytes.is_empty() => "an empty file".into(),
        None if std::str::from_utf8(bytes).is_ok() => "text".into(),
        None => "unknown bytes".into(),
    };
    Err(ImageError::UnknownFormat {
        name: name.into(),
        found,
    })
}

/// The decoder fills what is missing of a cut JPEG with grey and says nothing, so the end marker is
/// looked for here: no scan may start after the last one (a thumbnail has markers of its own).
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|w| w == [0xff, marker]);
    match (last(0xd9), last(0xda)) {
        (Some(end), Some(scan)) => end > scan,
        // Without a scan the decoder finds its own words.
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

/// Writes a PNG, whole or not at all, with its `text` (keyword, value) as iTXt chunks in UTF-8.
///
/// Keywords are Latin-1, 1 to 79 characters; values may hold any text.
pub fn write_png(path: &Path, image: &Image, text: &[(&str, String)]) -> Result<(), ImageError> {
    let mut refusal = None;
    let written = write_atomic(path, |w| {
        encode_png(w, image, text).map_err(|e| match e {
            png::EncodingError::IoError(e) => e,
            other => {
                refusal = Some(other.to_string());
                io::Error::other("refused by the encoder")
            }
        })
    });
    match (written, refusal) {
        (_, Some(reason)) => Err(ImageError::Encode {
            path: path.to_path_buf(),
            reason,
        }),
        (written, None) => Ok(written?),
    }
}

fn encode_png(
    w: &mut dyn io::Write,
    image: &Image,
    text: &[(&str, String)],
) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(w, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    let mut writer = encoder.write_header()?;
    for (keyword, value) in text {
        writer.write_text_chunk(&ITXtChunk::new(*keyword, value.as_str()))?;
    }
    writer.write_image_data(image.rgb())?;
    writer.finish()
}

/// The bytes of a PNG with transparency; `path` is what errors call it.
pub fn encode_rgba_png(path: &Path, image: &Rgba) -> Result<Vec<u8>, ImageError> {
    let encode = || {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(image.rgba())?;
        writer.finish()?;
        Ok(bytes)
    };
    encode().map_err(|e: png::EncodingError| ImageError::Encode {
        path: path.to_path_buf(),
        reason: e.to_string(),
    })
}

/// Writes a PNG with transparency, whole or not at all.
pub fn write_rgba_png(path: &Path, image: &Rgba) -> Result<(), ImageError> {
    Ok(write_atomic_bytes(path, &encode_rgba_png(path, image)?)?)
}

/// Writes pictures as a GIF that shows each for so long and repeats for ever, whole or not at all.
pub fn write_gif(path: &Path, frames: &[Image], shown: Duration) -> Result<(), ImageError> {
    let encode = || {
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
        encoder.set_repeat(Repeat::Infinite)?;
        for frame in frames {
            let rgba = frame
                .rgb()
                .as_chunks()
                .0
                .iter()
                .map(|[r, g, b]| [*r, *g, *b, 255]);
            let rgba = rgba.collect::<Vec<[u8; 4]>>().into_flattened();
            // `Image` holds as many bytes as its sides say.
            if let Some(buffer) = RgbaImage::from_raw(frame.width(), frame.height(), rgba) {
                let delay = Delay::from_saturating_duration(shown);
                encoder.encode_frame(Frame::from_parts(buffer, 0, 0, delay))?;
            }
        }
        drop(encoder);
        Ok(bytes)
    };
    let bytes = encode().map_err(|e: ::image::ImageError| ImageError::EncodeAnimation {
        format: "GIF",
        path: path.to_path_buf(),
        reason: e.to_string(),
    })?;
    Ok(write_atomic_bytes(path, &bytes)?)
}

/// The text chunks of a PNG, (keyword, value): tEXt, then zTXt, then iTXt, each in file order.
pub fn read_png_text(path: &Path) -> Result<Vec<(String, String)>, ImageError> {
    let name = format!("`{}`", path.display());
    let bytes = read_limited(path, ImageLimits::default().max_file_bytes)?;
    let broken = |e: png::DecodingError| ImageError::Broken {
        name: name.clone(),
        format: "PNG",
        reason: e.to_string(),
    };
    let (format, found) = recognise(&name, &bytes)?;
    if format != ImageFormat::Png {
        return Err(ImageError::UnknownFormat {
            name,
            found: format!("{found}, which carries no PNG text"),
        });
    }
    let mut reader = png::Decoder::new(Cursor::new(&bytes))
        .read_info()
        .map_err(broken)?;
    // Chunks may also follow the picture.
    reader.finish().map_err(broken)?;
    let info = reader.info();
    let mut text = Vec::new();
    for chunk in &info.uncompressed_latin1_text {
        text.push((chunk.keyword.clone(), chunk.text.clone()));
    }
    for chunk in &info.compressed_latin1_text {
        text.push((chunk.keyword.clone(), chunk.get_text().map_err(broken)?));
    }
    for chunk in &info.utf8_text {
        text.push((chunk.keyword.clone(), chunk.get_text().map_err(broken)?));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::FileError;
    use std::error::Error;
    use std::fs;

    type Outcome = Result<(), Box<dyn Error>>;

    fn sample() -> Result<Image, ImageError> {
        Image::new(20, 10, (0..600).map(|i| (i * 7 % 251) as u8).collect())
    }

    fn encoded(format: ImageFormat) -> Result<Vec<u8>, Box<dyn Error>> {
        let image = sample()?;
        let buffer = ::image::RgbImage::from_raw(20, 10, image.rgb().to_vec()).ok_or("length")?;
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(buffer).write_to(&mut bytes, format)?;
        Ok(bytes.into_inner())
    }

    fn message(bytes: &[u8]) -> String {
        match decode_image("`x`", bytes, &ImageLimits::default()) {
            Ok(_) => "no error".into(),
            Err(e) => e.to_string(),
        }
    }

    /// A PNG that claims `side` times `side` pixels and brings none.
    fn claim(side: u32) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut writer = png::Encoder::new(&mut bytes, side, side).write_header()?;
        writer.write_chunk(png::chunk::IDAT, &[])?;
        drop(writer);
        Ok(bytes)
    }

    #[test]
    fn png_comes_back_with_its_text() -> Outcome {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.png");
        let text = [
            ("prompt", "ein Häuschen — 家\nline two".to_string()),
            ("seed", "7".to_string()),
        ];
        write_png(&path, &sample()?, &text)?;
        assert_eq!(
            read_image(&path, &ImageLimits::default())?.over([0; 3]),
            sample()?
        );
        let expected = text.map(|(k, v)| (k.to_string(), v));
        assert_eq!(read_png_text(&path)?, expected);
        Ok(())
    }

    #[test]
    fn transparency_survives_and_a_gif_holds_all_frames() -> Outcome {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.png");
        let rgba = Rgba::new(2, 1, vec![1, 2, 3, 4, 250, 251, 252, 255])?;
        write_rgba_png(&path, &rgba)?;
        assert_eq!(read_image(&path, &ImageLimits::default())?, rgba);
        let path = dir.path().join("a.gif");
        let frames = [[200, 10, 10], [10, 200, 10]].map(|color| Image::filled(8, 6, color));
        let frames = frames.into_iter().collect::<Result<Vec<_>, _>>()?;
        write_gif(&path, &frames, Duration::from_millis(40))?;
        let decoder = ::image::codecs::gif::GifDecoder::new(Cursor::new(fs::read(&path)?))?;
        let found = ::image::AnimationDecoder::into_frames(decoder).collect_frames()?;
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().zip(&frames) {
            assert_eq!(found.delay().numer_denom_ms(), (40, 1));
            // One colour fits any palette.
            assert_eq!(found.buffer().get_pixel(3, 3).0[..3], expected.rgb()[..3]);
        }
        Ok(())
    }

    #[test]
    fn a_refused_keyword_leaves_nothing() -> Outcome {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.png");
        let result = write_png(&path, &sample()?, &[("", "x".into())]);
        assert!(
            matches!(result, Err(ImageError::Encode { .. })),
            "{result:?}"
        );
        assert_eq!(fs::read_dir(dir.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn lossless_formats_are_exact_and_jpeg_is_near() -> Outcome {
        let limits = ImageLimits::default();
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            assert_eq!(
                decode_image("x", &encoded(format)?, &limits)?.over([0; 3]),
                sample()?
            );
        }
        let gif = decode_image("x", &encoded(ImageFormat::Gif)?, &limits)?;
        assert_eq!((gif.width(), gif.height()), (20, 10));
        let grey = Image::filled(20, 10, [100, 150, 200])?;
        let buffer = ::image::RgbImage::from_raw(20, 10, grey.rgb().to_vec()).ok_or("length")?;
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(buffer).write_to(&mut bytes, ImageFormat::Jpeg)?;
        let jpeg = decode_image("x", &bytes.into_inner(), &limits)?.over([0; 3]);
        // An even field loses at most two steps to the colour transform and quantisation.
        assert!(
            jpeg.rgb()
                .iter()
                .zip(grey.rgb())
                .all(|(a, b)| a.abs_diff(*b) <= 2)
        );
        Ok(())
    }

    #[test]
    fn cut_pictures_are_broken() -> Outcome {
        for (format, name) in [
            (ImageFormat::Png, "PNG"),
            (ImageFormat::Jpeg, "JPEG"),
            (ImageFormat::WebP, "WebP"),
            (ImageFormat::Gif, "GIF"),
        ] {
            let bytes = encoded(format)?;
            let words = message(&bytes[..bytes.len() * 2 / 3]);
            assert!(words.contains(&format!("broken {name}")), "{name}: {words}");
        }
        Ok(())
    }

    #[test]
    fn what_is_no_picture_is_named() {
        assert!(message(b"hello").contains("found text"));
        assert!(message(b"").contains("an empty file"));
        assert!(message(&[0xff, 0x00, 0xfe]).contains("unknown bytes"));
        assert!(message(b"BM\0\0\0\0\0\0\0\0\0\0").contains("Bmp"));
    }

    #[test]
    fn a_huge_claim_is_refused_by_its_header() -> Outcome {
        let words = message(&claim(100_000)?);
        assert!(words.contains("claims 100000x100000"), "{words}");
        // The same file with a small claim gets further: to its missing pixels.
        assert!(message(&claim(10)?).contains("broken PNG"));
        Ok(())
    }

    #[test]
    fn text_of_other_files_is_an_error() -> Outcome {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.png");
        fs::write(&path, encoded(ImageFormat::Gif)?)?;
        assert!(matches!(
            read_png_text(&path),
            Err(ImageError::UnknownFormat { .. })
        ));
        fs::write(&path, "words")?;
        assert!(matches!(
            read_png_text(&path),
            Err(ImageError::UnknownFormat { .. })
        ));
        let missing = read_png_text(&dir.path().join("b.png"));
        assert!(matches!(
            missing,
            Err(ImageError::File(FileError::Missing { .. }))
        ));
        Ok(())
    }
}
