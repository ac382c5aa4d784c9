//! How far a point is from a mesh: a tree of boxes around its triangles, halved at the median.
//! The nearest point of one triangle follows [Ericson04] section 5.1.5. Leaves out which side the point is on.

use dreamsmith_base::Mesh;
use glam::{DVec3, Vec3};

/// Triangles in a box that is not cut further.
const LEAF: usize = 4;

/// The surface of a mesh, ready to be asked for distances.
pub struct NearestSurface {
    triangles: Vec<[Vec3; 3]>,
    /// Depth first; the first half of a cut box is the node after it.
    nodes: Vec<Node>,
}

struct Node {
    low: Vec3,
    high: Vec3,
    what: Content,
}

enum Content {
    /// The range of the triangles.
    Leaf(usize, usize),
    /// The node of the second half.
    Cut(usize),
}

impl NearestSurface {
    /// Sorts the triangles of a mesh.
    pub fn new(mesh: &Mesh) -> Self {
        let mut tree = Self {
            triangles: (0..mesh.faces().len())
                .map(|face| mesh.triangle(face))
                .collect(),
            nodes: Vec::new(),
        };
        tree.cut(0, tree.triangles.len());
        tree
    }

    /// Makes the node of a range of triangles and all below it.
    fn cut(&mut self, start: usize, end: usize) {
        let triangles = &mut self.triangles[start..end];
        let corners = triangles.iter().flatten();
        let (low, high) = corners.fold((Vec3::INFINITY, Vec3::NEG_INFINITY), |(low, high), v| {
            (low.min(*v), high.max(*v))
        });
        let node = self.nodes.len();
        let leaf = Content::Leaf(start, end);
        self.nodes.push(Node {
            low,
            high,
            what: leaf,
        });
        if end - start <= LEAF {
            return;
        }
        let axis = (high - low).max_position();
        // Thrice the middle, halved so that it stays finite.
        let middle = |t: &[Vec3; 3]| t.iter().map(|v| v[axis] / 2.0).sum::<f32>();
        let half = triangles.len() / 2;
        triangles.select_nth_unstable_by(half, |a, b| middle(a).total_cmp(&middle(b)));
        self.cut(start, start + half);
        self.nodes[node].what = Content::Cut(self.nodes.len());
        self.cut(start + half, end);
    }

    /// From a point to the nearest one of the surface.
    pub fn distance(&self, point: Vec3) -> f64 {
        let point = point.as_dvec3();
        let to_box = |node: usize| {
            let Node { low, high, .. } = &self.nodes[node];
            point.distance_squared(point.clamp(low.as_dvec3(), high.as_dvec3()))
        };
        let mut least = f64::INFINITY;
        let mut open = vec![(0.0, 0)];
        while let Some((from, node)) = open.pop() {
            if from >= least {
                continue;
            }
            match self.nodes[node].what {
                Content::Leaf(start, end) => {
                    for triangle in &self.triangles[start..end] {
                        let nearest = nearest_of(triangle.map(|v| v.as_dvec3()), point);
                        least = least.min(point.distance_squared(nearest));
                    }
                }
                Content::Cut(second) => {
                    let mut halves = [node + 1, second].map(|half| (to_box(half), half));
                    // The nearer half is looked into first.
                    if halves[0].0 < halves[1].0 {
                        halves.swap(0, 1);
                    }
                    open.extend(halves);
                }
            }
        }
        least.sqrt()
    }
}

/// The point of a triangle that is nearest to `p`: by the region of its plane above which `p` lies.
fn nearest_of([a, b, c]: [DVec3; 3], p: DVec3) -> DVec3 {
    let (ab, ac) = (b - a, c - a);
    let along = |corner: DVec3| (ab.dot(p - corner), ac.dot(p - corner));
    let ((a1, a2), (b1, b2), (c1, c2)) = (along(a), along(b), along(c));
    if a1 <= 0.0 && a2 <= 0.0 {
        return a;
    }
    if b1 >= 0.0 && b2 <= b1 {
        return b;
    }
    if c2 >= 0.0 && c1 <= c2 {
        return c;
    }
    // Twice the areas of p with each edge, times that of the triangle.
    let beside_c = a1 * b2 - b1 * a2;
    if beside_c <= 0.0 && a1 >= 0.0 && b1 <= 0.0 {
        return a + ab * (a1 / (a1 - b1));
    }
    let beside_b = c1 * a2 - a1 * c2;
    if beside_b <= 0.0 && a2 >= 0.0 && c2 <= 0.0 {
        return a + ac * (a2 / (a2 - c2));
    }
    let beside_a = b1 * c2 - c1 * b2;
    if beside_a <= 0.0 && b2 >= b1 && c1 >= c2 {
        return b + (c - b) * ((b2 - b1) / ((b2 - b1) + (c1 - c2)));
    }
    a + (ab * beside_b + ac * beside_c) / (beside_a + beside_b + beside_c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::{MeshParts, Purpose, Stream};

    fn soup(n_faces: usize, stream: &mut Stream) -> Mesh {
        let verts = (0..3 * n_faces)
            .map(|_| [(); 3].map(|()| stream.normal()))
            .collect();
        let faces = (0..n_faces as u32)
            .map(|i| [3 * i, 3 * i + 1, 3 * i + 2])
            .collect();
        let parts = MeshParts {
            verts,
            faces,
            ..MeshParts::default()
        };
        parts.build().unwrap()
    }

    /// The least distance to a fine net of points on the triangle.
    #[test]
    fn nearest_of_a_triangle_is_nearer_than_all_its_points() {
        let mut stream = Stream::new(1, Purpose::Test, 0);
        let steps = 100;
        for _ in 0..200 {
            let [a, b, c, p] =
                [(); 4].map(|()| DVec3::from([(); 3].map(|()| f64::from(stream.normal()))));
            let nearest = nearest_of([a, b, c], p).distance(p);
            let net = (0..=steps).flat_map(|i| (0..=steps - i).map(move |j| (i, j)));
            let least = net
                .map(|(i, j)| {
                    (a + (b - a) * (f64::from(i) / 100.0) + (c - a) * (f64::from(j) / 100.0))
                        .distance(p)
                })
                .fold(f64::INFINITY, f64::min);
            // A point of the net is at most a step of each side away.
            let step = (a.distance(b) + a.distance(c)) / 100.0;
            assert!(
                nearest <= least + 1e-12 && least <= nearest + step,
                "{nearest} {least}"
            );
        }
    }

    #[test]
    fn the_tree_finds_what_a_search_of_all_finds() {
        let mut stream = Stream::new(2, Purpose::Test, 0);
        for n_faces in [1, 4, 5, 300] {
            let mesh = soup(n_faces, &mut stream);
            let tree = NearestSurface::new(&mesh);
            for _ in 0..50 {
                let point = Vec3::from([(); 3].map(|()| 2.0 * stream.normal()));
                let all = (0..n_faces).map(|face| {
                    let triangle = mesh.triangle(face).map(|v| v.as_dvec3());
                    nearest_of(triangle, point.as_dvec3()).distance(point.as_dvec3())
                });
                // Squared and rooted in another order.
                assert!((tree.distance(point) - all.fold(f64::INFINITY, f64::min)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_triangle_that_is_a_point_has_a_distance() {
        let nearest = nearest_of([DVec3::ONE; 3], DVec3::ZERO);
        assert_eq!(nearest, DVec3::ONE);
    }
}
