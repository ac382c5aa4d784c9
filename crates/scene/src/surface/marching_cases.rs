//! The triangles that marching cubes draws in one cube, for each of the 256 sets of inside corners [Lorensen87].
//! Derived, not tabled: lines on the six faces join to loops, loops are cut into triangles.
//! Corner c is at (c & 1, c >> 1 & 1, c >> 2). Inside corners that only meet across a face's diagonal stay apart.

use std::sync::LazyLock;

/// Where an edge of the cube begins and which way it goes: edge 4a + r runs along axis a.
pub(super) const fn edge_place(edge: usize) -> ([usize; 3], usize) {
    let (axis, rank) = (edge / 4, edge % 4);
    let mut corner = [0; 3];
    corner[(axis + 1) % 3] = rank & 1;
    corner[(axis + 2) % 3] = rank >> 1;
    (corner, axis)
}

/// The triangles of a set of inside corners (bit c is corner c), as edges, counter-clockwise from outside.
pub(super) fn triangles(inside: u8) -> &'static [[u8; 3]] {
    static CASES: LazyLock<Vec<Vec<[u8; 3]>>> = LazyLock::new(|| (0..=255).map(case).collect());
    &CASES[inside as usize]
}

fn case(inside: u8) -> Vec<[u8; 3]> {
    let mut triangles = Vec::new();
    for polygon in loops(inside) {
        cut(&polygon, &mut triangles);
    }
    triangles
}

/// The edge between two neighbouring corners.
fn edge_between(a: usize, b: usize) -> u8 {
    let axis = (a ^ b).trailing_zeros() as usize;
    let bit = |axis: usize| (a & b) >> (axis % 3) & 1;
    (4 * axis + bit(axis + 1) + 2 * bit(axis + 2)) as u8
}

/// The corners of the six faces, counter-clockwise from outside the cube.
fn cube_faces() -> impl Iterator<Item = [usize; 4]> {
    (0..6).map(|face| {
        let (axis, side) = (face / 2, face % 2);
        let (u, v) = (1 << ((axis + 1) % 3), 1 << ((axis + 2) % 3));
        let around = if side == 1 {
            [0, u, u | v, v]
        } else {
            [0, v, u | v, u]
        };
        around.map(|corner| corner | side << axis)
    })
}

/// The closed lines around the inside corners. On each face a line goes from the edge where a walk around the face
/// comes inside to the edge where it leaves again.
fn loops(inside: u8) -> Vec<Vec<u8>> {
    let is_inside = |corner: usize| inside >> corner & 1 == 1;
    let mut next = [None; 12];
    for corners in cube_faces() {
        let corner = |i: usize| corners[i % 4];
        for start in (0..4).filter(|i| !is_inside(corner(*i)) && is_inside(corner(i + 1))) {
            let run = (1..4).take_while(|n| is_inside(corner(start + n))).count();
            let entry = edge_between(corner(start), corner(start + 1));
            let exit = edge_between(corner(start + run), corner(start + run + 1));
            next[entry as usize] = Some(exit);
        }
    }
    let mut loops = Vec::new();
    for start in 0..12 {
        let follow = |edge: &u8| next[*edge as usize].take();
        let polygon: Vec<u8> = std::iter::successors(Some(start), follow).collect();
        // The last edge is the first again.
        if polygon.len() > 1 {
            loops.push(polygon[1..].to_vec());
        }
    }
    loops
}

/// Cuts a polygon into triangles; false if there is no way. Its first and last corner are joined already.
///
/// No cut may lie in a face of the cube: the cube behind might make the same one, and four triangles would meet there.
fn cut(polygon: &[u8], triangles: &mut Vec<[u8; 3]>) -> bool {
    let [first, _, .., last] = *polygon else {
        return true;
    };
    let n_before = triangles.len();
    let may_join =
        |a: usize, b: usize| b == a + 1 || faces_beside(polygon[a]) & faces_beside(polygon[b]) == 0;
    for apex in 1..polygon.len() - 1 {
        if may_join(0, apex)
            && may_join(apex, polygon.len() - 1)
            && cut(&polygon[..=apex], triangles)
            && cut(&polygon[apex..], triangles)
        {
            triangles.push([first, polygon[apex], last]);
            return true;
        }
        triangles.truncate(n_before);
    }
    false
}

/// The two faces at an edge, as bits.
fn faces_beside(edge: u8) -> u8 {
    let (corner, axis) = edge_place(edge as usize);
    let face = |axis: usize| 1 << (2 * (axis % 3) + corner[axis % 3]);
    face(axis + 1) | face(axis + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_numbered_as_they_are_placed() {
        for edge in 0..12 {
            let (corner, axis) = edge_place(edge);
            let start = corner[0] | corner[1] << 1 | corner[2] << 2;
            assert_eq!(edge_between(start, start | 1 << axis) as usize, edge);
            assert_eq!(faces_beside(edge as u8).count_ones(), 2);
        }
    }

    #[test]
    fn one_corner_is_cut_off_with_the_triangle_facing_away() {
        // Along x, y, z from the corner at the origin.
        let mut expected = [0, 4, 8];
        let mut found = triangles(1)[0];
        assert_eq!(triangles(1).len(), 1);
        while found[0] != 0 {
            found.rotate_left(1);
        }
        assert_eq!(found, expected);
        let mut around = triangles(!1)[0];
        while around[0] != 0 {
            around.rotate_left(1);
        }
        expected.swap(1, 2);
        assert_eq!(around, expected);
    }

    #[test]
    fn every_case_is_cut_completely_and_never_across_a_face() {
        for inside in 0..=255u8 {
            let crossed = (0..12).filter(|edge| {
                let (corner, axis) = edge_place(*edge);
                let start = corner[0] | corner[1] << 1 | corner[2] << 2;
                (inside >> start ^ inside >> (start | 1 << axis)) & 1 == 1
            });
            let loops = loops(inside);
            assert_eq!(loops.iter().map(Vec::len).sum::<usize>(), crossed.count());
            // A loop of L edges makes L - 2 triangles.
            let expected = loops.iter().map(|l| l.len() - 2).sum::<usize>();
            assert_eq!(triangles(inside).len(), expected, "case {inside:08b}");
            for [a, b, c] in triangles(inside) {
                for (from, to) in [(a, b), (b, c), (c, a)] {
                    let in_loop = loops.iter().any(|l| {
                        let at = l.iter().position(|edge| edge == from);
                        at.is_some_and(|at| l[(at + 1) % l.len()] == *to)
                    });
                    let in_face = faces_beside(*from) & faces_beside(*to) != 0;
                    assert!(in_loop || !in_face, "case {inside:08b}");
                }
            }
        }
    }
}
