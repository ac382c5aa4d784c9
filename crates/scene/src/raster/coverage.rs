//! Which samples of a pixel a triangle covers: edge functions in fixed point [Pineda88], exact, with
//! the top-left rule, so that triangles which share an edge leave no gap and no sample is drawn twice.
//! Leaves out depth and everything seen on the surface.

/// Steps of the fixed-point grid in a pixel.
pub(super) const SUBPIXELS: i32 = 256;
/// Triangles on the screen are no wider or higher than this many pixels: then no step below overflows.
pub(super) const MAX_EXTENT: i32 = 1 << 14;
/// Beyond any offset of a sample, and far enough from the ends of an `i32` to add one.
const FAR: i64 = 1 << 30;

/// Where the samples of a pixel lie, from its middle, in fixed point.
pub(super) struct Pattern<const N: usize> {
    pub(super) x: [i32; N],
    pub(super) y: [i32; N],
}

/// One sample in the middle.
pub(super) const MIDDLE: Pattern<1> = Pattern { x: [0], y: [0] };

/// Sixteen samples, one in each column and row of a 16x16 grid and in each cell of a 4x4 one: the
/// points (i, bits of i reversed) of [Hammersley60].
pub(super) const NET: Pattern<16> = {
    let (mut x, mut y) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 16 {
        let reversed = (i as u8).reverse_bits() >> 4;
        x[i] = 16 * i as i32 + 8 - SUBPIXELS / 2;
        y[i] = 16 * reversed as i32 + 8 - SUBPIXELS / 2;
        i += 1;
    }
    Pattern { x, y }
};

/// The three edges of a triangle whose corners go clockwise on the screen, where y points down.
pub(super) struct Edges<const N: usize> {
    corners: [[i32; 2]; 3],
    /// By how much each edge function grows with x and y.
    slope: [[i64; 2]; 3],
    /// -1 where samples on the edge itself belong to the neighbour.
    bias: [i64; 3],
    /// Edge functions of the samples less those of the pixel's middle.
    offset: [[i32; N]; 3],
    /// The largest of these.
    reach: [i64; 3],
}

impl<const N: usize> Edges<N> {
    pub(super) fn new(corners: [[i32; 2]; 3], pattern: &Pattern<N>) -> Self {
        let mut edges = Self {
            corners,
            slope: [[0; 2]; 3],
            bias: [0; 3],
            offset: [[0; N]; 3],
            reach: [0; 3],
        };
        for i in 0..3 {
            // Edge i lies opposite corner i.
            let [ax, ay] = corners[(i + 1) % 3];
            let [bx, by] = corners[(i + 2) % 3];
            let (dx, dy) = (bx - ax, by - ay);
            let is_top_left = dy < 0 || (dy == 0 && dx > 0);
            edges.slope[i] = [-i64::from(dy), i64::from(dx)];
            edges.bias[i] = if is_top_left { 0 } else { -1 };
            let mut reach = i32::MIN;
            for s in 0..N {
                let offset = dx * pattern.y[s] - dy * pattern.x[s];
                edges.offset[i][s] = offset;
                reach = reach.max(offset);
            }
            edges.reach[i] = i64::from(reach);
        }
        edges
    }

    /// The edge functions in the middle of a pixel: positive inside.
    pub(super) fn at(&self, x: i32, y: i32) -> [i64; 3] {
        let [px, py] = [x, y].map(|v| i64::from(v * SUBPIXELS + SUBPIXELS / 2));
        std::array::from_fn(|i| {
            let [ax, ay] = self.corners[(i + 1) % 3].map(i64::from);
            let [sx, sy] = self.slope[i];
            sx * (px - ax) + sy * (py - ay) + self.bias[i]
        })
    }

    /// The edge functions one pixel to the right.
    pub(super) fn right(&self, at: [i64; 3]) -> [i64; 3] {
        std::array::from_fn(|i| at[i] + self.slope[i][0] * i64::from(SUBPIXELS))
    }

    /// False only if no sample of the pixel is covered.
    pub(super) fn may_cover(&self, at: [i64; 3]) -> bool {
        (0..3).all(|i| at[i] + self.reach[i] >= 0)
    }

    /// For each sample of the pixel, a number that is negative where the triangle does not cover it.
    pub(super) fn inside(&self, at: [i64; 3]) -> [i32; N] {
        let [e0, e1, e2] = at.map(|e| e.clamp(-FAR - 1, FAR) as i32);
        let [o0, o1, o2] = &self.offset;
        std::array::from_fn(|s| (e0 + o0[s]) | (e1 + o1[s]) | (e2 + o2[s]))
    }
}

/// Twice the area in fixed point, positive if the corners go clockwise on the screen.
pub(super) fn doubled_area([a, b, c]: [[i32; 2]; 3]) -> i64 {
    let side = |p: [i32; 2]| [p[0] - a[0], p[1] - a[1]].map(i64::from);
    let ([bx, by], [cx, cy]) = (side(b), side(c));
    bx * cy - by * cx
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many samples of each pixel of a `side`^2 picture a triangle covers.
    fn count<const N: usize>(
        mut corners: [[i32; 2]; 3],
        side: i32,
        pattern: &Pattern<N>,
        counts: &mut [u32],
    ) {
        match doubled_area(corners) {
            0 => return,
            area if area < 0 => corners.swap(1, 2),
            _ => {}
        }
        let edges = Edges::new(corners, pattern);
        for y in 0..side {
            let mut at = edges.at(0, y);
            for x in 0..side {
                let n = edges.inside(at).iter().filter(|e| **e >= 0).count();
                assert!(n == 0 || edges.may_cover(at));
                counts[(y * side + x) as usize] += n as u32;
                at = edges.right(at);
            }
        }
    }

    #[test]
    fn the_net_holds_one_sample_in_each_row_column_and_cell() {
        let cell = |v: i32| (v + SUBPIXELS / 2) / 16;
        for coordinate in [NET.x, NET.y] {
            let mut seen: Vec<i32> = coordinate.iter().map(|v| cell(*v)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..16).collect::<Vec<_>>());
        }
        let cells: std::collections::BTreeSet<_> = (0..16)
            .map(|i| (cell(NET.x[i]) / 4, cell(NET.y[i]) / 4))
            .collect();
        assert_eq!(cells.len(), 16);
    }

    #[test]
    fn a_fan_of_triangles_covers_each_sample_once() {
        // Around a point that is itself a sample, out to the corners and points of a square's border.
        let middle = [8 * 256 + 128 + NET.x[3], 8 * 256 + 128 + NET.y[3]];
        let border: Vec<[i32; 2]> = [[0, 0], [1111, 0], [4096, 0], [4096, 2048], [4096, 4096]]
            .into_iter()
            .chain([[777, 4096], [0, 4096], [0, 2184]])
            .collect();
        let mut counts = vec![0; 256];
        for (i, from) in border.iter().enumerate() {
            let to = border[(i + 1) % border.len()];
            count([middle, *from, to], 16, &NET, &mut counts);
        }
        assert!(counts.iter().all(|n| *n == 16), "{counts:?}");
    }

    #[test]
    fn a_shift_by_a_sixteenth_of_a_pixel_keeps_the_coverage() {
        let total = |dx: i32, dy: i32| {
            let place = |x: i32, y: i32| [1024 + x + dx, 1024 + y + dy];
            let (a, b) = (place(0, 0), place(900, 0));
            let (c, d) = (place(900, 700), place(0, 700));
            let mut counts = vec![0; 256];
            count([a, b, c], 16, &NET, &mut counts);
            count([a, c, d], 16, &NET, &mut counts);
            counts.iter().sum::<u32>()
        };
        let expected = 900.0 * 700.0 / 256.0f64.powi(2) * 16.0;
        // Along the border of 12.5 pixels, at most about one sample in sixteen is doubtful per pixel.
        assert!((f64::from(total(0, 0)) - expected).abs() < 12.5);
        for step in 1..16 {
            // The net shifted by whole cells in x is the net with other rows: the square's straight
            // edges count columns and rows alone, except where they cross.
            assert!(total(16 * step, 0).abs_diff(total(0, 0)) <= 4);
            assert!(total(0, 16 * step).abs_diff(total(0, 0)) <= 4);
        }
        assert_eq!(total(256, 512), total(0, 0));
    }

    #[test]
    fn the_largest_triangles_do_not_overflow() {
        let far = MAX_EXTENT / 2 * SUBPIXELS;
        let (low, high) = (-far + 2048, far + 2048);
        let mut counts = vec![0; 256];
        count(
            [[low, low], [high, low], [high, high]],
            16,
            &NET,
            &mut counts,
        );
        count(
            [[low, low], [high, high], [low, high]],
            16,
            &NET,
            &mut counts,
        );
        assert!(counts.iter().all(|n| *n == 16));
    }
}
