//! All layers of a panel of samples, one panel after the other.

use crate::isa::Job;
use crate::lanes::Lanes;
use crate::pack::Matrix;

use super::panel::{Relu, SIDE, Stage, pack_panel, put_samples};
use crate::lanes::LANES;

/// The results of some samples.
pub(super) struct Forward<'a> {
    pub(super) stages: &'a [Stage<'a>],
    pub(super) biases: &'a [&'a [f32]],
    /// `[n, inputs]`
    pub(super) x: Matrix<'a>,
    /// `[steps][SIDE]` of the widest layer, for what goes into a layer and for what comes out.
    pub(super) items: [&'a mut [u32]; 2],
    /// `[rows][SIDE]` of the widest layer.
    pub(super) values: &'a mut [f32],
    /// `[n, outputs]`
    pub(super) to: &'a mut [f32],
}

impl Job for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self {
            items: [mut items, mut next],
            values,
            ..
        } = self;
        let [n, _] = self.x.size;
        let (Some(last), true) = (self.stages.last(), n > 0) else {
            return;
        };
        let outputs = self.to.len() / n;
        for first in (0..n).step_by(SIDE) {
            let x = self.x.rows(first, SIDE);
            let [n, _] = x.size;
            let vectors = n.div_ceil(LANES);
            pack_panel::<L>(x, items);
            let hidden = self.stages.iter().zip(self.biases);
            for (stage, bias) in hidden.take(self.stages.len() - 1) {
                stage.layer::<L>(items, vectors, Relu { bias }, next);
                std::mem::swap(&mut items, &mut next);
            }
            last.values::<L>(items, vectors, values);
            let to = &mut self.to[first * outputs..][..n * outputs];
            put_samples::<L>(values, outputs, self.biases[self.stages.len() - 1], to);
        }
    }
}
