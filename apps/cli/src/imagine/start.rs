//! The files that a picture starts from: noise, a picture, or a picture with a mask.
//! Each is known by its hash, so that a picture is drawn again from the same or not at all.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dreamsmith_base::{Image, ImageLimits, decode_image, read_limited};
use dreamsmith_diffusion::pipeline::Start;
use serde::{Deserialize, Serialize, Serializer};

/// A file of given noise: 64 MiB are 5,461 pictures of 3x32x32.
const MAX_NOISE_BYTES: u64 = 1 << 26;

/// A file and what it held.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    #[serde(serialize_with = "as_text")]
    path: PathBuf,
    blake3: String,
}

/// What images start from, by file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StartFile {
    /// The tensor `noise` [of, C, H, W] of a safetensors file, from image `first` on.
    Noise {
        file: Given,
        first: usize,
        of: usize,
    },
    /// A picture, noised by `strength` of the way.
    Picture { picture: Given, strength: f64 },
    /// A picture that is redrawn where the mask is white.
    Masked {
        picture: Given,
        mask: Given,
        strength: f64,
        times: u32,
    },
}

impl Given {
    /// The file as it is now.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let bytes = read_limited(path, ImageLimits::default().max_file_bytes)?;
        Ok(Self {
            path: path.to_path_buf(),
            blake3: blake3::hash(&bytes).to_hex().to_string(),
        })
    }

    fn bytes(&self, max_bytes: u64) -> anyhow::Result<Vec<u8>> {
        let bytes = read_limited(&self.path, max_bytes)?;
        let (found, wanted) = (blake3::hash(&bytes).to_hex().to_string(), &self.blake3);
        if found != *wanted {
            bail!(
                "`{}` is not what the picture was drawn from: its BLAKE3 is {found}, expected {wanted}; bring the old file back",
                self.path.display()
            );
        }
        Ok(bytes)
    }

    /// The picture over one grey.
    fn picture(&self, background: [u8; 3]) -> anyhow::Result<Image> {
        let limits = ImageLimits::default();
        let name = format!("`{}`", self.path.display());
        let bytes = self.bytes(limits.max_file_bytes)?;
        Ok(decode_image(&name, &bytes, &limits)?.over(background))
    }
}

impl StartFile {
    /// What `count` images of `size` pixels start from, for a network that sees patches of `patch` pixels.
    pub fn read(&self, (count, size): (usize, u32), patch: u32) -> anyhow::Result<Start> {
        match self {
            Self::Noise { file, first, of } => {
                let noise = read_noise(file, *of, size, patch)?;
                let wanted = noise.into_iter().skip(*first).take(count);
                Ok(Start::Given(wanted.collect()))
            }
            Self::Picture { picture, strength } => Ok(Start::Picture {
                pixels: square(&picture.picture([255; 3])?, size)?.to_signed(),
                strength: *strength,
            }),
            Self::Masked {
                picture,
                mask,
                strength,
                times,
            } => {
                let (seen, stencil) = (picture.picture([255; 3])?, mask.picture([0; 3])?);
                let sides = |image: &Image| format!("{}x{}", image.width(), image.height());
                if sides(&seen) != sides(&stencil) {
                    bail!(
                        "the mask `{}` is {}, expected {} as `{}`",
                        mask.path.display(),
                        sides(&stencil),
                        sides(&seen),
                        picture.path.display()
                    );
                }
                Ok(Start::Masked {
                    pixels: square(&seen, size)?.to_signed(),
                    mask: whiteness(&square(&stencil, size)?),
                    strength: *strength,
                    times: *times,
                })
            }
        }
    }

    /// What image `i` alone starts from.
    pub fn of_one(&self, i: usize) -> Self {
        match self.clone() {
            Self::Noise { file, first, of } => Self::Noise {
                file,
                first: first + i,
                of,
            },
            other => other,
        }
    }
}

/// A path as JSON can hold it; one that is no Unicode will not be found again, but is no reason not to draw.
pub fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The largest square in the middle, at `size` pixels.
fn square(picture: &Image, size: u32) -> anyhow::Result<Image> {
    let side = picture.width().min(picture.height());
    let corner = ((picture.width() - side) / 2, (picture.height() - side) / 2);
    Ok(picture.crop(corner, (side, side))?.resize(size, size)?)
}

/// [H, W] from 0 for black to 1 for white.
fn whiteness(image: &Image) -> Vec<f32> {
    let pixels = image.rgb().chunks_exact(3);
    let grey = |pixel: &[u8]| pixel.iter().map(|&value| f32::from(value)).sum::<f32>() / 765.0;
    pixels.map(grey).collect()
}

fn read_noise(file: &Given, count: usize, size: u32, patch: u32) -> anyhow::Result<Vec<Vec<f32>>> {
    let bytes = file.bytes(MAX_NOISE_BYTES)?;
    let name = file.path.display();
    let file = safetensors::SafeTensors::deserialize(&bytes)
        .with_context(|| format!("`{name}` is no safetensors file"))?;
    let noise = file
        .tensor("noise")
        .with_context(|| format!("`{name}` has no tensor `noise`"))?;
    let (side, channels) = ((size / patch) as usize, (3 * patch * patch) as usize);
    let wanted = [count, channels, side, side];
    if noise.shape() != wanted || noise.dtype() != safetensors::Dtype::F32 {
        bail!(
            "`{name}`: `noise` is {:?} of {:?}, expected {wanted:?} of F32",
            noise.shape(),
            noise.dtype()
        );
    }
    let (values, _) = noise.data().as_chunks::<4>();
    let values: Vec<f32> = values
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    Ok(values
        .chunks((values.len() / count).max(1))
        .map(<[f32]>::to_vec)
        .collect())
}
