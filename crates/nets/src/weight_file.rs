//! The safetensors format, read tensor by tensor and written as a stream.
//! Leaves out memory maps and shards.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dreamsmith_base::{FileError, write_atomic};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use serde::{Deserialize, Serialize};

use crate::error::NetError;
use crate::float8;

/// A header lists names and shapes; a million tensors fit into this.
const MAX_HEADER: u64 = 100 << 20;

/// The bytes before the header: its length.
const PREFIX: u64 = 8;

/// An open weight file, its header checked against its length.
#[derive(Debug)]
pub(crate) struct WeightFile {
    path: PathBuf,
    file: File,
    tensors: BTreeMap<String, TensorInfo>,
    data_start: u64,
}

impl WeightFile {
    /// Reads the header only.
    pub(crate) fn open(path: &Path) -> Result<Self, NetError> {
        let fail = |e| NetError::File(FileError::new("read", path, e));
        let broken = |problem: String| NetError::NotSafetensors {
            path: path.to_path_buf(),
            problem,
        };
        let mut file = File::open(path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        if length < PREFIX {
            return Err(broken(format!(
                "it has {length} bytes, the header's length alone takes {PREFIX}"
            )));
        }
        let mut prefix = [0; PREFIX as usize];
        file.read_exact(&mut prefix).map_err(fail)?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > MAX_HEADER || header_length > length - PREFIX {
            return Err(broken(format!(
                "it claims a header of {header_length} bytes in a file of {length}"
            )));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(fail)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|e| broken(format!("its header is damaged: {e}")))?;
        let data_start = PREFIX + header_length;
        let claimed = data_start.saturating_add(metadata.data_len() as u64);
        if claimed != length {
            return Err(broken(format!(
                "its header describes {claimed} bytes, the file has {length}"
            )));
        }
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            tensors,
            data_start,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names and shapes, in the order of the names.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors
            .iter()
            .map(|(name, info)| (name.as_str(), info.shape.as_slice()))
    }

    /// The values of one tensor, widened to f32.
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<f32>, NetError> {
        let Some(info) = self.tensors.get(name) else {
            return Err(NetError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
                shape: Vec::new(),
                others: 0,
            });
        };
        let fail = |e| NetError::File(FileError::new("read", &self.path, e));
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end - start];
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .map_err(fail)?;
        self.file.read_exact(&mut bytes).map_err(fail)?;
        Ok(match info.dtype {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => halves(&bytes, f16::from_bits).to_f32_vec(),
            Dtype::BF16 => halves(&bytes, bf16::from_bits).to_f32_vec(),
            Dtype::F8_E4M3 => bytes.iter().map(|code| float8::decode(*code)).collect(),
            other => {
                return Err(NetError::ElementType {
                    path: self.path.clone(),
                    name: name.to_owned(),
                    found: format!("{other:?}"),
                });
            }
        })
    }
}

fn halves<T>(bytes: &[u8], from_bits: fn(u16) -> T) -> Vec<T> {
    bytes
        .chunks_exact(2)
        .map(|b| from_bits(u16::from_le_bytes([b[0], b[1]])))
        .collect()
}

/// The element type of a written file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// Every bit kept.
    #[default]
    F32,
    /// Half the size, three significant digits, the range of f32.
    Bf16,
    /// Half the size, four significant digits, up to 65504.
    F16,
    /// A quarter of the size, two significant digits, up to 448; vectors stay in f16, for they are few and matter.
    F8,
}

impl FromStr for WeightType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            "f8" => Ok(Self::F8),
            _ => Err("expected f32, bf16, f16 or f8".into()),
        }
    }
}

impl WeightType {
    /// In the header of a file.
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::F8 => "F8_E4M3",
        }
    }

    /// What a tensor of this shape is written as.
    fn of(self, shape: &[usize]) -> Self {
        match self {
            Self::F8 if shape.len() < 2 => Self::F16,
            other => other,
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
            Self::F8 => 1,
        }
    }

    fn encode(self, values: &[f32]) -> io::Result<Vec<u8>> {
        let is_beyond = |x: &f32| match self {
            Self::F32 | Self::Bf16 => false,
            Self::F16 => f16::from_f32(*x).is_infinite(),
            Self::F8 => float8::decode(float8::encode(*x)).is_nan(),
        };
        if let Some(x) = values.iter().find(|x| x.is_finite() && is_beyond(x)) {
            let name = self.name();
            let problem = format!("a weight of {x} is beyond {name}: choose bf16 or f32");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bf16 => values
                .iter()
                .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
                .collect(),
            Self::F16 => values
                .iter()
                .flat_map(|x| f16::from_f32(*x).to_le_bytes())
                .collect(),
            Self::F8 => values.iter().map(|x| float8::encode(*x)).collect(),
        })
    }
}

/// Writes a whole file or none. `values` gives the values of the i-th tensor when its turn comes, so
/// that only one is held at a time.
pub(crate) fn write(
    path: &Path,
    shapes: &[(String, Vec<usize>)],
    weight_type: WeightType,
    values: impl Fn(usize) -> Vec<f32>,
) -> Result<(), NetError> {
    let types: Vec<WeightType> = shapes.iter().map(|(_, s)| weight_type.of(s)).collect();
    // Large elements first, so that each tensor begins at a multiple of its elements' size.
    let mut order: Vec<usize> = (0..shapes.len()).collect();
    order.sort_by_key(|i| Reverse(types[*i].size()));
    let header = header(order.iter().map(|i| (&shapes[*i], types[*i])));
    let write = |out: &mut dyn Write| -> io::Result<()> {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        let mut each = order.iter();
        each.try_for_each(|i| out.write_all(&types[*i].encode(&values(*i))?))
    };
    Ok(write_atomic(path, write)?)
}

/// The JSON header, padded with spaces so that the data is aligned.
fn header<'a>(tensors: impl Iterator<Item = (&'a (String, Vec<usize>), WeightType)>) -> String {
    // Python's transformers and diffusers refuse a file that does not say which framework wrote it.
    let mut entries = serde_json::Map::new();
    entries.insert(
        "__metadata__".to_owned(),
        serde_json::json!({ "format": "pt" }),
    );
    let mut start = 0;
    for ((tensor, shape), weight_type) in tensors {
        let end = start + shape.iter().product::<usize>() * weight_type.size();
        let entry = serde_json::json!({
            "dtype": weight_type.name(), "shape": shape, "data_offsets": [start, end],
        });
        entries.insert(tensor.clone(), entry);
        start = end;
    }
    let header = serde_json::Value::Object(entries).to_string();
    let padded = header.len().next_multiple_of(PREFIX as usize);
    format!("{header:<padded$}")
}
