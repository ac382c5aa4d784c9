//! Waves and spherical harmonics against their definitions.

use std::f64::consts::PI;

use dreamsmith_kernels::field::{N_HARMONICS, Positional, PositionalSpec, spherical_harmonics};

use crate::setting::{assert_slope, dot, normals, on_threads};

fn points(n: usize) -> Vec<[f32; 3]> {
    normals(1, 3 * n).as_chunks().0.to_vec()
}

#[test]
fn waves_are_sines_and_cosines() {
    for (frequencies, n) in [(1, 0), (10, 1), (16, 7), (4, 1000)] {
        let encoding = Positional::new(&PositionalSpec { frequencies }).unwrap();
        let mut points = points(n);
        if let Some(last) = points.last_mut() {
            *last = [0.5, -1.0, 0.25];
        }
        let mut features = vec![f32::NAN; n * encoding.n_features()];
        encoding.encode(&points, &mut features);
        for (point, features) in points.iter().zip(features.chunks(6 * frequencies)) {
            for k in 0..frequencies {
                for axis in 0..3 {
                    let x = f64::from(point[axis]) * PI * f64::from(1 << k);
                    let [sin, cos] = [0, 3].map(|f| f64::from(features[6 * k + f + axis]));
                    // Two units in the last place of 1.
                    assert!((sin - x.sin()).abs() < 2.4e-7, "sin {x}: {sin}");
                    assert!((cos - x.cos()).abs() < 2.4e-7, "cos {x}: {cos}");
                }
            }
        }
    }
    assert!(Positional::new(&PositionalSpec { frequencies: 17 }).is_err());
}

#[test]
fn waves_of_no_number_are_none() {
    let encoding = Positional::new(&PositionalSpec { frequencies: 2 }).unwrap();
    let mut features = [0.0; 12];
    encoding.encode(
        &[[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]],
        &mut features,
    );
    assert!(features.iter().all(|f| f.is_nan()));
}

#[test]
fn derivatives_are_slopes() {
    for (frequencies, n) in [(1, 1), (4, 7), (4, 1000)] {
        let encoding = Positional::new(&PositionalSpec { frequencies }).unwrap();
        let points = points(n);
        let grad = normals(2, n * encoding.n_features());
        let loss = |points: &[f32]| {
            let mut features = vec![0.0; grad.len()];
            encoding.encode(points.as_chunks().0, &mut features);
            dot(&features, &grad)
        };
        let mut by_points = vec![[f32::NAN; 3]; n];
        encoding.backward(&points, &grad, &mut by_points);
        assert_slope(
            "points",
            &loss,
            points.as_flattened(),
            by_points.as_flattened(),
        );
    }
}

#[test]
fn threads_change_no_bit() {
    let encoding = Positional::new(&PositionalSpec { frequencies: 5 }).unwrap();
    let points = points(9000);
    let run = || {
        let mut features = vec![0.0; 9000 * 30];
        encoding.encode(&points, &mut features);
        let mut by_points = vec![[0.0; 3]; 9000];
        encoding.backward(&points, &features, &mut by_points);
        let mut harmonics = vec![0.0; 9000 * N_HARMONICS];
        spherical_harmonics(&points, &mut harmonics);
        (features, by_points, harmonics)
    };
    assert!(on_threads(1, run) == on_threads(2, run));
}

#[test]
fn harmonics_are_orthonormal() {
    // As many points on each of as many circles, at the nodes of a sum that is exact for products of
    // these polynomials around the axis, and good to 1e-4 along it.
    let side = 200;
    let mut sums = [[0.0; N_HARMONICS]; N_HARMONICS];
    for i in 0..side {
        let z = (f64::from(i) + 0.5) / f64::from(side) * 2.0 - 1.0;
        let dirs: Vec<[f32; 3]> = (0..side)
            .map(|j| {
                let (sin, cos) = (f64::from(j) / f64::from(side) * 2.0 * PI).sin_cos();
                let radius = (1.0 - z * z).sqrt();
                [radius * cos, radius * sin, z].map(|x| x as f32)
            })
            .collect();
        let mut harmonics = vec![0.0; dirs.len() * N_HARMONICS];
        spherical_harmonics(&dirs, &mut harmonics);
        for values in harmonics.as_chunks::<N_HARMONICS>().0 {
            for (sums, a) in sums.iter_mut().zip(values) {
                for (sum, b) in sums.iter_mut().zip(values) {
                    *sum += f64::from(a * b) * 4.0 * PI / f64::from(side * side);
                }
            }
        }
    }
    for (a, sums) in sums.iter().enumerate() {
        for (b, sum) in sums.iter().enumerate() {
            let want = f64::from(u8::from(a == b));
            assert!((sum - want).abs() < 1e-3, "{a} {b}: {sum}");
        }
    }
}

#[test]
fn harmonics_lie_where_degree_and_order_say() {
    let mut along = [0.0; 3 * N_HARMONICS];
    spherical_harmonics(
        &[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        &mut along,
    );
    let first = (3.0 / (4.0 * PI)).sqrt() as f32;
    // Order -1, 0, 1 of degree 1: -y, z, -x.
    for (axis, place) in [(0, 3), (1, 1), (2, 2)] {
        let sign = if axis == 2 { 1.0 } else { -1.0 };
        assert!((along[axis * N_HARMONICS + place] - sign * first).abs() < 1e-6);
    }
    // Around z only order 0 is left.
    for place in [1, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15] {
        assert_eq!(along[2 * N_HARMONICS + place], 0.0);
    }
}
