//! The numbers of a glTF file: accessors over buffer views, sparse ones too, read one element at a
//! time. Nothing is allocated because of a count; elements outside of the buffers are errors.

use std::cell::Cell;
use std::collections::HashMap;

use ::gltf::json;
use json::accessor::{Accessor, ComponentType, Type};
use json::validation::Checked;

/// A table of elements with up to four numbers.
pub(super) struct Elements<'a> {
    bytes: &'a [u8],
    stride: usize,
    component: ComponentType,
    normalized: bool,
    pub(super) width: usize,
    pub(super) count: usize,
    /// The elements that stand elsewhere.
    sparse: HashMap<usize, &'a [u8]>,
}

/// Buffers and views of a file.
pub(super) struct Data<'a> {
    pub(super) root: &'a json::Root,
    buffers: &'a [Option<Vec<u8>>],
    /// How many sparse elements may still be looked up, as many primitives may name one accessor.
    sparse_left: Cell<u64>,
}

/// What is wrong with an accessor, to follow its number.
type Reason = String;

impl<'a> Data<'a> {
    pub(super) fn new(root: &'a json::Root, buffers: &'a [Option<Vec<u8>>]) -> Self {
        Self {
            root,
            buffers,
            sparse_left: Cell::new(1 << 26),
        }
    }

    /// The bytes of a view and its stride.
    pub(super) fn view(&self, index: usize) -> Result<(&'a [u8], Option<usize>), Reason> {
        let view = self.root.buffer_views.get(index);
        let view = view.ok_or_else(|| format!("buffer view {index} does not exist"))?;
        let buffer = self.buffers.get(view.buffer.value());
        let Some(Some(buffer)) = buffer else {
            return Err(format!("buffer {} is missing", view.buffer.value()));
        };
        let start = view.byte_offset.map_or(0, |offset| offset.0);
        let bytes = slice(buffer, start, view.byte_length.0)
            .ok_or_else(|| format!("buffer view {index} leaves its buffer"))?;
        Ok((bytes, view.byte_stride.map(|stride| stride.0)))
    }

    pub(super) fn elements(&self, index: usize) -> Result<Elements<'a>, Reason> {
        let accessor = self.root.accessors.get(index);
        let accessor = accessor.ok_or_else(|| format!("accessor {index} does not exist"))?;
        self.open(accessor)
            .map_err(|reason| format!("accessor {index}: {reason}"))
    }

    fn open(&self, accessor: &Accessor) -> Result<Elements<'a>, Reason> {
        let (Checked::Valid(component), Checked::Valid(kind)) =
            (accessor.component_type, accessor.type_)
        else {
            return Err("its type is unknown".into());
        };
        let component = component.0;
        let width = match kind {
            Type::Scalar => 1,
            Type::Vec2 => 2,
            Type::Vec3 => 3,
            Type::Vec4 => 4,
            Type::Mat2 | Type::Mat3 | Type::Mat4 => return Err("matrices have no use here".into()),
        };
        let size = width * component.size();
        let count = usize::try_from(accessor.count.0).map_err(|_| "its count is absurd")?;
        let (mut bytes, mut stride): (&[u8], _) = (&[], size);
        if let Some(view) = accessor.buffer_view {
            let (view, own_stride) = self.view(view.value())?;
            stride = own_stride.filter(|stride| *stride > 0).unwrap_or(size);
            let start = accessor.byte_offset.map_or(0, |offset| offset.0);
            bytes = usize::try_from(start)
                .ok()
                .and_then(|start| view.get(start..))
                .ok_or("it begins outside of its view")?;
            let needed = count
                .checked_sub(1)
                .map_or(Some(0), |last| last.checked_mul(stride)?.checked_add(size));
            if needed.is_none_or(|needed| needed > bytes.len()) {
                return Err(format!(
                    "{count} elements do not fit into the {} bytes of its view",
                    bytes.len()
                ));
            }
        }
        Ok(Elements {
            bytes,
            stride,
            component,
            normalized: accessor.normalized,
            width,
            count,
            sparse: self.sparse(accessor, size)?,
        })
    }

    fn sparse(&self, accessor: &Accessor, size: usize) -> Result<HashMap<usize, &'a [u8]>, Reason> {
        let Some(sparse) = &accessor.sparse else {
            return Ok(HashMap::new());
        };
        let left = self.sparse_left.get().checked_sub(sparse.count.0);
        self.sparse_left
            .set(left.ok_or("there are too many sparse elements")?);
        let Checked::Valid(component) = sparse.indices.component_type else {
            return Err("its sparse indices have an unknown type".into());
        };
        let places = Data::part(
            self.view(sparse.indices.buffer_view.value())?.0,
            (sparse.indices.byte_offset.0, sparse.count.0),
            component.0.size(),
        )?;
        let values = Data::part(
            self.view(sparse.values.buffer_view.value())?.0,
            (sparse.values.byte_offset.0, sparse.count.0),
            size,
        )?;
        let place = |bytes: &[u8]| unsigned(component.0, bytes) as usize;
        Ok(places
            .chunks_exact(component.0.size())
            .map(place)
            .zip(values.chunks_exact(size))
            .collect())
    }

    fn part(bytes: &[u8], (start, count): (u64, u64), size: usize) -> Result<&[u8], Reason> {
        let length = count.checked_mul(size as u64);
        length
            .and_then(|length| slice(bytes, start, length))
            .ok_or_else(|| "its sparse elements leave their view".into())
    }
}

/// `length` bytes from `start`, if they are there.
fn slice(bytes: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    let end = usize::try_from(start.checked_add(length)?).ok()?;
    bytes.get(usize::try_from(start).ok()?..end)
}

fn unsigned(component: ComponentType, bytes: &[u8]) -> u32 {
    match (component, bytes) {
        (ComponentType::U8, [a, ..]) => u32::from(*a),
        (ComponentType::U16, [a, b, ..]) => u32::from(u16::from_le_bytes([*a, *b])),
        (ComponentType::U32, [a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

impl Elements<'_> {
    fn element(&self, index: usize) -> Option<&[u8]> {
        if index >= self.count {
            return None;
        }
        match self.sparse.get(&index) {
            Some(bytes) => Some(bytes),
            None if self.bytes.is_empty() => Some(&[0; 16]),
            None => self.bytes.get(index * self.stride..),
        }
    }

    /// An index; none if there is no such element.
    pub(super) fn index(&self, at: usize) -> Option<u32> {
        Some(unsigned(self.component, self.element(at)?))
    }

    /// The first `N` numbers of an element, those it lacks are `missing`.
    pub(super) fn numbers<const N: usize>(&self, at: usize, missing: f32) -> Option<[f32; N]> {
        let bytes = self.element(at)?;
        let size = self.component.size();
        Some(std::array::from_fn(|i| match i < self.width {
            true => bytes.get(i * size..).map_or(missing, |b| self.number(b)),
            false => missing,
        }))
    }

    fn number(&self, bytes: &[u8]) -> f32 {
        let (value, most) = match (self.component, bytes) {
            (ComponentType::F32, [a, b, c, d, ..]) => {
                return f32::from_le_bytes([*a, *b, *c, *d]);
            }
            (ComponentType::I8, [a, ..]) => (f32::from(*a as i8), 127.0),
            (ComponentType::I16, [a, b, ..]) => (f32::from(i16::from_le_bytes([*a, *b])), 32767.0),
            (ComponentType::U8, _) => (unsigned(self.component, bytes) as f32, 255.0),
            (ComponentType::U16, _) => (unsigned(self.component, bytes) as f32, 65535.0),
            (_, _) => (unsigned(self.component, bytes) as f32, u32::MAX as f32),
        };
        match self.normalized {
            true => (value / most).max(-1.0),
            false => value,
        }
    }
}
