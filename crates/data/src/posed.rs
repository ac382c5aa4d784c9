//! Pictures with the cameras that took them: Blender's `transforms_{train,val,test}.json` [Mildenhall20]
//! and nerfstudio's `transforms.json` [Tancik23], both OpenGL cameras in a world whose +Z is up.
//! Leaves out lens distortion, fisheye lenses, masks and depth.

use std::path::{Path, PathBuf};

use dreamsmith_base::{
    Camera, FileError, ImageError, ImageLimits, Lens, Radians, Rgba, decode_image, read_limited,
};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use serde_json::{Map, Value};

/// Where no split is given, every so manyth view is kept for testing.
const TEST_EVERY: usize = 8;

/// What a set of views may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PosedLimits {
    /// Most views of all splits together.
    pub max_views: usize,
    /// Most pixels of all views together; each view gets an equal share.
    pub max_pixels: u64,
    /// Most bytes of a file of transforms.
    pub max_json_bytes: u64,
}

impl Default for PosedLimits {
    /// 20 000 views, 512 million pixels (2 GiB), 64 MiB of JSON.
    fn default() -> Self {
        Self {
            max_views: 20_000,
            max_pixels: 1 << 29,
            max_json_bytes: 1 << 26,
        }
    }
}

/// Why views cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PosedError {
    /// None of the known files.
    #[error(
        "`{folder}` holds neither `transforms_train.json` (Blender) nor `transforms.json` (nerfstudio): give a folder of posed pictures"
    )]
    NoTransforms {
        /// The folder.
        folder: PathBuf,
    },
    /// The file is no JSON object.
    #[error("`{file}`: {problem}; expected the JSON object of a camera path")]
    Json {
        /// The file.
        file: PathBuf,
        /// The parser's words.
        problem: String,
    },
    /// A field that is missing or not usable.
    #[error("`{file}`{}: `{field}` {problem}", frame.map(|i| format!(", frame {i}")).unwrap_or_default())]
    Field {
        /// The file.
        file: PathBuf,
        /// The number of the frame from 0, if the field is one of a frame.
        frame: Option<usize>,
        /// The field's name.
        field: &'static str,
        /// What it is, and what was expected.
        problem: String,
    },
    /// Nothing to look at.
    #[error("`{file}` names no views: `frames` is empty; expected at least one")]
    NoViews {
        /// The file.
        file: PathBuf,
    },
    /// More than the limits allow.
    #[error("`{folder}` has {found} views, more than the limit of {limit}; remove some frames")]
    TooMany {
        /// The folder.
        folder: PathBuf,
        /// How many there are.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A picture that is missing or broken.
    #[error("`{file}`, frame {frame}: `file_path`: {source}")]
    Picture {
        /// The file.
        file: PathBuf,
        /// The number of the frame, from 0.
        frame: usize,
        /// What is wrong with the picture.
        source: ImageError,
    },
    /// A file of transforms cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A picture and the camera that took it, in a world whose +Y is up.
#[derive(Clone, Debug)]
pub struct View {
    /// The picture's file, relative to the folder.
    pub name: String,
    /// The camera; its lens has the size of the picture.
    pub camera: Camera,
    /// The picture, sRGB with alpha that is not multiplied in.
    pub picture: Rgba,
}

impl View {
    /// The view with its longer side at most `side` pixels long.
    pub fn at_most(self, side: u32) -> Result<Self, ImageError> {
        let size = [self.picture.width(), self.picture.height()];
        let longest = size[0].max(size[1]);
        if longest <= side {
            return Ok(self);
        }
        let scaled = |length: u32| {
            let exact = f64::from(length) * f64::from(side) / f64::from(longest);
            (exact.round() as u32).max(1)
        };
        let [width, height] = size.map(scaled);
        let picture = self.picture.resize(width, height)?;
        // Fails only for sizes of 0, which `resize` has refused.
        let camera = self.camera.resized([width, height]).unwrap_or(self.camera);
        Ok(Self {
            camera,
            picture,
            ..self
        })
    }
}

/// All views of a scene.
#[derive(Clone, Debug)]
pub struct PosedViews {
    /// To learn from; never empty.
    pub train: Vec<View>,
    /// To choose settings by; may be empty.
    pub validation: Vec<View>,
    /// To judge the result by; empty only where there are fewer than two views.
    pub test: Vec<View>,
}

/// Reads the posed pictures in `folder`.
pub fn read_posed(folder: &Path, limits: &PosedLimits) -> Result<PosedViews, PosedError> {
    let path = |name: &str| folder.join(name);
    let blender = path("transforms_train.json");
    let nerfstudio = path("transforms.json");
    let splits = match (blender.is_file(), nerfstudio.is_file()) {
        (true, _) => {
            let optional = |name| match path(name) {
                file if file.is_file() => read_frames(&file, limits),
                _ => Ok(vec![]),
            };
            [
                read_frames(&blender, limits)?,
                optional("transforms_val.json")?,
                optional("transforms_test.json")?,
            ]
        }
        (false, true) => [read_frames(&nerfstudio, limits)?, vec![], vec![]],
        (false, false) => {
            return Err(PosedError::NoTransforms {
                folder: folder.to_path_buf(),
            });
        }
    };
    if splits[0].is_empty() {
        let file = if blender.is_file() {
            blender
        } else {
            nerfstudio
        };
        return Err(PosedError::NoViews { file });
    }
    let found: usize = splits.iter().map(Vec::len).sum();
    if found > limits.max_views {
        return Err(PosedError::TooMany {
            folder: folder.to_path_buf(),
            found,
            limit: limits.max_views,
        });
    }
    let image_limits = ImageLimits {
        max_pixels: limits.max_pixels / found.max(1) as u64,
        ..ImageLimits::default()
    };
    let [train, validation, test] = splits.map(|frames| {
        let views: Result<Vec<View>, PosedError> = frames
            .par_iter()
            .with_max_len(1)
            .map(|frame| frame.open(&image_limits))
            .collect();
        views.and_then(|views| same_size(&frames, views))
    });
    Ok(split(train?, validation?, test?))
}

/// Views for validation serve as tests where there are none; else some of those to learn from are kept back.
fn split(train: Vec<View>, validation: Vec<View>, test: Vec<View>) -> PosedViews {
    let (validation, test) = match test.is_empty() {
        true => (vec![], validation),
        false => (validation, test),
    };
    if !test.is_empty() || train.len() < 2 {
        return PosedViews {
            train,
            validation,
            test,
        };
    }
    let (mut kept, mut test) = (vec![], vec![]);
    for (i, view) in train.into_iter().enumerate() {
        match i % TEST_EVERY {
            0 => test.push(view),
            _ => kept.push(view),
        }
    }
    PosedViews {
        train: kept,
        validation,
        test,
    }
}

/// How a frame's lens is told.
#[derive(Clone, Copy)]
enum LensField {
    /// `camera_angle_x`: the horizontal angle of view.
    Angle(Radians),
    /// `fl_x`, `fl_y`, `cx`, `cy` in pixels of a picture of `w` x `h`, where these are told.
    Pixels {
        focal: [f32; 2],
        center: [Option<f32>; 2],
        size: [Option<u32>; 2],
    },
}

/// One frame of a file of transforms, its picture not yet read.
struct Frame {
    place: Place,
    name: String,
    picture: PathBuf,
    lens: LensField,
    rows: [[f32; 4]; 4],
}

/// Where in a file of transforms something stands.
#[derive(Clone)]
struct Place {
    file: PathBuf,
    frame: Option<usize>,
}

impl Place {
    fn wrong(&self, field: &'static str, problem: impl ToString) -> PosedError {
        PosedError::Field {
            file: self.file.clone(),
            frame: self.frame,
            field,
            problem: problem.to_string(),
        }
    }

    /// A number, if the field is there.
    fn number(
        &self,
        object: &Map<String, Value>,
        field: &'static str,
    ) -> Result<Option<f32>, PosedError> {
        match object.get(field) {
            None => Ok(None),
            Some(value) => match value.as_f64().map(|x| x as f32) {
                Some(x) if x.is_finite() => Ok(Some(x)),
                _ => Err(self.wrong(field, format!("is {value}, expected a finite number"))),
            },
        }
    }
}

/// All frames of one file.
fn read_frames(file: &Path, limits: &PosedLimits) -> Result<Vec<Frame>, PosedError> {
    let bytes = read_limited(file, limits.max_json_bytes)?;
    let not_json = |problem: String| PosedError::Json {
        file: file.to_path_buf(),
        problem,
    };
    let text = String::from_utf8(bytes).map_err(|_| not_json("it is not UTF-8 text".into()))?;
    let root: Map<String, Value> =
        serde_json::from_str(&nan_to_null(&text)).map_err(|e| not_json(e.to_string()))?;
    let place = Place {
        file: file.to_path_buf(),
        frame: None,
    };
    let frames = match root.get("frames") {
        Some(Value::Array(frames)) => frames,
        _ => return Err(place.wrong("frames", "is missing or no list, expected a list of views")),
    };
    if frames.len() > limits.max_views {
        return Err(PosedError::TooMany {
            folder: file.to_path_buf(),
            found: frames.len(),
            limit: limits.max_views,
        });
    }
    frames
        .iter()
        .enumerate()
        .map(|(i, frame)| {
            let place = Place {
                frame: Some(i),
                ..place.clone()
            };
            read_frame(frame, &root, place)
        })
        .collect()
}

fn read_frame(frame: &Value, root: &Map<String, Value>, place: Place) -> Result<Frame, PosedError> {
    let Some(frame) = frame.as_object() else {
        return Err(place.wrong("frames", "holds something else than objects"));
    };
    let Some(name) = frame.get("file_path").and_then(Value::as_str) else {
        return Err(place.wrong(
            "file_path",
            "is missing or no text, expected a picture's path",
        ));
    };
    let folder = place.file.parent().unwrap_or(Path::new("."));
    // Blender's files leave out the ending.
    let bare = folder.join(name);
    let picture = match bare.is_file() {
        true => bare,
        false => folder.join(format!("{name}.png")),
    };
    let rows = read_matrix(frame, &place)?;
    let lens = read_lens(frame, root, &place)?;
    Ok(Frame {
        name: name.trim_start_matches("./").to_string(),
        picture,
        lens,
        rows,
        place,
    })
}

fn read_matrix(frame: &Map<String, Value>, place: &Place) -> Result<[[f32; 4]; 4], PosedError> {
    const FIELD: &str = "transform_matrix";
    let shape = "is missing or of another shape, expected 3 or 4 rows of 4 numbers";
    let rows = frame.get(FIELD).and_then(Value::as_array);
    let rows = rows.filter(|rows| rows.len() == 3 || rows.len() == 4);
    let rows = rows.ok_or_else(|| place.wrong(FIELD, shape))?;
    let mut matrix = [
        [0.0, 0.0, 0.0, 0.0],
        [0.0; 4],
        [0.0; 4],
        [0.0, 0.0, 0.0, 1.0],
    ];
    for (to, row) in matrix.iter_mut().zip(rows) {
        let row = row.as_array().filter(|row| row.len() == 4);
        let row = row.ok_or_else(|| place.wrong(FIELD, shape))?;
        for (to, value) in to.iter_mut().zip(row) {
            *to = match value.as_f64().map(|x| x as f32) {
                Some(x) if x.is_finite() => x,
                _ => {
                    return Err(
                        place.wrong(FIELD, "holds NaN, infinity or something that is no number")
                    );
                }
            };
        }
    }
    Ok(matrix)
}

/// The lens of a frame: its own fields come before those of the file.
fn read_lens(
    frame: &Map<String, Value>,
    root: &Map<String, Value>,
    place: &Place,
) -> Result<LensField, PosedError> {
    let number = |field| match place.number(frame, field)? {
        Some(x) => Ok(Some(x)),
        None => place.number(root, field),
    };
    for field in ["k1", "k2", "k3", "k4", "p1", "p2"] {
        if let Some(x) = number(field)?.filter(|x| *x != 0.0) {
            let remedy = "lens distortion is not handled: undistort the pictures first";
            return Err(place.wrong(field, format!("is {x}, expected 0: {remedy}")));
        }
    }
    let side = |field| match number(field)? {
        None => Ok(None),
        Some(x) if x >= 1.0 && x.fract() == 0.0 => Ok(Some(x as u32)),
        Some(x) => Err(place.wrong(field, format!("is {x}, expected a number of pixels"))),
    };
    if let Some(fl_x) = number("fl_x")? {
        return Ok(LensField::Pixels {
            focal: [fl_x, number("fl_y")?.unwrap_or(fl_x)],
            center: [number("cx")?, number("cy")?],
            size: [side("w")?, side("h")?],
        });
    }
    match number("camera_angle_x")? {
        Some(angle) => Ok(LensField::Angle(Radians(angle))),
        None => Err(place.wrong(
            "camera_angle_x",
            "is missing, and so is `fl_x`: one is needed",
        )),
    }
}

impl Frame {
    fn open(&self, limits: &ImageLimits) -> Result<View, PosedError> {
        let (place, name) = (&self.place, format!("`{}`", self.picture.display()));
        let picture = read_limited(&self.picture, limits.max_file_bytes)
            .map_err(ImageError::from)
            .and_then(|bytes| decode_image(&name, &bytes, limits))
            .map_err(|source| PosedError::Picture {
                file: place.file.clone(),
                frame: place.frame.unwrap_or(0),
                source,
            })?;
        let found = [picture.width(), picture.height()];
        let (field, lens) = match self.lens {
            LensField::Angle(angle) => ("camera_angle_x", Lens::from_fov_x(angle, found)),
            LensField::Pixels {
                focal,
                center,
                size,
            } => {
                for (i, field) in ["w", "h"].into_iter().enumerate() {
                    if let Some(told) = size[i].filter(|told| *told != found[i]) {
                        let problem = format!("is {told}, but {name} has {}", found[i]);
                        return Err(place.wrong(field, problem));
                    }
                }
                let middle = |i: usize| center[i].unwrap_or(found[i] as f32 / 2.0);
                ("fl_x", Lens::new(focal, [middle(0), middle(1)], found))
            }
        };
        let lens = lens.map_err(|e| place.wrong(field, format!("makes no lens: {e}")))?;
        let camera = Camera::from_blender(self.rows, lens)
            .map_err(|e| place.wrong("transform_matrix", format!("is no pose: {e}")))?;
        Ok(View {
            name: self.name.clone(),
            camera,
            picture,
        })
    }
}

/// One angle of view for pictures of several sizes is a mistake: refuses it.
fn same_size(frames: &[Frame], views: Vec<View>) -> Result<Vec<View>, PosedError> {
    let size = |view: &View| [view.picture.width(), view.picture.height()];
    let first = views.first().map(size);
    for (frame, view) in frames.iter().zip(&views) {
        let [width, height] = size(view);
        if matches!(frame.lens, LensField::Angle(_)) && first != Some([width, height]) {
            let first = first.unwrap_or_default();
            let problem = format!(
                "is a picture of {width}x{height}, but the first is {}x{}: expected one size",
                first[0], first[1]
            );
            return Err(frame.place.wrong("file_path", problem));
        }
    }
    Ok(views)
}

/// Python writes NaN and infinities into JSON, which has none: they become `null`, which the fields refuse by name.
fn nan_to_null(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut quoted) = (text, false);
    while let Some(first) = rest.chars().next() {
        let token = ["-Infinity", "Infinity", "NaN"]
            .into_iter()
            .find(|token| !quoted && rest.starts_with(token));
        let length = match (token, first) {
            (Some(token), _) => {
                out.push_str("null");
                rest = &rest[token.len()..];
                continue;
            }
            (None, '\\') if quoted => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, '"') => {
                quoted = !quoted;
                1
            }
            (None, _) => first.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}
