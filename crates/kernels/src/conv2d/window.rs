//! The geometry of a convolution, and of the smaller ones that its transpose falls into.
//! [Dumoulin16]

/// A window that slides over an image: output pixel o sees input pixels o stride + t - before, for
/// each tap t of the kernel; there is zero outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// Height and width; so for all pairs here.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) before: [isize; 2],
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
}

/// One phase of a transposed window: the pixels `offset + stride u` of the input get what `window`
/// gathers at u from the output, the taps being `first_tap + stride (kernel - 1 - t)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub(crate) window: Window,
    pub(crate) offset: [usize; 2],
    pub(crate) first_tap: [usize; 2],
}

impl Window {
    /// Pixels of an output image.
    pub(crate) fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    pub(crate) fn n_taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The windows over the output that together are the transpose of this one. [Dumoulin16] ch. 4
    pub(crate) fn transposed(&self) -> Vec<Phase> {
        let mut phases = Vec::new();
        for y in 0..self.stride {
            for x in 0..self.stride {
                let axes = [self.phase(0, y), self.phase(1, x)];
                phases.push(Phase {
                    window: Window {
                        kernel: axes.map(|axis| axis.kernel),
                        stride: 1,
                        before: axes.map(|axis| axis.before),
                        input: self.output,
                        output: axes.map(|axis| axis.output),
                    },
                    offset: [y, x],
                    first_tap: axes.map(|axis| axis.first_tap),
                });
            }
        }
        phases
    }

    fn phase(&self, axis: usize, offset: usize) -> AxisPhase {
        let stride = self.stride as isize;
        let shifted = offset as isize + self.before[axis];
        let first_tap = shifted.rem_euclid(stride);
        let kernel = (self.kernel[axis] as isize - first_tap + stride - 1).div_euclid(stride);
        let kernel = kernel.max(0);
        AxisPhase {
            kernel: kernel as usize,
            before: kernel - 1 - (shifted - first_tap) / stride,
            first_tap: first_tap as usize,
            output: self.input[axis]
                .saturating_sub(offset)
                .div_ceil(self.stride),
        }
    }
}

#[derive(Clone, Copy)]
struct AxisPhase {
    kernel: usize,
    before: isize,
    first_tap: usize,
    output: usize,
}
