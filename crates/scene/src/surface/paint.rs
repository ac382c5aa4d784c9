//! Colours for the vertices of a mesh, from a field of colours.
//! Leaves out textures: a colour between vertices is a mix of theirs.

use dreamsmith_base::{Mesh, MeshError};
use glam::Vec3;

/// Colours all vertices at once, so that a network can answer in batches: `color` gets the positions and normals
/// `[V, 3]`, the mesh's own or else those of its faces, and returns as many linear RGB colours.
pub fn paint(
    mesh: Mesh,
    color: impl FnOnce(&[[f32; 3]], &[[f32; 3]]) -> Vec<[f32; 3]>,
) -> Result<Mesh, MeshError> {
    let normals = match mesh.normals() {
        [] => vertex_normals(&mesh),
        own => own.to_vec(),
    };
    let mut parts = mesh.into_parts();
    // No colours at all would be a good mesh too; the count that is wrong is named here.
    let colors = color(&parts.verts, &normals);
    if colors.is_empty() {
        return Err(MeshError::Count {
            what: "colours",
            expected: parts.verts.len(),
            found: 0,
        });
    }
    parts.colors = colors;
    parts.build()
}

/// Colours the vertices that are not `known` `[V]` from those that are, neighbour by neighbour: each is the mean of those
/// that had a colour one step before. What no face joins to a known vertex stays as it is.
pub fn spread_colors(mesh: Mesh, mut known: Vec<bool>) -> Result<Mesh, MeshError> {
    let mut parts = mesh.into_parts();
    loop {
        let mut sums = vec![(Vec3::ZERO, 0.0); parts.colors.len()];
        for face in &parts.faces {
            for (i, j) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                let [from, to] = [i, j].map(|corner| face[corner] as usize);
                if known[from] && !known[to] {
                    sums[to].0 += Vec3::from(parts.colors[from]);
                    sums[to].1 += 1.0;
                }
            }
        }
        let mut is_done = true;
        for (vert, (sum, n)) in sums.into_iter().enumerate() {
            if n > 0.0 {
                parts.colors[vert] = (sum / n).into();
                known[vert] = true;
                is_done = false;
            }
        }
        if is_done {
            return parts.build();
        }
    }
}

/// The mean of the normals of the faces at each vertex, weighted by their angles there [Thurmer98] `[V, 3]`; zero where
/// they cancel out or where there are none.
pub fn vertex_normals(mesh: &Mesh) -> Vec<[f32; 3]> {
    let mut sums = vec![Vec3::ZERO; mesh.verts().len()];
    for (index, face) in mesh.faces().iter().enumerate() {
        let corners = mesh.triangle(index);
        for (i, vert) in face.iter().enumerate() {
            let [here, next, last] = [0, 1, 2].map(|j| corners[(i + j) % 3]);
            let (to_next, to_last) = (next - here, last - here);
            let normal = to_next.cross(to_last).normalize_or_zero();
            if normal != Vec3::ZERO {
                sums[*vert as usize] += normal * to_next.angle_between(to_last);
            }
        }
    }
    sums.into_iter()
        .map(|sum| sum.normalize_or_zero().into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::MeshParts;

    fn cube_corner() -> Mesh {
        let parts = MeshParts {
            verts: vec![
                [0.0; 3],
                [1.0, 0.0, 0.0],
                [0.0, 1.0, 0.0],
                [0.0, 0.0, 1.0],
                [7.0; 3],
            ],
            faces: vec![[0, 2, 1], [0, 1, 3], [0, 3, 2]],
            ..MeshParts::default()
        };
        parts.build().unwrap()
    }

    #[test]
    fn colors_spread_over_faces() {
        let mut parts = cube_corner().into_parts();
        let [red, blue, any] = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.3; 3]];
        parts.colors = vec![any, red, blue, any, any];
        let known = vec![false, true, true, false, false];
        let spread = spread_colors(parts.build().unwrap(), known).unwrap();
        // Both have a red and a blue neighbour; the last vertex is in no face.
        let both = [0.5, 0.0, 0.5];
        assert_eq!(spread.colors(), [both, red, blue, both, any]);
    }

    #[test]
    fn normals_weigh_faces_by_their_angles() {
        let normals = vertex_normals(&cube_corner());
        let expected = [
            Vec3::NEG_ONE.normalize(),
            Vec3::new(0.0, -1.0, -1.0).normalize(),
        ];
        for (found, expected) in normals.iter().zip(expected) {
            assert!(Vec3::from(*found).distance(expected) < 1e-6);
        }
        assert_eq!(normals[4], [0.0; 3]);
    }

    #[test]
    fn colours_come_from_places_and_normals() {
        let painted = paint(cube_corner(), |verts, normals| {
            verts
                .iter()
                .zip(normals)
                .map(|(v, n)| [v[0], v[1], n[2]])
                .collect()
        });
        let painted = painted.unwrap();
        assert_eq!(painted.colors()[4], [7.0, 7.0, 0.0]);
        assert_eq!(painted.colors()[3], [0.0, 0.0, 0.0]);
        let refused = |colors: Vec<[f32; 3]>| paint(cube_corner(), |_, _| colors).unwrap_err();
        assert!(matches!(refused(vec![]), MeshError::Count { found: 0, .. }));
        assert!(matches!(
            refused(vec![[0.0; 3]; 4]),
            MeshError::Count { found: 4, .. }
        ));
        assert!(matches!(
            refused(vec![[f32::NAN; 3]; 5]),
            MeshError::NotFinite { .. }
        ));
    }
}
