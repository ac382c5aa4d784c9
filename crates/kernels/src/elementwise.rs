//! Functions of values one by one, and sums of them in a fixed order: what norms and activations are
//! made of.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::isa::{Isa, Job, Precision};
use crate::lanes::{F32s, LANES, Lanes};
use crate::parallel;
use crate::scratch::Shared;

/// Values in one job, roughly: enough to be worth a thread's while, few enough to stay in its cache.
const JOB: usize = 1 << 15;
/// Values added up in f32 before they are added to a sum in f64.
const BLOCK: usize = 1 << 12;
/// Vectors of sums side by side, as an addition takes a few cycles.
const SIDES: usize = 4;

/// `M` functions of `N` values, for sixteen of each at once.
pub(crate) trait Function<const N: usize, const M: usize>: Copy + Send + Sync {
    fn at<L: Lanes>(self, x: [F32s; N]) -> [F32s; M];
}

/// Memory of a result, written before anyone reads it.
pub(crate) type Room = [MaybeUninit<f32>];

/// Where a value is put, whatever was there.
pub(crate) trait Place {
    fn put(&mut self, value: f32);
}

impl Place for f32 {
    #[inline(always)]
    fn put(&mut self, value: f32) {
        *self = value;
    }
}

impl Place for MaybeUninit<f32> {
    #[inline(always)]
    fn put(&mut self, value: f32) {
        self.write(value);
    }
}

/// Rows of `len` values in one job.
pub(crate) fn rows_per_job(len: usize) -> usize {
    JOB.div_ceil(len.max(1))
}

/// `K` results of which `work(job, rooms)` writes a part each: that of result k is `sizes[k]` values
/// long, or what is left of its `lens[k]`.
///
/// # Safety
/// `work` writes all values of its rooms, and the parts of all jobs are the whole results.
pub(crate) unsafe fn build<const K: usize>(
    jobs: usize,
    lens: [usize; K],
    sizes: [usize; K],
    work: impl Fn(usize, [&mut Room; K]) + Send + Sync,
) -> [Vec<f32>; K] {
    let mut results = lens.map(Vec::<f32>::with_capacity);
    let places = results.each_mut().map(|result| Shared(result.as_mut_ptr()));
    parallel::for_each(jobs, |job| {
        let rooms = std::array::from_fn(|k| {
            let start = lens[k].min(job * sizes[k]);
            let len = sizes[k].min(lens[k] - start);
            // SAFETY: within the capacity, and no other job's part.
            unsafe { std::slice::from_raw_parts_mut(places[k].at(start).cast(), len) }
        });
        work(job, rooms);
    });
    for (result, len) in results.iter_mut().zip(lens) {
        // SAFETY: the jobs have written the values, as the caller promises.
        unsafe { result.set_len(len) };
    }
    results
}

/// `f` of all values of `x`, which have the length of `to`.
#[inline(always)]
pub(crate) fn apply<L: Lanes, const N: usize, const M: usize>(
    f: impl Function<N, M>,
    x: [&[f32]; N],
    to: [&mut [impl Place]; M],
) {
    let len = to[0].len();
    let x = vectors(x, 0..len);
    let mut to = to.map(|to| to[..len].as_chunks_mut::<LANES>());
    for i in 0..len / LANES {
        let y = f.at::<L>(load::<L, N>(&x, i));
        for ((to, _), y) in to.iter_mut().zip(&y) {
            for (to, y) in to[i].iter_mut().zip(y) {
                to.put(*y);
            }
        }
    }
    if !len.is_multiple_of(LANES) {
        let y = f.at::<L>(load_rest(&x, [0.0; N]));
        for ((_, to), y) in to.iter_mut().zip(&y) {
            store_part(y, to);
        }
    }
}

/// The sums of `f` of all values of `x`, all of one length. `f` of the values `pad` is 0.
#[inline(always)]
pub(crate) fn sums<L: Lanes, const N: usize, const M: usize>(
    f: impl Function<N, M>,
    x: [&[f32]; N],
    pad: [f32; N],
) -> [f64; M] {
    let len = x[0].len();
    let mut totals = [0.0; M];
    for start in (0..len).step_by(BLOCK) {
        let end = len.min(start + BLOCK);
        let x = vectors(x, start..end);
        let n = (end - start) / LANES;
        let mut sums = [[[0.0; LANES]; M]; SIDES];
        for i in (0..n / SIDES * SIDES).step_by(SIDES) {
            for (side, sums) in sums.iter_mut().enumerate() {
                add(sums, &f.at::<L>(load::<L, N>(&x, i + side)));
            }
        }
        for i in n / SIDES * SIDES..n {
            add(&mut sums[0], &f.at::<L>(load::<L, N>(&x, i)));
        }
        if !(end - start).is_multiple_of(LANES) {
            add(&mut sums[1], &f.at::<L>(load_rest(&x, pad)));
        }
        let [mut first, second, mut third, fourth] = sums;
        add(&mut first, &second);
        add(&mut third, &fourth);
        add(&mut first, &third);
        for (total, sums) in totals.iter_mut().zip(&first) {
            *total += f64::from(sum(sums));
        }
    }
    totals
}

/// The greatest value that is a number.
#[inline(always)]
pub(crate) fn greatest<L: Lanes>(x: &[f32]) -> f32 {
    let x = vectors([x], 0..x.len());
    let [(all, rest)] = x;
    let mut tops = [f32::NEG_INFINITY; LANES];
    for i in 0..all.len() {
        raise(&mut tops, &load::<L, 1>(&x, i)[0]);
    }
    if !rest.is_empty() {
        raise(&mut tops, &padded(rest, f32::NEG_INFINITY));
    }
    let mut top = [f32::NEG_INFINITY; 4];
    for tops in tops.as_chunks().0 {
        raise(&mut top, tops);
    }
    top.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
fn raise<const N: usize>(tops: &mut [f32; N], x: &[f32; N]) {
    for (top, x) in tops.iter_mut().zip(x) {
        *top = if *x > *top { *x } else { *top };
    }
}

#[inline(always)]
fn add<const M: usize>(sums: &mut [F32s; M], more: &[F32s; M]) {
    for (sums, more) in sums.iter_mut().zip(more) {
        for (sum, more) in sums.iter_mut().zip(more) {
            *sum += more;
        }
    }
}

/// Sixteen values at a time, and the rest.
type Vectors<'a> = (&'a [F32s], &'a [f32]);

/// The values of each of `x` in a range.
#[inline(always)]
fn vectors<'a, const N: usize>(x: [&'a [f32]; N], range: Range<usize>) -> [Vectors<'a>; N] {
    let mut parts: [Vectors<'a>; N] = [(&[], &[]); N];
    for (part, x) in parts.iter_mut().zip(&x) {
        *part = x[range.clone()].as_chunks();
    }
    parts
}

/// Vector i of each of `x`, by way of registers, or else the compiler takes loops over vectors for
/// loops over values sixteen apart, and gathers those.
#[inline(always)]
fn load<L: Lanes, const N: usize>(x: &[Vectors<'_>; N], i: usize) -> [F32s; N] {
    let mut values = [[0.0; LANES]; N];
    for (values, (vectors, _)) in values.iter_mut().zip(x) {
        // SAFETY: jobs only run for a set that the processor has; both places hold sixteen values.
        unsafe { L::store_sum(L::load_sum(vectors[i].as_ptr()), values.as_mut_ptr()) };
    }
    values
}

/// What is left of each of `x`, filled up with `pad`.
#[inline(always)]
fn load_rest<const N: usize>(x: &[Vectors<'_>; N], pad: [f32; N]) -> [F32s; N] {
    let mut values = [[0.0; LANES]; N];
    for ((values, (_, rest)), pad) in values.iter_mut().zip(x).zip(pad) {
        *values = padded(rest, pad);
    }
    values
}

/// The sum of sixteen values.
#[inline(always)]
fn sum(values: &F32s) -> f32 {
    let eight = halved::<16, 8>(values);
    let four = halved::<8, 4>(&eight);
    let [a, b] = halved::<4, 2>(&four);
    a + b
}

/// The first half plus the second.
#[inline(always)]
fn halved<const N: usize, const HALF: usize>(values: &[f32; N]) -> [f32; HALF] {
    let mut sums = [0.0; HALF];
    for i in 0..HALF {
        sums[i] = values[i] + values[HALF + i];
    }
    sums
}

/// The first values are those of `rest`, the others `pad`.
#[cold]
#[inline(never)]
fn padded(rest: &[f32], pad: f32) -> F32s {
    let mut values = [pad; LANES];
    values[..rest.len()].copy_from_slice(rest);
    values
}

/// Stores as many values as `to` has room for.
#[cold]
#[inline(never)]
fn store_part(values: &F32s, to: &mut [impl Place]) {
    for (to, value) in to.iter_mut().zip(values) {
        to.put(*value);
    }
}

/// x
#[derive(Clone, Copy)]
pub(crate) struct Value;

impl Function<1, 1> for Value {
    #[inline(always)]
    fn at<L: Lanes>(self, x: [F32s; 1]) -> [F32s; 1] {
        x
    }
}

/// (x - centre)^2
#[derive(Clone, Copy)]
pub(crate) struct Square(pub(crate) f32);

impl Function<1, 1> for Square {
    #[inline(always)]
    fn at<L: Lanes>(self, [mut x]: [F32s; 1]) -> [F32s; 1] {
        for x in &mut x {
            *x = (*x - self.0) * (*x - self.0);
        }
        [x]
    }
}

/// x factor
#[derive(Clone, Copy)]
pub(crate) struct Scale(pub(crate) f32);

impl Function<1, 1> for Scale {
    #[inline(always)]
    fn at<L: Lanes>(self, [x]: [F32s; 1]) -> [F32s; 1] {
        [times(x, [self.0; LANES])]
    }
}

/// The products of values.
#[inline(always)]
pub(crate) fn times(mut a: F32s, b: F32s) -> F32s {
    for (a, b) in a.iter_mut().zip(b) {
        *a *= b;
    }
    a
}

/// `f` of whole tensors.
pub(crate) fn map<F: Function<N, 1>, const N: usize>(f: F, x: [&[f32]; N]) -> Vec<f32> {
    let len = x[0].len();
    let isa = Isa::of(Precision::F32);
    // SAFETY: `Map` writes all of its room.
    let [y] = unsafe {
        build(len.div_ceil(JOB), [len], [JOB], |job, [to]| {
            let x = x.map(|x| &x[job * JOB..][..to.len()]);
            isa.run(Map { f, x, to });
        })
    };
    y
}

struct Map<'a, F, const N: usize> {
    f: F,
    x: [&'a [f32]; N],
    to: &'a mut Room,
}

impl<F: Function<N, 1>, const N: usize> Job for Map<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        apply::<L, N, 1>(self.f, self.x, [self.to]);
    }
}
