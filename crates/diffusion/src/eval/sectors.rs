//! Parts of the circle around an object, the front in the middle of the first, and how often a front comes around.

use std::f32::consts::TAU;

use serde::Serialize;

/// Waves that are told apart.
const MOST_FRONTS: usize = 3;
/// A weaker wave is none.
const LEAST_WAVE: f32 = 0.05;

/// The sector of `n` in which an azimuth in degrees lies.
pub(crate) fn sector_of(azimuth: f32, n: usize) -> usize {
    let sector = (azimuth * n as f32 / 360.0).round() as i64;
    sector.rem_euclid(n as i64) as usize
}

/// An azimuth in degrees as shares of the two sectors of `n` whose middles it lies between, `[n]`.
pub(crate) fn spread_over_sectors(azimuth: f32, n: usize) -> Vec<f32> {
    let place = (azimuth / 360.0).rem_euclid(1.0) * n as f32;
    let mut shares = vec![0.0; n];
    shares[place as usize % n] += 1.0 - place.fract();
    shares[(place as usize + 1) % n] += place.fract();
    shares
}

/// How far towards the front the odds `[n]` of sectors put a view, from -1 behind to 1: the mean cosine of its azimuth. Who
/// takes fronts for backs as often as backs for fronts halves it but does not turn it round, which the odds of a front
/// alone would: their echo behind makes two fronts of one. What looks the same from both sides is at 0.
pub fn frontness(odds: &[f32]) -> f32 {
    let cosine = |sector: usize| (TAU * sector as f32 / odds.len() as f32).cos();
    odds.iter()
        .enumerate()
        .map(|(i, odds)| cosine(i) * odds)
        .sum()
}

/// What comes around the circle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fronts {
    /// How often a front does; 0 if no view is more of one than others.
    pub count: usize,
    /// Where the front is, if there is one: the azimuth in degrees, in (-180, 180].
    pub facing: f32,
}

impl Fronts {
    /// From the frontness of views evenly around a circle, the first from azimuth 0: the order of the strongest wave in
    /// it. A sharp front (a cube of a cosine) whose echo behind has a fifth of its height already counts as two.
    pub fn around(frontness: &[f32]) -> Self {
        let n = frontness.len() as f32;
        let wave = |order: usize| -> [f32; 2] {
            let turned = frontness.iter().enumerate().map(|(i, front)| {
                let (sin, cos) = (TAU * (order * i) as f32 / n).sin_cos();
                [front * cos, front * sin]
            });
            turned.fold([0.0; 2], |[x, y], [cos, sin]| [x + cos, y + sin])
        };
        let height = |order: &usize| {
            let [x, y] = wave(*order);
            2.0 * x.hypot(y) / n
        };
        let strongest = (1..=MOST_FRONTS).max_by(|a, b| height(a).total_cmp(&height(b)));
        let [x, y] = wave(1);
        Self {
            count: strongest
                .filter(|order| height(order) > LEAST_WAVE)
                .unwrap_or(0),
            facing: y.atan2(x).to_degrees(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: usize = 12;

    fn around(front: impl Fn(f32) -> f32) -> Fronts {
        let odds: Vec<f32> = (0..AROUND)
            .map(|i| front(TAU * i as f32 / AROUND as f32))
            .collect();
        Fronts::around(&odds)
    }

    #[test]
    fn fronts_are_waves_around_a_circle() {
        assert_eq!(around(|angle| 0.5 + 0.4 * angle.cos()).count, 1);
        // One that is sharp, and has a little echo behind.
        let sharp = around(|angle| angle.cos().powi(3).max(-0.1 * angle.cos()));
        assert_eq!(sharp.count, 1);
        assert_eq!(around(|angle| 0.5 + 0.4 * (2.0 * angle).cos()).count, 2);
        assert_eq!(around(|_| 0.9).count, 0);
        let turned = around(|angle| 0.5 + 0.4 * (angle - TAU / 6.0).cos());
        assert_eq!(turned.count, 1);
        // Rounding of sums of numbers near 1.
        assert!((turned.facing - 60.0).abs() < 1e-3);
    }

    #[test]
    fn a_front_is_one_even_if_every_third_view_is_taken_for_its_opposite() {
        let seen_as = |azimuth: usize, share: f32| {
            let mut odds = [0.0; AROUND];
            odds[azimuth % AROUND] += 1.0 - share;
            odds[(azimuth + AROUND / 2) % AROUND] += share;
            frontness(&odds)
        };
        let fronts = |share| {
            let views: Vec<f32> = (0..AROUND).map(|i| seen_as(i, share)).collect();
            Fronts::around(&views)
        };
        assert_eq!(fronts(0.33).count, 1);
        assert!(fronts(0.33).facing.abs() < 1e-3);
        // A coin tells nothing.
        assert_eq!(fronts(0.5).count, 0);
        // A face on both sides.
        let janus: Vec<f32> = (0..AROUND)
            .map(|i| seen_as(if i.abs_diff(6) < 3 { i + 6 } else { i }, 0.1))
            .collect();
        assert_eq!(Fronts::around(&janus).count, 2);
    }

    #[test]
    fn azimuths_lie_in_sectors_and_between_their_middles() {
        let found = [0.0, 14.0, 16.0, -14.0, -16.0, 359.0, 180.0, 540.0];
        assert_eq!(
            found.map(|azimuth| sector_of(azimuth, 12)),
            [0, 0, 1, 0, 11, 0, 6, 6]
        );
        for azimuth in [0.0, 10.0, 45.0, 344.0, 359.9, -75.0] {
            let shares = spread_over_sectors(azimuth, 12);
            let [x, y] = shares
                .iter()
                .enumerate()
                .fold([0.0; 2], |[x, y], (i, share)| {
                    let (sin, cos) = (TAU * i as f32 / 12.0).sin_cos();
                    [x + share * cos, y + share * sin]
                });
            let mean = y.atan2(x).to_degrees();
            let off = (mean - azimuth + 180.0).rem_euclid(360.0) - 180.0;
            // A chord between middles 30 degrees apart is off by 0.4 degrees at most.
            assert!(off.abs() < 0.5, "{azimuth} {mean}");
            assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}
