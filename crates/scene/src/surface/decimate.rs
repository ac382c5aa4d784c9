//! Fewer faces: edges collapse to the place of least quadric error, the cheapest first [Garland97], as long as the
//! surface stays what it is: by the link condition [Dey99] and without turning a face over.
//! Leaves out uvs, colours and materials (paint afterwards), open borders (they stay), and crossings of far faces.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dreamsmith_base::{Mesh, MeshParts};
use glam::DVec3;
use rayon::prelude::*;

use super::SurfaceError;
use super::components::used_verts;
use super::quadric::Quadric;
use super::topology::{EdgeKind, fans, for_each_edge};

/// A collapse must not turn a face by more than this cosine allows: 78°.
const LEAST_COSINE: f64 = 0.2;

/// The bare mesh with at most `n_faces` faces, or with as few as its topology allows.
///
/// A closed manifold stays one, of the same genus, looking the same way. Vertices at open or non-manifold edges stay
/// where they are. A mesh that is small enough comes back as it is.
pub fn decimate(mesh: Mesh, n_faces: usize) -> Result<Mesh, SurfaceError> {
    if mesh.faces().len() <= n_faces {
        return Ok(mesh);
    }
    let mut surface = Surface::new(&mesh);
    // A collapse may make another possible that was refused before, two rings away.
    while surface.n_faces > n_faces && surface.collapse_cheapest(n_faces) {}
    surface.into_mesh()
}

/// A mesh that can be changed.
struct Surface {
    verts: Vec<DVec3>,
    /// Those that are gone remain, but no vertex knows them.
    faces: Vec<[u32; 3]>,
    n_faces: usize,
    /// The faces at each vertex.
    around: Vec<Vec<u32>>,
    quadrics: Vec<Quadric>,
    /// How often each vertex has changed.
    changes: Vec<u32>,
    stays: Vec<bool>,
}

/// An edge that may collapse: its error's bits (which rank as the error, as it is not negative), its vertices, and
/// what `changes` was for these. The order of candidates is total.
type Candidate = Reverse<(u64, [u32; 2], [u32; 2])>;

impl Surface {
    fn new(mesh: &Mesh) -> Self {
        let n_verts = mesh.verts().len();
        let mut stays: Vec<bool> = fans(mesh.faces(), n_verts).iter().map(|n| *n > 1).collect();
        for_each_edge(mesh.faces(), |edge| {
            if !matches!(edge.kind(), EdgeKind::Regular) {
                for vert in edge.verts() {
                    stays[vert as usize] = true;
                }
            }
        });
        let mut around = vec![Vec::new(); n_verts];
        let mut quadrics = vec![Quadric::default(); n_verts];
        for (index, face) in mesh.faces().iter().enumerate() {
            let corners = mesh.triangle(index).map(|v| v.as_dvec3());
            for (vert, quadric) in face.iter().zip(Quadric::of_triangle(corners)) {
                around[*vert as usize].push(index as u32);
                quadrics[*vert as usize] += quadric;
            }
        }
        Self {
            verts: mesh
                .verts()
                .iter()
                .map(|v| v.map(f64::from).into())
                .collect(),
            faces: mesh.faces().to_vec(),
            n_faces: mesh.faces().len(),
            around,
            quadrics,
            changes: vec![0; n_verts],
            stays,
        }
    }

    /// Collapses edges until `n_faces` are left or none can; says whether there was any.
    fn collapse_cheapest(&mut self, n_faces: usize) -> bool {
        let mut heap = self.all_candidates();
        let mut neighbors = Vec::new();
        let before = self.n_faces;
        while self.n_faces > n_faces
            && let Some(Reverse((_, edge, changes))) = heap.pop()
        {
            if changes != edge.map(|v| self.changes[v as usize]) {
                continue;
            }
            let place = self.target(edge);
            if !self.may_collapse(edge, place) {
                continue;
            }
            self.collapse(edge, place);
            let [kept, _] = edge;
            self.neighbors(kept, &mut neighbors);
            heap.extend(
                neighbors
                    .iter()
                    .filter_map(|other| self.candidate([kept, *other])),
            );
        }
        self.n_faces < before
    }

    fn all_candidates(&self) -> BinaryHeap<Candidate> {
        let verts = 0..self.verts.len() as u32;
        let candidates: Vec<Candidate> = verts
            .into_par_iter()
            .flat_map_iter(|vert| {
                let mut neighbors = Vec::new();
                self.neighbors(vert, &mut neighbors);
                let beyond = neighbors.into_iter().filter(move |other| *other > vert);
                beyond.filter_map(move |other| self.candidate([vert, other]))
            })
            .collect();
        candidates.into()
    }

    fn candidate(&self, edge: [u32; 2]) -> Option<Candidate> {
        let [a, b] = edge.map(|v| v as usize);
        if self.stays[a] || self.stays[b] {
            return None;
        }
        let error = self.quadric(edge).error(self.target(edge));
        Some(Reverse((
            error.to_bits(),
            edge,
            [self.changes[a], self.changes[b]],
        )))
    }

    fn quadric(&self, [a, b]: [u32; 2]) -> Quadric {
        let mut sum = self.quadrics[a as usize];
        sum += self.quadrics[b as usize];
        sum
    }

    /// Where the collapsed edge goes.
    fn target(&self, edge: [u32; 2]) -> DVec3 {
        let [a, b] = edge.map(|v| self.verts[v as usize]);
        self.quadric(edge).least(a.midpoint(b))
    }

    /// The vertices that share a face with this one, ascending.
    fn neighbors(&self, vert: u32, found: &mut Vec<u32>) {
        found.clear();
        let faces = self.around[vert as usize].iter();
        found.extend(
            faces
                .flat_map(|face| self.faces[*face as usize])
                .filter(|other| *other != vert),
        );
        found.sort_unstable();
        found.dedup();
    }

    fn may_collapse(&self, [a, b]: [u32; 2], place: DVec3) -> bool {
        self.link_condition([a, b])
            && self.keeps_facing(a, b, place)
            && self.keeps_facing(b, a, place)
    }

    /// Whether the edge and its two faces can vanish without pinching the surface: its ends have no common neighbours
    /// but the two tips of these faces, and no common edge across, as in a tetrahedron.
    fn link_condition(&self, [a, b]: [u32; 2]) -> bool {
        let (mut beside_a, mut beside_b) = (Vec::new(), Vec::new());
        self.neighbors(a, &mut beside_a);
        self.neighbors(b, &mut beside_b);
        let mut shared = beside_a
            .iter()
            .filter(|v| beside_b.binary_search(v).is_ok());
        let (Some(one), Some(two), None) = (shared.next(), shared.next(), shared.next()) else {
            return false;
        };
        [one, two]
            .iter()
            .all(|tip| self.around[**tip as usize].len() > 3)
    }

    /// Whether the faces at `vert` that survive the vanishing of `gone` look the same way when `vert` is at `place`.
    fn keeps_facing(&self, vert: u32, gone: u32, place: DVec3) -> bool {
        self.around[vert as usize].iter().all(|face| {
            let face = self.faces[*face as usize];
            if face.contains(&gone) {
                return true;
            }
            let [a, b, c] = face.map(|v| self.verts[v as usize]);
            let old = (b - a).cross(c - a);
            let [a, b, c] = face.map(|v| {
                if v == vert {
                    place
                } else {
                    self.verts[v as usize]
                }
            });
            let new = (b - a).cross(c - a);
            old.dot(new) > LEAST_COSINE * old.length() * new.length()
        })
    }

    /// Moves the first vertex of an edge to `place` and lets it take over the faces of the second.
    fn collapse(&mut self, [kept, gone]: [u32; 2], place: DVec3) {
        for face in std::mem::take(&mut self.around[gone as usize]) {
            let corners = self.faces[face as usize];
            if corners.contains(&kept) {
                for vert in corners {
                    self.around[vert as usize].retain(|f| *f != face);
                }
                self.n_faces -= 1;
            } else {
                self.faces[face as usize] = corners.map(|v| if v == gone { kept } else { v });
                self.around[kept as usize].push(face);
            }
        }
        self.quadrics[kept as usize] = self.quadric([kept, gone]);
        self.verts[kept as usize] = place;
        self.changes[kept as usize] += 1;
        self.changes[gone as usize] += 1;
    }

    fn into_mesh(self) -> Result<Mesh, SurfaceError> {
        let mut left: Vec<u32> = self.around.concat();
        left.sort_unstable();
        left.dedup();
        let faces: Vec<[u32; 3]> = left.iter().map(|face| self.faces[*face as usize]).collect();
        let (used, faces) = used_verts(&faces, self.verts.len());
        let parts = MeshParts {
            verts: used
                .iter()
                .map(|v| self.verts[*v as usize].as_vec3().into())
                .collect(),
            faces,
            ..MeshParts::default()
        };
        Ok(parts.build()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::{gyroid, noise, solid, sphere, torus};
    use super::*;
    use crate::surface::{Inside, Lattice, Topology, isosurface};

    #[test]
    fn a_sphere_of_500_faces_is_still_a_sphere() {
        let full = sphere(64, 0.8);
        let mesh = decimate(full.clone(), 500).unwrap();
        assert!(
            (499..=500).contains(&mesh.faces().len()),
            "{}",
            mesh.faces().len()
        );
        let topology = Topology::of(&mesh);
        assert!(topology.is_closed_manifold());
        assert_eq!(topology.euler_characteristic(), 2);
        // With its corners on the sphere it would lack (edge / radius)² / 4, 2.3 %.
        assert!((mesh.signed_volume() / full.signed_volume() - 1.0).abs() < 0.015);
        for face in 0..mesh.faces().len() {
            let [a, b, c] = mesh.triangle(face);
            let cosine = (b - a)
                .cross(c - a)
                .normalize()
                .dot((a + b + c).normalize());
            // A face spans about 0.3 radii.
            assert!(cosine > 0.9, "face {face}: {cosine}");
        }
        let far = mesh
            .verts()
            .iter()
            .map(|v| (DVec3::from(v.map(f64::from)).length() - 0.8).abs());
        assert!(far.fold(0.0, f64::max) < 0.02);
    }

    #[test]
    fn a_box_becomes_twelve_faces_with_its_corners() {
        let full = solid(64, |p| (p.abs() - 0.5).max_element());
        let mesh = decimate(full, 12).unwrap();
        assert_eq!(mesh.faces().len(), 12);
        assert!(Topology::of(&mesh).is_closed_manifold());
        // Marching bevels the edges by one cell, 1/32, and the corners by less than two.
        for vert in mesh.verts().iter().flatten() {
            assert!((vert.abs() - 0.5).abs() < 2.0 / 32.0, "{vert}");
        }
    }

    #[test]
    fn handles_and_parts_stay_even_if_more_is_asked() {
        for (full, least) in [(solid(32, torus), 14), (solid(24, gyroid), 14)] {
            let genus = Topology::of(&full).genus();
            let mesh = decimate(full, 0).unwrap();
            let topology = Topology::of(&mesh);
            // A torus needs seven vertices and fourteen faces.
            assert!(mesh.faces().len() >= least);
            assert!(
                topology.is_closed_manifold()
                    && topology.genus() == genus
                    && mesh.signed_volume() > 0.0
            );
        }
    }

    #[test]
    fn noise_stays_sound() {
        let lattice = Lattice::unit(8).unwrap();
        for seed in 0..20 {
            let full = isosurface(&lattice, &noise(&lattice, seed), 0.0, Inside::Above).unwrap();
            let genus = Topology::of(&full).genus();
            let mesh = decimate(full.clone(), full.faces().len() / 4).unwrap();
            assert!(mesh.faces().len() < full.faces().len() / 2);
            assert!(Topology::of(&mesh).genus() == genus && genus.is_some());
            assert!(mesh.signed_volume() > 0.0);
        }
    }

    #[test]
    fn open_borders_stay_where_they_are() {
        let n = 20;
        let verts = (0..n * n)
            .map(|i| [(i % n) as f32, (i / n) as f32, 0.0])
            .collect();
        let cells = (0..(n - 1) * (n - 1)).map(|i| i / (n - 1) * n + i % (n - 1));
        let faces = cells
            .flat_map(|i| [[i, i + 1, i + n], [i + 1, i + n + 1, i + n]])
            .collect();
        let full = MeshParts {
            verts,
            faces,
            ..MeshParts::default()
        }
        .build()
        .unwrap();
        let open = Topology::of(&full).open_edges;
        let mesh = decimate(full.clone(), 100).unwrap();
        assert!(
            mesh.faces().len() < full.faces().len() / 4,
            "{}",
            mesh.faces().len()
        );
        assert_eq!(Topology::of(&mesh).open_edges, open);
        assert!((mesh.area() / full.area() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn broken_meshes_come_back_no_worse() {
        let verts = vec![[0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let faces = vec![[0, 0, 0], [0, 1, 1], [0, 1, 2], [0, 1, 2], [2, 1, 0]];
        let broken = MeshParts {
            verts,
            faces,
            ..MeshParts::default()
        }
        .build()
        .unwrap();
        assert_eq!(decimate(broken.clone(), 1).unwrap(), broken);
        assert_eq!(decimate(broken.clone(), 5).unwrap(), broken);
    }
}
