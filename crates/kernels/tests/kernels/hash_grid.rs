//! The hash encoding against interpolation written out, and its derivatives.

use dreamsmith_kernels::field::{HashGrid, HashGridSpec};

use crate::setting::{assert_slope, dot, normals, on_threads, points, relative_error};

/// Dense levels and hashed ones.
const SPEC: HashGridSpec = HashGridSpec {
    levels: 5,
    log2_entries: 9,
    base_resolution: 3,
    finest_resolution: 41,
};
const SAMPLES: [usize; 4] = [0, 1, 7, 1000];
const ACTIVE: [usize; 3] = [0, 3, 9];

fn grid() -> HashGrid {
    HashGrid::new(&SPEC).unwrap()
}

/// Calls `f` with level, first value, weight, and the derivatives of the weight, of each vertex around
/// a point.
fn vertices(grid: &HashGrid, point: [f32; 3], mut f: impl FnMut(usize, usize, f64, [f64; 3])) {
    let most = 1_usize << SPEC.log2_entries;
    let mut first = 0;
    for (level, resolution) in grid.resolutions().enumerate() {
        let n = resolution as usize;
        let dense = (n + 1).pow(3) <= most;
        let entries = if dense {
            (n + 1).pow(3).next_multiple_of(8)
        } else {
            most
        };
        let at = point.map(|x| {
            let x = if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) };
            // Rounded as the kernel rounds, or a point may be in another cell.
            f64::from(x * n as f32)
        });
        let low = at.map(|x| (x as usize).min(n - 1));
        for corner in 0..8 {
            let side = [corner & 1, corner >> 1 & 1, corner >> 2 & 1];
            let vertex = [0, 1, 2].map(|a| low[a] + side[a]);
            let [x, y, z] = vertex;
            let entry = if dense {
                x + (n + 1) * (y + (n + 1) * z)
            } else {
                (x ^ (y * 2_654_435_761) ^ (z * 805_459_861)) & (most - 1)
            };
            let share = [0, 1, 2].map(|a| 1.0 - (at[a] - vertex[a] as f64).abs());
            let slope = [0, 1, 2].map(|a| {
                let sign = if side[a] == 1 { 1.0 } else { -1.0 };
                sign * n as f64 * share[(a + 1) % 3] * share[(a + 2) % 3]
            });
            f(level, first + 2 * entry, share.iter().product(), slope);
        }
        first += 2 * entries;
    }
    assert_eq!(first, grid.n_values());
}

fn odd_points(n: usize) -> Vec<[f32; 3]> {
    let mut points = points(1, n);
    let odd = [[0.0, 1.0, 0.5], [-1.0, 2.0, f32::NAN], [1.0; 3]];
    for (point, odd) in points.iter_mut().skip(3).zip(odd) {
        *point = odd;
    }
    points
}

#[test]
fn features_are_interpolated() {
    let grid = grid();
    let values = normals(1, grid.n_values());
    for n in SAMPLES {
        for active in ACTIVE {
            let points = odd_points(n);
            let mut want = vec![0.0; n * 10];
            for (i, point) in points.iter().enumerate() {
                vertices(&grid, *point, |level, value, weight, _| {
                    for f in (0..2).filter(|_| level < active) {
                        want[10 * i + 2 * level + f] += weight * f64::from(values[value + f]);
                    }
                });
            }
            let want: Vec<f32> = want.iter().map(|x| *x as f32).collect();
            let mut got = vec![f32::NAN; n * 10];
            grid.encode(&values, &points, active, &mut got);
            assert!(
                relative_error(&got, &want) < 1e-6,
                "{n} samples, {active} levels"
            );
        }
    }
}

#[test]
fn at_a_vertex_stands_its_value() {
    let grid = grid();
    let values = normals(1, grid.n_values());
    let mut features = [0.0; 10];
    // Vertex (1, 2, 3) of the coarsest level, which has 3 cells along an edge; 2 / 3 is not exact.
    grid.encode(&values, &[[1.0 / 3.0, 2.0 / 3.0, 1.0]], 1, &mut features);
    let entry = 1 + 4 * (2 + 4 * 3);
    for f in 0..2 {
        assert!((features[f] - values[2 * entry + f]).abs() < 1e-5);
    }
}

#[test]
fn derivatives_by_values_are_added() {
    let grid = grid();
    let start = normals(1, grid.n_values());
    for n in SAMPLES {
        for active in ACTIVE {
            let (points, grad) = (odd_points(n), normals(2, n * 10));
            let mut want: Vec<f64> = start.iter().map(|x| f64::from(*x)).collect();
            for (i, point) in points.iter().enumerate() {
                vertices(&grid, *point, |level, value, weight, _| {
                    for f in (0..2).filter(|_| level < active) {
                        want[value + f] += weight * f64::from(grad[10 * i + 2 * level + f]);
                    }
                });
            }
            let want: Vec<f32> = want.iter().map(|x| *x as f32).collect();
            let mut got = start.clone();
            grid.backward(&points, &grad, active, &mut got);
            assert!(
                relative_error(&got, &want) < 1e-6,
                "{n} samples, {active} levels"
            );
        }
    }
}

#[test]
fn derivatives_by_points() {
    let grid = grid();
    let values = normals(1, grid.n_values());
    for n in SAMPLES {
        for active in ACTIVE {
            let (points, grad) = (odd_points(n), normals(2, n * 10));
            let mut want = vec![0.0; n * 3];
            for (i, point) in points.iter().enumerate() {
                vertices(&grid, *point, |level, value, _, slope| {
                    for f in (0..2).filter(|_| level < active) {
                        let g = f64::from(values[value + f] * grad[10 * i + 2 * level + f]);
                        for axis in 0..3 {
                            want[3 * i + axis] += g * slope[axis];
                        }
                    }
                });
            }
            let want: Vec<f32> = want.iter().map(|x| *x as f32).collect();
            let mut got = vec![[f32::NAN; 3]; n];
            grid.point_gradient(&values, &points, &grad, active, &mut got);
            let error = relative_error(got.as_flattened(), &want);
            assert!(error < 1e-5, "{n} samples, {active} levels: {error}");
        }
    }
}

#[test]
fn derivatives_are_slopes() {
    let grid = grid();
    let mut points = points(1, 4000);
    // Away from the faces of all cells, where features bend.
    points.retain(|point| {
        grid.resolutions().all(|n| {
            let inside = |x: &f32| (0.15..0.85).contains(&(x * n as f32).fract());
            point.iter().all(inside)
        })
    });
    assert!(points.len() > 10);
    let values = normals(1, grid.n_values());
    let grad = normals(2, points.len() * 10);
    let loss = |values: &[f32], points: &[[f32; 3]]| {
        let mut features = vec![0.0; grad.len()];
        grid.encode(values, points, 5, &mut features);
        dot(&features, &grad)
    };
    let mut by_values = vec![0.0; values.len()];
    grid.backward(&points, &grad, 5, &mut by_values);
    assert_slope(
        "values",
        &|values| loss(values, &points),
        &values,
        &by_values,
    );
    let mut by_points = vec![[0.0; 3]; points.len()];
    grid.point_gradient(&values, &points, &grad, 5, &mut by_points);
    let of_points = |points: &[f32]| loss(&values, points.as_chunks().0);
    assert_slope(
        "points",
        &of_points,
        points.as_flattened(),
        by_points.as_flattened(),
    );
}

#[test]
fn threads_change_no_bit() {
    let grid = grid();
    let run = || {
        let (points, values) = (points(3, 9000), normals(1, grid.n_values()));
        let mut features = vec![0.0; 90_000];
        grid.encode(&values, &points, 5, &mut features);
        let mut by_values = vec![0.0; values.len()];
        grid.backward(&points, &features, 5, &mut by_values);
        let mut by_points = vec![[0.0; 3]; points.len()];
        grid.point_gradient(&values, &points, &features, 5, &mut by_points);
        (features, by_values, by_points)
    };
    assert!(on_threads(1, run) == on_threads(2, run));
}

#[test]
fn sizes_out_of_range_are_named() {
    for (spec, words) in [
        (
            HashGridSpec { levels: 0, ..SPEC },
            "`levels` is 0; expected 1 to 32",
        ),
        (
            HashGridSpec {
                log2_entries: 40,
                ..SPEC
            },
            "`log2_entries` is 40",
        ),
        (
            HashGridSpec {
                base_resolution: 42,
                ..SPEC
            },
            "`base_resolution` is 42",
        ),
        (
            HashGridSpec {
                finest_resolution: 1 << 20,
                ..SPEC
            },
            "`finest_resolution` is 1048576",
        ),
    ] {
        let error = HashGrid::new(&spec).unwrap_err().to_string();
        assert!(error.starts_with(words), "{error}");
    }
    let finest = HashGridSpec {
        levels: 32,
        log2_entries: 22,
        finest_resolution: 1 << 16,
        ..SPEC
    };
    let resolutions: Vec<u32> = HashGrid::new(&finest).unwrap().resolutions().collect();
    assert_eq!((resolutions[0], resolutions[31]), (3, 1 << 16));
}
