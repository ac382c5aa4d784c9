//! Edges and fans of a mesh: whether it is closed, manifold, of one orientation, and what genus it has.
//! Leaves out welding: two vertices on one place are two vertices. Faces without area count as any other.

use dreamsmith_base::Mesh;
use rayon::prelude::*;

use super::disjoint::DisjointSets;

/// What can be said of a mesh without its positions. Vertices that no face uses are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Vertices that faces use.
    pub n_verts: usize,
    /// Pairs of vertices that a face joins.
    pub n_edges: usize,
    /// Faces.
    pub n_faces: usize,
    /// Edges of one face only.
    pub open_edges: usize,
    /// Edges of more than two faces, or of one face twice.
    pub non_manifold_edges: usize,
    /// Edges whose two faces run along them the same way: one of them is inside out.
    pub reversed_edges: usize,
    /// Vertices at which more than one fan of faces meets.
    pub non_manifold_verts: usize,
    /// Parts that share no vertex.
    pub components: usize,
}

impl Topology {
    /// Counts all of it.
    pub fn of(mesh: &Mesh) -> Self {
        let faces = mesh.faces();
        let mut found = Self {
            n_verts: 0,
            n_edges: 0,
            n_faces: faces.len(),
            open_edges: 0,
            non_manifold_edges: 0,
            reversed_edges: 0,
            non_manifold_verts: 0,
            components: 0,
        };
        for_each_edge(faces, |edge| {
            found.n_edges += 1;
            match edge.kind() {
                EdgeKind::Open => found.open_edges += 1,
                EdgeKind::Regular => {}
                EdgeKind::Reversed => found.reversed_edges += 1,
                EdgeKind::NonManifold => found.non_manifold_edges += 1,
            }
        });
        let n_verts = mesh.verts().len();
        let fans = fans(faces, n_verts);
        found.n_verts = fans.iter().filter(|n| **n > 0).count();
        found.non_manifold_verts = fans.iter().filter(|n| **n > 1).count();
        let mut sets = vert_sets(faces, n_verts);
        let is_root = |vert: &usize| fans[*vert] > 0 && sets.root(*vert as u32) as usize == *vert;
        found.components = (0..n_verts).filter(is_root).count();
        found
    }

    /// V - E + F.
    pub fn euler_characteristic(&self) -> i64 {
        self.n_verts as i64 - self.n_edges as i64 + self.n_faces as i64
    }

    /// Whether each edge has two faces that run along it in opposite directions.
    pub fn is_closed(&self) -> bool {
        self.open_edges + self.non_manifold_edges + self.reversed_edges == 0
    }

    /// Whether the mesh is closed and around each vertex goes one fan of faces.
    pub fn is_closed_manifold(&self) -> bool {
        self.is_closed() && self.non_manifold_verts == 0
    }

    /// The handles of all components of a closed manifold: Σ (1 - χ/2). Others have no genus.
    pub fn genus(&self) -> Option<i64> {
        let handles = self.components as i64 - self.euler_characteristic() / 2;
        self.is_closed_manifold().then_some(handles)
    }
}

/// The faces at one edge, each as the number of the corner at which it enters the edge: corner 3f + c goes from
/// vertex c of face f to the next.
pub(super) struct Edge<'a> {
    faces: &'a [[u32; 3]],
    /// The corners, ascending, each behind the edge's two vertices.
    corners: &'a [(u64, u32)],
}

pub(super) enum EdgeKind {
    Open,
    Regular,
    Reversed,
    NonManifold,
}

impl Edge<'_> {
    pub(super) fn kind(&self) -> EdgeKind {
        let [a, b] = self.verts();
        match *self.corners {
            _ if a == b => EdgeKind::NonManifold,
            [_] => EdgeKind::Open,
            [(_, one), (_, two)] if one / 3 == two / 3 => EdgeKind::NonManifold,
            [(_, one), (_, two)] if start(self.faces, one) != start(self.faces, two) => {
                EdgeKind::Regular
            }
            [_, _] => EdgeKind::Reversed,
            _ => EdgeKind::NonManifold,
        }
    }

    /// The lesser vertex first.
    pub(super) fn verts(&self) -> [u32; 2] {
        let key = self.corners[0].0;
        [(key >> 32) as u32, key as u32]
    }
}

/// The vertex at a corner.
fn start(faces: &[[u32; 3]], corner: u32) -> u32 {
    faces[corner as usize / 3][corner as usize % 3]
}

/// The corner after this one in its face.
fn next_corner(corner: u32) -> u32 {
    corner / 3 * 3 + (corner + 1) % 3
}

/// Visits all edges, in the order of their vertices.
pub(super) fn for_each_edge(faces: &[[u32; 3]], mut visit: impl FnMut(Edge)) {
    let mut corners: Vec<(u64, u32)> = (0..3 * faces.len() as u32)
        .into_par_iter()
        .map(|corner| {
            let (a, b) = (start(faces, corner), start(faces, next_corner(corner)));
            (u64::from(a.min(b)) << 32 | u64::from(a.max(b)), corner)
        })
        .collect();
    corners.par_sort_unstable();
    for corners in corners.chunk_by(|a, b| a.0 == b.0) {
        visit(Edge { faces, corners });
    }
}

/// How many fans of faces meet at each vertex: corners that edges join.
pub(super) fn fans(faces: &[[u32; 3]], n_verts: usize) -> Vec<u32> {
    let mut sets = DisjointSets::new(3 * faces.len());
    for_each_edge(faces, |edge| {
        let [a, b] = edge.verts();
        let at = |corner: u32, vert: u32| {
            if start(faces, corner) == vert {
                corner
            } else {
                next_corner(corner)
            }
        };
        let first = edge.corners[0].1;
        for (_, corner) in &edge.corners[1..] {
            sets.unite(at(first, a), at(*corner, a));
            sets.unite(at(first, b), at(*corner, b));
        }
    });
    let mut fans = vec![0; n_verts];
    for corner in (0..3 * faces.len() as u32).filter(|corner| sets.root(*corner) == *corner) {
        fans[start(faces, corner) as usize] += 1;
    }
    fans
}

/// The vertices that chains of faces join.
pub(super) fn vert_sets(faces: &[[u32; 3]], n_verts: usize) -> DisjointSets {
    let mut sets = DisjointSets::new(n_verts);
    for [a, b, c] in faces {
        sets.unite(*a, *b);
        sets.unite(*b, *c);
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::MeshParts;

    fn topology(n_verts: usize, faces: &[[u32; 3]]) -> Topology {
        let verts = (0..n_verts)
            .map(|i| [i as f32, (i * i) as f32, 0.0])
            .collect();
        let parts = MeshParts {
            verts,
            faces: faces.to_vec(),
            ..MeshParts::default()
        };
        Topology::of(&parts.build().unwrap())
    }

    const TETRAHEDRON: [[u32; 3]; 4] = [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]];

    #[test]
    fn a_tetrahedron_is_closed_and_without_handles() {
        let found = topology(5, &TETRAHEDRON);
        assert!(found.is_closed_manifold());
        assert_eq!((found.n_verts, found.n_edges, found.n_faces), (4, 6, 4));
        assert_eq!(found.euler_characteristic(), 2);
        assert_eq!(found.genus(), Some(0));
        assert_eq!(found.components, 1);
    }

    #[test]
    fn defects_are_counted() {
        let open = topology(4, &TETRAHEDRON[..3]);
        assert_eq!((open.open_edges, open.genus()), (3, None));

        let mut faces = TETRAHEDRON;
        faces[0].swap(0, 1);
        let reversed = topology(4, &faces);
        assert_eq!((reversed.reversed_edges, reversed.is_closed()), (3, false));

        let fin = topology(5, &[TETRAHEDRON.as_slice(), &[[0, 1, 4]]].concat());
        assert_eq!((fin.non_manifold_edges, fin.open_edges), (1, 2));

        let point = topology(2, &[[0, 0, 1]]);
        assert!(point.non_manifold_edges > 0);
    }

    #[test]
    fn two_solids_that_touch_in_a_point_are_closed_but_not_manifold() {
        let other = TETRAHEDRON.map(|face| face.map(|v| if v == 0 { 0 } else { v + 3 }));
        let found = topology(7, &[TETRAHEDRON, other].concat());
        assert!(found.is_closed() && !found.is_closed_manifold());
        assert_eq!((found.non_manifold_verts, found.components), (1, 1));
        let apart = TETRAHEDRON.map(|face| face.map(|v| v + 4));
        assert_eq!(topology(8, &[TETRAHEDRON, apart].concat()).components, 2);
    }
}
