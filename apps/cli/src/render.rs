//! `dreamsmith render`: a mesh to a picture, a turntable, or a posed data set.

use std::f32::consts::FRAC_PI_2;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use dreamsmith_base::{
    AtomicDir, Camera, FileError, Image, Lens, MeshLimits, Purpose, Radians, Rgba, Stream,
    create_folder, encode_rgba_png, read_mesh, write_gif, write_png, write_rgba_png,
};
use dreamsmith_scene::raster::{Channel, Light, Shading, Source, Surface, render};
use glam::Vec3;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::console::Console;
use crate::output::prepare_file;

/// Elevations of the cameras of a posed data set, in degrees.
const VIEW_ELEVATIONS: [f32; 2] = [-10.0, 80.0];
/// How long a turn of the turntable takes.
const TURN: Duration = Duration::from_secs(4);

/// Draw a mesh: a picture, a turntable, or a posed data set
///
/// Reads OBJ, glTF, GLB and PLY, also inside zip archives. The mesh is moved and scaled into the ball
/// of radius 1; +Y is up, +Z is the front.
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith render chair.obj
  dreamsmith render chair.glb --azimuth 120 --elevation 30 --channel normals -o chair.png
  dreamsmith render models.zip!chair/chair.obj --background white --light 45,60
  dreamsmith render chair.obj --turntable 36 -o chair.gif
  dreamsmith render chair.obj --views 100 --split 10,20 --size 128 -o chair-views")]
pub struct Render {
    /// The mesh, or archive.zip!folder/mesh.obj
    mesh: PathBuf,
    /// The PNG to write; the GIF with --turntable, its frames beside it; the folder with --views
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Where the camera stands, in degrees from the front towards the +X side
    #[arg(long, default_value_t = 30.0, allow_negative_numbers = true)]
    azimuth: f32,
    /// How high the camera stands, in degrees: 90 is above
    #[arg(long, default_value_t = 20.0, allow_negative_numbers = true)]
    elevation: f32,
    /// From the camera to the middle of the mesh; so that all of it is seen if not given
    #[arg(long)]
    distance: Option<f32>,
    /// Angle of view in degrees
    #[arg(long, default_value_t = 40.0)]
    fov: f32,
    /// Width and height of a picture in pixels
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=4096))]
    size: u32,
    /// What to show
    #[arg(long, value_enum, default_value = "color")]
    channel: ChannelName,
    /// transparent, white, black, or as in #ff8000
    #[arg(long, default_value = "transparent")]
    background: Backdrop,
    /// Where light comes from: camera (a lamp above and left of it), or degrees as in 45,60 (azimuth, elevation)
    #[arg(long, default_value = "camera", allow_hyphen_values = true)]
    light: LightName,
    /// Show the faces: no smooth shading
    #[arg(long)]
    flat: bool,
    /// So many pictures all around, as an animated GIF and as PNG frames
    #[arg(long, value_name = "N", conflicts_with = "views", value_parser = clap::value_parser!(u32).range(1..=1000))]
    turntable: Option<u32>,
    /// A posed data set: so many training views from random sides, with Blender's transforms
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    views: Option<u32>,
    /// How many more views for validation and for testing
    #[arg(
        long,
        value_name = "VAL,TEST",
        default_value = "10,20",
        requires = "views"
    )]
    split: Split,
    /// Seed of the random sides
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum ChannelName {
    /// Under the light
    #[value(alias = "colour")]
    Color,
    /// Without light
    Albedo,
    /// X, Y and Z in the world as red, green and blue
    Normals,
    /// White is near
    Depth,
    /// What is covered
    Mask,
    /// The shape in light grey, without textures
    Clay,
}

impl ChannelName {
    fn channel(self) -> Channel {
        match self {
            Self::Color => Channel::Color,
            Self::Albedo => Channel::Albedo,
            Self::Normals => Channel::Normals,
            Self::Depth => Channel::Depth,
            Self::Mask => Channel::Mask,
            Self::Clay => Channel::Clay,
        }
    }
}

#[derive(Clone, Copy)]
enum Backdrop {
    Transparent,
    Color([u8; 3]),
}

impl FromStr for Backdrop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = |digits: &str| {
            let value = u32::from_str_radix(digits, 16).ok()?;
            (digits.len() == 6).then_some([(value >> 16) as u8, (value >> 8) as u8, value as u8])
        };
        match text {
            "transparent" => Ok(Self::Transparent),
            "white" => Ok(Self::Color([255; 3])),
            "black" => Ok(Self::Color([0; 3])),
            other => match other.strip_prefix('#').and_then(hex) {
                Some(color) => Ok(Self::Color(color)),
                None => Err("expected transparent, white, black, or a colour as in #ff8000".into()),
            },
        }
    }
}

#[derive(Clone, Copy)]
enum LightName {
    Camera,
    From([f32; 2]),
}

impl FromStr for LightName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "camera" => Ok(Self::Camera),
            other => pair(other)
                .map(Self::From)
                .ok_or("expected camera, or two numbers of degrees as in 45,60".into()),
        }
    }
}

#[derive(Clone, Copy)]
struct Split([u32; 2]);

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let counts = pair(text).filter(|counts: &[u32; 2]| counts.iter().all(|n| *n <= 100_000));
        let words = "expected two numbers of views up to 100000, as in 10,20";
        counts.map(Self).ok_or(words.into())
    }
}

fn pair<T: FromStr>(text: &str) -> Option<[T; 2]> {
    let (a, b) = text.split_once(',')?;
    Some([a.trim().parse().ok()?, b.trim().parse().ok()?])
}

/// A file of Blender's transforms, as in the data of [Mildenhall20].
#[derive(Serialize)]
struct Transforms {
    camera_angle_x: f32,
    frames: Vec<TransformsFrame>,
}

#[derive(Serialize)]
struct TransformsFrame {
    file_path: String,
    transform_matrix: [[f32; 4]; 4],
}

impl Render {
    pub fn run(self, console: &Console) -> anyhow::Result<()> {
        self.check()?;
        let read = read_mesh(&self.mesh, &MeshLimits::default())?;
        for warning in &read.warnings {
            console.note(&format!("note: {warning}"));
        }
        let shading = match self.flat {
            true => Shading::Flat,
            false => Shading::default(),
        };
        let surface = Surface::new(&read.mesh.fitted(1.0), shading);
        match (self.turntable, self.views) {
            (Some(n), _) => self.turntable(&surface, n, console),
            (None, Some(n)) => self.views(&surface, n, console),
            (None, None) => self.picture(&surface, console),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        if !(self.fov > 0.0 && self.fov < 180.0) {
            bail!("--fov {}: expected degrees between 0 and 180", self.fov);
        }
        if let Some(distance) = self.distance.filter(|d| !(*d > 0.0 && d.is_finite())) {
            bail!("--distance {distance}: expected a number above 0; the mesh has the radius 1");
        }
        let angles = [("azimuth", self.azimuth), ("elevation", self.elevation)];
        if let Some((name, value)) = angles.iter().find(|(_, value)| !value.is_finite()) {
            bail!("--{name} {value}: expected degrees");
        }
        Ok(())
    }

    fn camera(&self, azimuth: Radians, elevation: Radians) -> anyhow::Result<Camera> {
        let fov = Radians::from_degrees(self.fov);
        let lens = Lens::from_fov_y(fov, [self.size; 2])?;
        // Here the ball of radius 1 touches the border of the picture.
        let distance = self.distance.unwrap_or(1.0 / (fov.0 / 2.0).sin());
        Ok(Camera::orbit(azimuth, elevation, distance, lens)?)
    }

    fn light(&self, camera: &Camera) -> Light {
        match self.light {
            LightName::Camera => {
                let right = camera.camera_to_world().transform_vector3(Vec3::X);
                Light::at(camera.position() + 2.0 * Vec3::Y - 1.5 * right)
            }
            LightName::From(degrees) => {
                let [(sin_a, cos_a), (sin_e, cos_e)] = degrees.map(|d| d.to_radians().sin_cos());
                let direction = [sin_a * cos_e, sin_e, cos_a * cos_e];
                Light {
                    source: Source::Directional { direction },
                    ..Light::at(Vec3::ZERO)
                }
            }
        }
    }

    fn draw(&self, surface: &Surface, camera: &Camera) -> anyhow::Result<Rgba> {
        let frame = render(surface, camera, &self.light(camera))?;
        Ok(frame.picture(self.channel.channel())?)
    }

    fn output(&self, default: &str) -> PathBuf {
        self.output.clone().unwrap_or_else(|| default.into())
    }

    fn picture(&self, surface: &Surface, console: &Console) -> anyhow::Result<()> {
        let output = self.output("render.png");
        prepare_file(&output)?;
        let angles = [self.azimuth, self.elevation].map(Radians::from_degrees);
        let picture = self.draw(surface, &self.camera(angles[0], angles[1])?)?;
        self.write(&output, &picture)?;
        let words = format!("wrote {}", output.display());
        console.result(&words, &json!({"command": "render", "file": output}));
        Ok(())
    }

    fn write(&self, path: &Path, picture: &Rgba) -> anyhow::Result<()> {
        match self.background {
            Backdrop::Transparent => write_rgba_png(path, picture)?,
            Backdrop::Color(color) => write_png(path, &picture.over(color), &[])?,
        }
        Ok(())
    }

    fn turntable(&self, surface: &Surface, n: u32, console: &Console) -> anyhow::Result<()> {
        let output = self.output("turntable.gif");
        let folder = output.with_extension("");
        if folder == output {
            bail!(
                "`{}` has no ending: give the name of a GIF file",
                output.display()
            );
        }
        prepare_file(&output)?;
        create_folder(&folder)?;
        let pictures = (0..n)
            .into_par_iter()
            .map(|i| {
                let azimuth = self.azimuth + 360.0 * i as f32 / n as f32;
                let angles = [azimuth, self.elevation].map(Radians::from_degrees);
                self.draw(surface, &self.camera(angles[0], angles[1])?)
            })
            .collect::<anyhow::Result<Vec<Rgba>>>()?;
        for (i, picture) in pictures.iter().enumerate() {
            self.write(&folder.join(format!("frame_{i:03}.png")), picture)?;
        }
        let color = match self.background {
            Backdrop::Transparent => [255; 3],
            Backdrop::Color(color) => color,
        };
        let frames: Vec<Image> = pictures.iter().map(|p| p.over(color)).collect();
        write_gif(&output, &frames, TURN / n)?;
        let words = format!(
            "wrote {} and {n} frames in {}",
            output.display(),
            folder.display()
        );
        console.result(
            &words,
            &json!({"command": "render", "file": output, "folder": folder, "frames": n}),
        );
        Ok(())
    }

    fn views(&self, surface: &Surface, n: u32, console: &Console) -> anyhow::Result<()> {
        let output = self.output("views");
        if fs::read_dir(&output).is_ok_and(|mut entries| entries.next().is_some()) {
            bail!(
                "`{}` is there already and not empty: choose another name or remove it",
                output.display()
            );
        }
        if let Some(parent) = output.parent() {
            create_folder(parent)?;
        }
        let folder = AtomicDir::create(&output)?;
        let Split([n_val, n_test]) = self.split;
        for (number, (name, n)) in [("train", n), ("val", n_val), ("test", n_test)]
            .into_iter()
            .enumerate()
        {
            create_folder(&folder.path().join(name))?;
            let frames = (0..n)
                .into_par_iter()
                .map(|i| {
                    let index = (number as u64) << 32 | u64::from(i);
                    let camera = self.random_camera(index)?;
                    let file_path = format!("./{name}/r_{i}");
                    let picture = self.draw(surface, &camera)?;
                    let path = folder.path().join(format!("{name}/r_{i}.png"));
                    self.write_inside(&path, &picture)
                        .with_context(|| format!("in `{}`", output.display()))?;
                    Ok(TransformsFrame {
                        file_path,
                        transform_matrix: camera.to_blender(),
                    })
                })
                .collect::<anyhow::Result<Vec<TransformsFrame>>>()?;
            let transforms = Transforms {
                camera_angle_x: Radians::from_degrees(self.fov).0,
                frames,
            };
            let path = folder.path().join(format!("transforms_{name}.json"));
            fs::write(&path, serde_json::to_string_pretty(&transforms)? + "\n")
                .map_err(|e| FileError::new("write", &path, e))?;
        }
        folder.commit()?;
        let words = format!(
            "wrote {n} training, {n_val} validation and {n_test} test views to {}",
            output.display()
        );
        console.result(
            &words,
            &json!({"command": "render", "folder": output, "train": n, "val": n_val, "test": n_test}),
        );
        Ok(())
    }

    /// Even over the part of the sphere between the elevations.
    fn random_camera(&self, index: u64) -> anyhow::Result<Camera> {
        let mut stream = Stream::new(self.seed, Purpose::PosedView, index);
        let azimuth = Radians(stream.uniform() * 4.0 * FRAC_PI_2);
        let [low, high] = VIEW_ELEVATIONS.map(|degrees| degrees.to_radians().sin());
        let elevation = Radians((low + stream.uniform() * (high - low)).asin());
        self.camera(azimuth, elevation)
    }

    /// Inside a folder that becomes visible as a whole, files need not be atomic.
    fn write_inside(&self, path: &Path, picture: &Rgba) -> anyhow::Result<()> {
        let bytes = match self.background {
            Backdrop::Transparent => encode_rgba_png(path, picture)?,
            Backdrop::Color(color) => {
                let opaque = picture.over(color);
                let rgba = opaque
                    .rgb()
                    .as_chunks()
                    .0
                    .iter()
                    .map(|[r, g, b]| [*r, *g, *b, 255]);
                let rgba = rgba.collect::<Vec<[u8; 4]>>().into_flattened();
                encode_rgba_png(path, &Rgba::new(opaque.width(), opaque.height(), rgba)?)?
            }
        };
        Ok(fs::write(path, bytes).map_err(|e| FileError::new("write", path, e))?)
    }
}
