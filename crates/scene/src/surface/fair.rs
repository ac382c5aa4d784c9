//! A surface without its small bumps: it is smoothed, and then unsmoothed nearly as much, so that it does not shrink.
//! [Taubin95]

use dreamsmith_base::{Mesh, MeshError};
use glam::Vec3;

/// How far each vertex goes to the mean of its neighbours, and then from it: waves longer than some twenty vertices stay,
/// as 1 / SHRINK - 1 / GROW = 0.1 [Taubin95, section 4].
const SHRINK: f32 = 0.6307;
const GROW: f32 = 0.6732;

/// `mesh`, which is closed and has only positions, after so many `rounds`.
pub fn faired(mesh: Mesh, rounds: u32) -> Result<Mesh, MeshError> {
    let mut parts = mesh.into_parts();
    let mut verts: Vec<Vec3> = parts.verts.iter().map(|vert| Vec3::from(*vert)).collect();
    // In a closed mesh each edge has two faces, which turn along it in opposite directions.
    let edges = || (parts.faces.iter()).flat_map(|[a, b, c]| [(*a, *b), (*b, *c), (*c, *a)]);
    let mut neighbours = vec![0.0; verts.len()];
    for (from, _) in edges() {
        neighbours[from as usize] += 1.0;
    }
    for _ in 0..rounds {
        for share in [SHRINK, -GROW] {
            let mut sums = vec![Vec3::ZERO; verts.len()];
            for (from, to) in edges() {
                sums[from as usize] += verts[to as usize];
            }
            for ((vert, sum), n) in verts.iter_mut().zip(sums).zip(&neighbours) {
                if *n > 0.0 {
                    *vert += share * (sum / *n - *vert);
                }
            }
        }
    }
    parts.verts = verts.into_iter().map(Into::into).collect();
    parts.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::shapes::{noise, solid};
    use crate::surface::{Inside, Lattice, isosurface};

    #[test]
    fn bumps_go_and_a_ball_keeps_its_size() -> Result<(), Box<dyn std::error::Error>> {
        let lattice = Lattice::unit(40)?;
        let ball = lattice.sample(|p| p.length() - 0.6);
        let bumps = noise(&lattice, 1);
        let bumpy: Vec<f32> = ball.iter().zip(bumps).map(|(x, n)| x + 0.01 * n).collect();
        let before = isosurface(&lattice, &bumpy, 0.0, Inside::Below)?;
        let after = faired(before.clone(), 40)?;
        let radii = |mesh: &Mesh| {
            let radii: Vec<f64> = (mesh.verts().iter())
                .map(|vert| f64::from(Vec3::from(*vert).length()))
                .collect();
            let n = radii.len() as f64;
            let mean = radii.iter().sum::<f64>() / n;
            let square = radii.iter().map(|radius| (radius - mean).powi(2));
            (mean, (square.sum::<f64>() / n).sqrt())
        };
        let ((old, bumps), (new, left)) = (radii(&before), radii(&after));
        // White noise has long waves too, which stay, and those at the edge of what stays grow by 0.1 % a round.
        assert!(left < 0.5 * bumps, "{left} {bumps}");
        assert!((new / old - 1.0).abs() < 0.01, "{new} {old}");
        assert_eq!(after.faces(), before.faces());
        Ok(())
    }

    #[test]
    fn a_thin_rod_stays() -> Result<(), MeshError> {
        // Four cells thick.
        let rod = solid(80, |p| p.truncate().length().max(p.z.abs() - 0.5) - 0.05);
        let grown = faired(rod.clone(), 40)?.signed_volume() / rod.signed_volume();
        assert!((grown - 1.0).abs() < 0.05, "{grown}");
        Ok(())
    }
}
