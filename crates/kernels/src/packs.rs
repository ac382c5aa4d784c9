//! The packed forms of a layer's weight, kept as long as the weight is the same.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn::tensor::Bytes;
use burn_flex::FlexTensor;

use crate::isa::{Isa, Precision};

/// How a layer multiplies, and its weight as packed for that. Copies of a layer share their packs.
#[derive(Clone, Debug, Default)]
pub struct Packs {
    precision: Precision,
    kept: Arc<Mutex<Kept>>,
}

/// Packs of one weight. They are known by the memory that the weight lies in: while a weak reference
/// to it is held, nothing writes to it and nothing else takes its place.
#[derive(Debug, Default)]
struct Kept {
    weight: Weak<Bytes>,
    forms: HashMap<Form, Arc<dyn Any + Send + Sync>>,
}

/// What a weight is packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Forward,
    /// The derivative by the input.
    Backward,
    /// Both again, for convolutions in tiles.
    ForwardTiles,
    BackwardTiles,
}

impl Packs {
    /// For a layer that multiplies in `precision`.
    pub fn new(precision: Precision) -> Self {
        Self {
            precision,
            kept: Arc::default(),
        }
    }

    /// The precision that the layer multiplies in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn isa(&self) -> Isa {
        Isa::of(self.precision)
    }

    /// `form` of `weight`, packed by `pack` unless it was before.
    pub(crate) fn get<T: Any + Send + Sync>(
        &self,
        weight: &FlexTensor,
        form: Form,
        pack: impl FnOnce() -> T,
    ) -> Arc<T> {
        let memory = weight.data_arc();
        let known = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::ptr::eq(kept.weight.as_ptr(), Arc::as_ptr(&memory)) {
                kept.weight = Arc::downgrade(&memory);
                kept.forms.clear();
            }
            kept.forms.get(&form).cloned()
        };
        if let Some(Ok(pack)) = known.map(|known| known.downcast::<T>()) {
            return pack;
        }
        // Not under the lock: packing may share its work with threads that wait for it.
        let pack = Arc::new(pack());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if std::ptr::eq(kept.weight.as_ptr(), Arc::as_ptr(&memory)) {
            kept.forms.insert(form, pack.clone());
        }
        pack
    }
}
