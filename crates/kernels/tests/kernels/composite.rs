//! Volume rendering: closed forms, the golden of nerfacc, sums written out, slopes.

use dreamsmith_kernels::field::{
    accumulate, accumulate_backward, render_weights, render_weights_backward,
};

use crate::setting::{assert_slope, dot, normals, on_threads, relative_error};

/// Rays of 0 to 11 samples, the first and the last without any.
fn offsets(rays: usize) -> Vec<u32> {
    let lens = (0..rays).map(|ray| {
        if ray + 1 == rays {
            0
        } else {
            (ray * 7 % 12) as u32
        }
    });
    let ends = lens.scan(0, |end, len| {
        *end += len;
        Some(*end)
    });
    [0].into_iter().chain(ends).collect()
}

fn positive(seed: u64, n: usize) -> Vec<f32> {
    normals(seed, n).into_iter().map(f32::abs).collect()
}

/// Weights and transmittance.
fn render(offsets: &[u32], density: &[f32], lengths: &[f32]) -> [Vec<f32>; 2] {
    let mut weights = vec![f32::NAN; density.len()];
    let mut transmittance = vec![f32::NAN; offsets.len() - 1];
    render_weights(offsets, density, lengths, &mut weights, &mut transmittance);
    [weights, transmittance]
}

#[test]
fn golden_of_nerfacc() {
    // The second ray has no samples.
    let offsets = [0, 1, 1, 5];
    let [weights, transmittance] = render(&offsets, &[0.4, 0.8, 0.1, 0.8, 0.1], &[1.0; 5]);
    let mut slopes = [f32::NAN; 5];
    let made = (&weights[..], &transmittance[..]);
    render_weights_backward(
        &offsets,
        &[1.0; 5],
        made,
        (&[1.0; 5], &[0.0; 3]),
        &mut slopes,
    );
    // Four digits are given.
    let same =
        |got: &[f32], want: [f32; 5]| got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-4);
    assert!(
        same(&weights, [0.3297, 0.5507, 0.0428, 0.2239, 0.0174]),
        "{weights:?}"
    );
    assert!(
        same(&slopes, [0.6703, 0.1653, 0.1653, 0.1653, 0.1653]),
        "{slopes:?}"
    );
}

#[test]
fn a_slab_lets_through_what_its_depth_says() {
    let n = 1000;
    let [weights, transmittance] = render(&[0, n], &vec![3.0; n as usize], &vec![2e-3; n as usize]);
    // A thousand factors, each rounded.
    assert!((transmittance[0] - (-6.0_f32).exp()).abs() < 1e-6);
    let (depths, mut depth) = ((0..n).map(|i| (i as f32 + 0.5) * 2e-3), [0.0]);
    accumulate(&[0, n], &weights, &depths.collect::<Vec<_>>(), &mut depth);
    // The integral of 3 t exp(-3 t) from 0 to 2; the midpoint's error is of order 1e-6.
    assert!((depth[0] - (1.0 - 7.0 * (-6.0_f32).exp()) / 3.0).abs() < 1e-5);
}

#[test]
fn weights_and_what_is_left_make_one() {
    for rays in [0, 1, 7, 3000] {
        let offsets = offsets(rays);
        let n = offsets[rays] as usize;
        let [weights, transmittance] = render(&offsets, &positive(1, n), &positive(2, n));
        let mut sums = vec![f32::NAN; rays];
        accumulate(&offsets, &weights, &vec![1.0; n], &mut sums);
        for (sum, left) in sums.iter().zip(&transmittance) {
            assert!((sum + left - 1.0).abs() < 1e-6);
        }
    }
    let [weights, transmittance] = render(&[0, 2], &[1e30, 1.0], &[1.0; 2]);
    assert_eq!((weights, transmittance), (vec![1.0, 0.0], vec![0.0]));
}

#[test]
fn weights_and_sums_are_those_of_the_formula() {
    let offsets = offsets(1000);
    let n = offsets[1000] as usize;
    let (density, lengths) = (positive(1, n), positive(2, n));
    let [weights, transmittance] = render(&offsets, &density, &lengths);
    let mut want = [vec![], vec![]];
    for ray in offsets.windows(2) {
        let samples = ray[0] as usize..ray[1] as usize;
        let depth = |to: usize| -> f64 {
            let all = samples.start..to;
            all.map(|i| f64::from(density[i]) * f64::from(lengths[i]))
                .sum()
        };
        for i in samples.clone() {
            want[0].push(((-depth(i)).exp() - (-depth(i + 1)).exp()) as f32);
        }
        want[1].push((-depth(samples.end)).exp() as f32);
    }
    assert!(relative_error(&weights, &want[0]) < 1e-6);
    assert!(relative_error(&transmittance, &want[1]) < 1e-6);
    for channels in [1, 3, 7] {
        let values = normals(4, n * channels);
        let mut want = vec![0.0; 1000 * channels];
        for ray in 0..1000 {
            for i in offsets[ray] as usize..offsets[ray + 1] as usize {
                for c in 0..channels {
                    want[ray * channels + c] += weights[i] * values[i * channels + c];
                }
            }
        }
        let mut got = vec![f32::NAN; want.len()];
        accumulate(&offsets, &weights, &values, &mut got);
        assert!(relative_error(&got, &want) < 1e-6);
    }
}

/// All derivatives of the products of `grads` with colours, depth and transmittance.
fn derivatives(offsets: &[u32], [density, lengths, colours]: [&[f32]; 3]) -> [Vec<f32>; 2] {
    let (rays, n) = (offsets.len() - 1, density.len());
    let [weights, transmittance] = render(offsets, density, lengths);
    let mut by_weights = vec![0.0; n];
    let (mut by_colours, mut by_depth) = (vec![f32::NAN; 3 * n], vec![f32::NAN; n]);
    let [grad, by_depths, by_left] = grads(rays);
    accumulate_backward(
        offsets,
        &weights,
        colours,
        &grad,
        &mut by_weights,
        &mut by_colours,
    );
    accumulate_backward(
        offsets,
        &weights,
        lengths,
        &by_depths,
        &mut by_weights,
        &mut by_depth,
    );
    let mut by_density = vec![f32::NAN; n];
    let made = (&weights[..], &transmittance[..]);
    let by = (&by_weights[..], &by_left[..]);
    render_weights_backward(offsets, lengths, made, by, &mut by_density);
    [by_density, by_colours]
}

fn grads(rays: usize) -> [Vec<f32>; 3] {
    [normals(6, 3 * rays), normals(7, rays), normals(8, rays)]
}

#[test]
fn derivatives_are_slopes() {
    for rays in [1, 7, 1000] {
        let offsets = offsets(rays);
        let n = offsets[rays] as usize;
        let (density, lengths, colours) = (positive(1, n), positive(2, n), normals(3, 3 * n));
        let [by_density, by_colours] = derivatives(&offsets, [&density, &lengths, &colours]);
        let loss = |density: &[f32], colours: &[f32]| {
            let [weights, transmittance] = render(&offsets, density, &lengths);
            let (mut sums, mut depths) = (vec![0.0; 3 * rays], vec![0.0; rays]);
            accumulate(&offsets, &weights, colours, &mut sums);
            accumulate(&offsets, &weights, &lengths, &mut depths);
            let [grad, by_depths, by_left] = grads(rays);
            dot(&sums, &grad) + dot(&depths, &by_depths) + dot(&transmittance, &by_left)
        };
        assert_slope(
            "density",
            &|density| loss(density, &colours),
            &density,
            &by_density,
        );
        assert_slope(
            "colours",
            &|colours| loss(&density, colours),
            &colours,
            &by_colours,
        );
    }
}

#[test]
fn threads_change_no_bit() {
    let offsets = offsets(9000);
    let n = offsets[9000] as usize;
    let (density, lengths, colours) = (positive(1, n), positive(2, n), normals(3, 3 * n));
    let run = || derivatives(&offsets, [&density, &lengths, &colours]);
    assert!(on_threads(1, run) == on_threads(2, run));
}

#[test]
#[should_panic(expected = "offsets of rays rise")]
fn offsets_that_fall_are_refused() {
    render(&[0, 2, 1, 3], &[1.0; 3], &[1.0; 3]);
}
