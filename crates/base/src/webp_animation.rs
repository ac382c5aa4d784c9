//! Animated WebP: pictures without loss in a container that shows one after the other.
//! The container by Google's "WebP Container Specification"; the pictures by the `image` crate. Leaves out reading.

use std::path::Path;
use std::time::Duration;

use ::image::ExtendedColorType;
use ::image::codecs::webp::WebPEncoder;

use crate::file::write_atomic_bytes;
use crate::image::{Image, ImageError};

/// Of VP8X: there is an animation.
const ANIMATION: u8 = 0x02;
/// Of a frame: it replaces what was there.
const NO_BLENDING: u8 = 0x02;
/// From the start of a file to its first chunk.
const HEAD: usize = 12;

/// Writes pictures of one size, up to 16384 pixels along a side, as a WebP that shows each for so long and repeats for
/// ever, whole or not at all.
pub fn write_webp(path: &Path, frames: &[Image], shown: Duration) -> Result<(), ImageError> {
    let fail = |reason: String| ImageError::EncodeAnimation {
        path: path.to_path_buf(),
        format: "WebP",
        reason,
    };
    let Some(first) = frames.first() else {
        return Err(fail("there are no pictures".into()));
    };
    let size = |image: &Image| (image.width(), image.height());
    let (width, height) = size(first);
    if let Some(other) = frames.iter().find(|image| size(image) != (width, height)) {
        let (w, h) = size(other);
        return Err(fail(format!(
            "a picture is {w}x{h}, the first {width}x{height}"
        )));
    }
    let mut chunks = vec![];
    let mut whole = vec![ANIMATION, 0, 0, 0];
    whole.extend(three_bytes(width - 1));
    whole.extend(three_bytes(height - 1));
    put_chunk(&mut chunks, b"VP8X", &whole);
    // White behind, for ever.
    put_chunk(&mut chunks, b"ANIM", &[255, 255, 255, 255, 0, 0]);
    let milliseconds = u32::try_from(shown.as_millis()).unwrap_or(u32::MAX);
    for image in frames {
        let mut file = vec![];
        let encoder = WebPEncoder::new_lossless(&mut file);
        encoder
            .encode(image.rgb(), width, height, ExtendedColorType::Rgb8)
            .map_err(|e| fail(e.to_string()))?;
        let mut frame = vec![0; 6];
        frame.extend(three_bytes(width - 1));
        frame.extend(three_bytes(height - 1));
        frame.extend(three_bytes(milliseconds.min(0xff_ffff)));
        frame.push(NO_BLENDING);
        frame.extend_from_slice(file.get(HEAD..).unwrap_or_default());
        put_chunk(&mut chunks, b"ANMF", &frame);
    }
    let mut bytes = b"RIFF".to_vec();
    let length = u32::try_from(chunks.len() + 4).map_err(|_| fail("it is over 4 GB".into()))?;
    bytes.extend(length.to_le_bytes());
    bytes.extend(b"WEBP");
    bytes.extend(chunks);
    Ok(write_atomic_bytes(path, &bytes)?)
}

fn three_bytes(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

/// A name, a length, and what there is, up to an even number of bytes.
fn put_chunk(to: &mut Vec<u8>, name: &[u8; 4], bytes: &[u8]) {
    to.extend(name);
    to.extend((bytes.len() as u32).to_le_bytes());
    to.extend(bytes);
    to.extend(std::iter::repeat_n(0, bytes.len() % 2));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::AnimationDecoder;
    use ::image::codecs::webp::WebPDecoder;

    #[test]
    fn another_program_sees_the_same_pictures() -> Result<(), Box<dyn std::error::Error>> {
        let picture = |shade: u8| {
            let bytes = (0..5 * 3 * 3).map(|i| shade.wrapping_add(5 * i as u8));
            Image::new(5, 3, bytes.collect())
        };
        let frames = [picture(0)?, picture(100)?, picture(200)?];
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.webp");
        write_webp(&path, &frames, Duration::from_millis(40))?;
        let decoder = WebPDecoder::new(std::io::Cursor::new(std::fs::read(&path)?))?;
        let read = decoder.into_frames().collect_frames()?;
        assert_eq!(read.len(), 3);
        for (read, frame) in read.iter().zip(&frames) {
            let rgb: Vec<u8> = read
                .buffer()
                .pixels()
                .flat_map(|p| [p[0], p[1], p[2]])
                .collect();
            assert_eq!(rgb, frame.rgb());
            assert_eq!(Duration::from(read.delay()), Duration::from_millis(40));
        }
        let odd = [picture(0)?, Image::filled(4, 3, [0; 3])?];
        assert!(write_webp(&path, &odd, Duration::ZERO).is_err());
        assert!(write_webp(&path, &[], Duration::ZERO).is_err());
        Ok(())
    }
}
