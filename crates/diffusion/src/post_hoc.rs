//! The length of the weight average chosen after training, [Karras24] section 3.2: two averages of different
//! lengths are stored now and then, and any other average is the combination of them whose profile comes nearest.

use std::path::{Path, PathBuf};

use dreamsmith_nets::{NetError, load_weights};
use serde::{Deserialize, Serialize};

use crate::ema::{blend, gamma};
use crate::linear_system::solve;
use crate::unet::UNet;

/// Whether averages are stored, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SnapshotSpec {
    /// None; the length is that of `ema`.
    #[default]
    None,
    /// Two averages at each checkpoint.
    Pair {
        /// Their relative widths; 0.05 and 0.10 in [Karras24].
        sigma_rels: [f64; 2],
    },
}

impl SnapshotSpec {
    /// The relative widths of the averages that are kept.
    pub fn sigma_rels(&self) -> &[f64] {
        match self {
            Self::None => &[],
            Self::Pair { sigma_rels } => sigma_rels,
        }
    }
}

/// The power profile of an average at a step: weight (gamma + 1) t^gamma / step^(gamma + 1) for step t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// The step the average was taken at, above 0.
    pub step: u64,
    /// Its relative width.
    pub sigma_rel: f64,
}

impl Profile {
    /// The integral of the product of two profiles, [Karras24] appendix C.3.
    fn overlap(self, other: Self) -> f64 {
        let (a, b) = (gamma(self.sigma_rel), gamma(other.sigma_rel));
        let (s, t) = (self.step as f64, other.step as f64);
        let first = s.min(t);
        // Written with ratios at most 1, so that no power overflows.
        let ratios = (first / s).powf(a) * (first / t).powf(b) * first / (s * t);
        (a + 1.0) * (b + 1.0) / (a + b + 1.0) * ratios
    }
}

/// The factors by which the averages with profiles `stored` add up to the one nearest to `wanted`:
/// least squares over profiles, [Karras24] eq. 138. They add up to nearly 1.
pub fn factors(stored: &[Profile], wanted: Profile) -> Vec<f64> {
    // Normal equations, each row with its right-hand side.
    let mut rows: Vec<Vec<f64>> = stored
        .iter()
        .map(|a| {
            let scale = 1.0 / a.overlap(*a).sqrt();
            let row = stored
                .iter()
                .map(|b| scale * a.overlap(*b) / b.overlap(*b).sqrt());
            row.chain([scale * a.overlap(wanted)]).collect()
        })
        .collect();
    // Neighbouring snapshots are nearly parallel; a trace of damping keeps the factors small.
    for (i, row) in rows.iter_mut().enumerate() {
        row[i] += DAMPING;
    }
    let solution = solve(rows);
    let scaled = solution.iter().zip(stored);
    scaled.map(|(x, a)| x / a.overlap(*a).sqrt()).collect()
}

/// Relative to the unit diagonal; f64 has twelve digits left.
const DAMPING: f64 = 1e-12;

/// A stored average.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What it averages.
    pub profile: Profile,
    /// Its weight file.
    pub path: PathBuf,
}

impl Snapshot {
    /// The snapshot with `profile` in `folder`.
    pub fn new(folder: &Path, profile: Profile) -> Self {
        let name = format!("step-{:08}-{}.safetensors", profile.step, profile.sigma_rel);
        Self {
            profile,
            path: folder.join(name),
        }
    }

    fn of_path(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (step, sigma_rel) = name
            .strip_prefix("step-")?
            .strip_suffix(".safetensors")?
            .split_once('-')?;
        let profile = Profile {
            step: step.parse().ok()?,
            sigma_rel: sigma_rel.parse().ok()?,
        };
        Some(Self { profile, path })
    }
}

/// The snapshots in `folder`, in the order of their names; none if there is no such folder.
pub fn list(folder: &Path) -> Vec<Snapshot> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return vec![];
    };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut snapshots: Vec<Snapshot> = paths.filter_map(Snapshot::of_path).collect();
    snapshots.sort_by(|a, b| a.path.cmp(&b.path));
    snapshots
}

/// The average with the profile `wanted`, put together from `snapshots`. `network` has the right shape.
pub fn reconstruct(
    network: &UNet,
    snapshots: &[Snapshot],
    wanted: Profile,
) -> Result<UNet, NetError> {
    let profiles: Vec<Profile> = snapshots.iter().map(|snapshot| snapshot.profile).collect();
    let mut sum = blend(network.clone(), 0.0, network, 0.0);
    for (snapshot, factor) in snapshots.iter().zip(factors(&profiles, wanted)) {
        let stored = load_weights(network.clone(), &snapshot.path)?;
        sum = blend(sum, 1.0, &stored, factor);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use dreamsmith_base::{Purpose, Stream};

    use super::*;

    #[test]
    fn a_stored_average_is_found_again() {
        let profile = |step, sigma_rel| Profile { step, sigma_rel };
        let stored = [
            profile(100, 0.05),
            profile(100, 0.1),
            profile(200, 0.05),
            profile(200, 0.1),
        ];
        for (i, wanted) in stored.into_iter().enumerate() {
            for (j, factor) in factors(&stored, wanted).into_iter().enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                // The damping, times the condition of these four profiles.
                assert!((factor - expected).abs() < 1e-6, "{i} {j} {factor}");
            }
        }
    }

    #[test]
    fn averages_of_other_lengths_come_out_right() {
        // Random walks stand for the weights of a network in training.
        const WALKS: usize = 64;
        let (steps, every) = (4000, 250);
        let (wanted, kept) = ([0.06, 0.075, 0.09], [0.05, 0.10]);
        let mut streams: Vec<Stream> = (0..WALKS as u64)
            .map(|i| Stream::new(1, Purpose::Test, i))
            .collect();
        let mut weights = [0.0; WALKS];
        let (mut exact, mut tracks) = ([[0.0; WALKS]; 3], [[0.0; WALKS]; 2]);
        let (mut profiles, mut values) = (vec![], vec![]);
        let decays = |step: u64| {
            move |sigma_rel: f64| (1.0 - 1.0 / step as f64).powf(gamma(sigma_rel) + 1.0)
        };
        let blend = |average: &mut [f64; WALKS], decay: f64, weights: &[f64; WALKS]| {
            for (average, weight) in average.iter_mut().zip(weights) {
                *average = decay * *average + (1.0 - decay) * weight;
            }
        };
        for step in 1..=steps {
            for (weight, stream) in weights.iter_mut().zip(&mut streams) {
                *weight += f64::from(stream.normal());
            }
            let decay = decays(step);
            (0..3).for_each(|i| blend(&mut exact[i], decay(wanted[i]), &weights));
            (0..2).for_each(|i| blend(&mut tracks[i], decay(kept[i]), &weights));
            if step % every == 0 {
                for (sigma_rel, value) in kept.into_iter().zip(tracks) {
                    profiles.push(Profile { step, sigma_rel });
                    values.push(value);
                }
            }
        }
        let distance = |a: &[f64; WALKS], b: &[f64; WALKS]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| (a - b) * (a - b))
                .sum::<f64>()
                .sqrt()
        };
        for (sigma_rel, exact) in wanted.into_iter().zip(exact) {
            let factors = factors(
                &profiles,
                Profile {
                    step: steps,
                    sigma_rel,
                },
            );
            let mut found = [0.0; WALKS];
            for (factor, value) in factors.iter().zip(&values) {
                (0..WALKS).for_each(|i| found[i] += factor * value[i]);
            }
            let stored = distance(&tracks[0], &exact).min(distance(&tracks[1], &exact));
            // 0.2 to 0.5 per cent was seen.
            let error = distance(&found, &exact);
            assert!(
                error < 0.01 * stored,
                "{sigma_rel}: off by {error}, the nearest stored by {stored}"
            );
        }
    }

    #[test]
    fn names_tell_profiles() {
        let snapshot = Snapshot::new(
            Path::new("x"),
            Profile {
                step: 350,
                sigma_rel: 0.05,
            },
        );
        assert_eq!(Snapshot::of_path(snapshot.path.clone()), Some(snapshot));
        assert_eq!(
            Snapshot::of_path(PathBuf::from("x/other.safetensors")),
            None
        );
    }
}
