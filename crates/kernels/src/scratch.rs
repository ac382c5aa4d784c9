//! Memory that a thread keeps for packs, so that the steady state of a loop allocates nothing.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
}

/// Items of a cache line.
const LINE: usize = 16;

/// Calls `work` with `len` items, which hold anything. Calls may be nested.
pub(crate) fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [u32]) -> T) -> T {
    let mut items = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if items.len() < len + LINE {
        items.resize(len + LINE, 0);
    }
    // From the beginning of a cache line on, so that vectors do not lie across two.
    let first = items.as_ptr().align_offset(4 * LINE).min(LINE);
    let result = work(&mut items[first..first + len]);
    FREE.with_borrow_mut(|free| free.push(items));
    result
}

/// A place that several threads write different parts of.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub(crate) *mut f32);

// SAFETY: whoever dereferences it answers for the parts being different.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn of(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The address of value `offset`.
    #[inline(always)]
    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// `len` values, all of which `fill` writes.
///
/// # Safety
/// `fill` writes every value and reads none before.
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(Shared)) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(Shared(values.as_mut_ptr()));
    // SAFETY: there is room for `len`, and the caller says that they are written.
    unsafe { values.set_len(len) };
    values
}

/// `len` items, as [`filled`].
///
/// # Safety
/// `fill` writes every item and reads none before.
pub(crate) unsafe fn filled_items(len: usize, fill: impl FnOnce(SharedItems)) -> Vec<u32> {
    let mut items = Vec::with_capacity(len);
    fill(SharedItems(items.as_mut_ptr(), len));
    // SAFETY: as there.
    unsafe { items.set_len(len) };
    items
}

/// Items of which each job writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedItems(*mut u32, usize);

// SAFETY: `part` is asked for different parts only.
unsafe impl Send for SharedItems {}
// SAFETY: as above.
unsafe impl Sync for SharedItems {}

impl SharedItems {
    pub(crate) fn of(items: &mut [u32]) -> Self {
        Self(items.as_mut_ptr(), items.len())
    }

    #[expect(clippy::mut_from_ref, reason = "the parts are different ones")]
    pub(crate) fn part(&self, start: usize, len: usize) -> &mut [u32] {
        assert!(start + len <= self.1);
        // SAFETY: within the items, and no two jobs ask for the same part.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}
