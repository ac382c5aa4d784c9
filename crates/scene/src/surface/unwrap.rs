//! A texture atlas: faces in charts that lie flat without overlapping, packed side by side into a square.
//! Charts grow over neighbours that face about the same way, and are packed on shelves. Leaves out charts that bend:
//! each is seen straight on, so that no texel is stretched to more than twice its length.

use std::collections::{BinaryHeap, HashMap};

use dreamsmith_base::{Mesh, MeshError};
use glam::{Vec2, Vec3};

/// The cosine of 60 degrees: what faces farther aside belongs to another chart.
const ASIDE: f32 = 0.5;
/// Texels around each chart.
pub(crate) const GAP: u32 = 3;
/// Directions between 0 and 90 degrees that a chart may be turned to.
const TURNS: usize = 18;
/// After so many rounds faces that overlap stay alone.
const ROUNDS: usize = 6;
/// A texel whose middle is so near to an edge of a face may belong to either side.
const EDGE: f32 = 0.02;

/// Some faces, seen straight on.
struct Chart {
    faces: Vec<u32>,
    /// The axes of the texture in the world.
    axes: [Vec3; 2],
    /// The least and the greatest coordinates along them.
    low: Vec2,
    high: Vec2,
}

/// `mesh` with coordinates in a square texture of `side` texels; vertices where charts meet come once for each chart.
pub fn unwrap(mesh: Mesh, side: u32) -> Result<Mesh, MeshError> {
    let charts = charts(&mesh, side);
    let (scale, places) = pack(&charts, side);
    let parts = mesh.into_parts();
    let mut made = dreamsmith_base::MeshParts {
        materials: parts.materials,
        face_materials: parts.face_materials,
        faces: parts.faces.clone(),
        ..Default::default()
    };
    for (chart, place) in charts.iter().zip(places) {
        let mut known: HashMap<u32, u32> = HashMap::new();
        for face in &chart.faces {
            for (c, vert) in parts.faces[*face as usize].iter().enumerate() {
                let index = *known.entry(*vert).or_insert_with(|| {
                    let i = *vert as usize;
                    made.verts.push(parts.verts[i]);
                    made.normals.extend(parts.normals.get(i));
                    made.colors.extend(parts.colors.get(i));
                    let at = chart.flat(parts.verts[i].into()) - chart.low;
                    made.uvs.push(((at * scale + place) / side as f32).into());
                    made.verts.len() as u32 - 1
                });
                made.faces[*face as usize][c] = index;
            }
        }
    }
    made.build()
}

impl Chart {
    fn new(mesh: &Mesh, faces: Vec<u32>) -> Self {
        let normal: Vec3 = faces.iter().map(|face| area_normal(mesh, *face)).sum();
        let normal = normal.normalize_or(Vec3::Y);
        let (a, b) = normal.any_orthonormal_pair();
        let turned = |turn: usize| {
            let angle = std::f32::consts::FRAC_PI_2 * turn as f32 / TURNS as f32;
            let (sin, cos) = angle.sin_cos();
            let mut chart = Self {
                faces: vec![],
                axes: [cos * a + sin * b, cos * b - sin * a],
                low: Vec2::INFINITY,
                high: Vec2::NEG_INFINITY,
            };
            for vert in faces.iter().flat_map(|face| mesh.triangle(*face as usize)) {
                let at = chart.flat(vert);
                (chart.low, chart.high) = (chart.low.min(at), chart.high.max(at));
            }
            chart
        };
        let area = |chart: &Self| chart.size().x * chart.size().y;
        let best = (0..TURNS)
            .map(turned)
            .min_by(|p, q| area(p).total_cmp(&area(q)));
        let mut chart = best.unwrap_or_else(|| turned(0));
        // Wider than high, for shelves.
        if chart.size().y > chart.size().x {
            let [x, y] = chart.axes;
            chart.axes = [y, -x];
            (chart.low, chart.high) = (
                Vec2::new(chart.low.y, -chart.high.x),
                Vec2::new(chart.high.y, -chart.low.x),
            );
        }
        Self { faces, ..chart }
    }

    fn flat(&self, vert: Vec3) -> Vec2 {
        Vec2::new(vert.dot(self.axes[0]), vert.dot(self.axes[1]))
    }

    fn size(&self) -> Vec2 {
        self.high - self.low
    }
}

/// All charts, none of which overlaps itself where texels are about as fine as they will be.
fn charts(mesh: &Mesh, side: u32) -> Vec<Chart> {
    let neighbours = neighbours(mesh);
    let fine = 0.8 * side as f32 / (mesh.area() as f32).sqrt().max(f32::MIN_POSITIVE);
    let mut charts = vec![];
    let mut left: Vec<u32> = (0..mesh.faces().len() as u32).collect();
    for round in 0.. {
        if left.is_empty() {
            break;
        }
        let grown = match round < ROUNDS {
            true => grow(mesh, &neighbours, &left),
            false => left.iter().map(|face| vec![*face]).collect(),
        };
        left.clear();
        for faces in grown {
            let chart = Chart::new(mesh, faces);
            let (flat, over) = split_overlaps(mesh, &chart, fine);
            left.extend(over.iter().copied());
            charts.push(match over.is_empty() {
                true => chart,
                false => Chart::new(mesh, flat),
            });
        }
    }
    charts
}

/// The face on the other side of each edge; itself where there is none.
fn neighbours(mesh: &Mesh) -> Vec<[u32; 3]> {
    let mut of_edge = HashMap::new();
    for (face, verts) in mesh.faces().iter().enumerate() {
        for c in 0..3 {
            of_edge.insert((verts[c], verts[(c + 1) % 3]), face as u32);
        }
    }
    let across = |(face, verts): (usize, &[u32; 3])| {
        [0, 1, 2].map(|c| {
            let edge = (verts[(c + 1) % 3], verts[c]);
            of_edge.get(&edge).copied().unwrap_or(face as u32)
        })
    };
    mesh.faces().iter().enumerate().map(across).collect()
}

/// Twice the area along the normal.
fn area_normal(mesh: &Mesh, face: u32) -> Vec3 {
    let [a, b, c] = mesh.triangle(face as usize);
    (b - a).cross(c - a)
}

/// Connected groups of the faces `left` that face about the same way, the largest face of each first.
fn grow(mesh: &Mesh, neighbours: &[[u32; 3]], left: &[u32]) -> Vec<Vec<u32>> {
    let mut is_free = vec![false; mesh.faces().len()];
    left.iter().for_each(|face| is_free[*face as usize] = true);
    let size = |face: &u32| area_normal(mesh, *face).length();
    let mut seeds = left.to_vec();
    seeds.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
    let mut grown = vec![];
    for seed in seeds {
        if !is_free[seed as usize] {
            continue;
        }
        let (mut faces, mut normal) = (vec![], area_normal(mesh, seed));
        let alike = |face: u32, normal: Vec3| {
            let other = area_normal(mesh, face);
            other.dot(normal) / (other.length() * normal.length()).max(f32::MIN_POSITIVE)
        };
        // What faces the most alike comes first; of equals the one with the greater number.
        let mut heap = BinaryHeap::from([(u32::MAX, seed)]);
        while let Some((_, face)) = heap.pop() {
            if !is_free[face as usize] || alike(face, normal) < ASIDE && face != seed {
                continue;
            }
            is_free[face as usize] = false;
            faces.push(face);
            if face != seed {
                normal += area_normal(mesh, face);
            }
            for next in neighbours[face as usize] {
                if is_free[next as usize] {
                    let likeness = (alike(next, normal).max(0.0) * 1e6) as u32;
                    heap.push((likeness, next));
                }
            }
        }
        grown.push(faces);
    }
    grown
}

/// The faces of `chart` that have their texels for themselves, and those that lie over them, with `scale` texels for a
/// unit of length.
fn split_overlaps(mesh: &Mesh, chart: &Chart, scale: f32) -> (Vec<u32>, Vec<u32>) {
    let width = (chart.size().x * scale).ceil() as usize + 2;
    let height = (chart.size().y * scale).ceil() as usize + 2;
    let mut is_taken = vec![false; width * height];
    let (mut flat, mut over) = (vec![], vec![]);
    for face in &chart.faces {
        let corners = mesh
            .triangle(*face as usize)
            .map(|vert| (chart.flat(vert) - chart.low) * scale + 1.0);
        let texels: Vec<usize> = texels_inside(corners, [width, height], EDGE)
            .map(|(x, y, _)| y * width + x)
            .collect();
        if texels.iter().any(|texel| is_taken[*texel]) {
            over.push(*face);
        } else {
            texels.into_iter().for_each(|texel| is_taken[texel] = true);
            flat.push(*face);
        }
    }
    (flat, over)
}

/// The texels of a picture of `size` whose middles lie in a triangle of the plane, or out of it by less than `-edge` in
/// barycentric coordinates, with these.
pub(crate) fn texels_inside(
    corners: [Vec2; 3],
    size: [usize; 2],
    edge: f32,
) -> impl Iterator<Item = (usize, usize, Vec3)> {
    let [a, b, c] = corners;
    let low = a.min(b).min(c) - 1.0;
    let high = a.max(b).max(c) + 1.0;
    let range = |low: f32, high: f32, n: usize| {
        let clamped = |x: f32| x.clamp(0.0, n as f32) as usize;
        clamped(low.floor())..clamped(high.ceil())
    };
    let double = (b - a).perp_dot(c - a);
    let (columns, rows) = (range(low.x, high.x, size[0]), range(low.y, high.y, size[1]));
    let texels = rows.flat_map(move |y| columns.clone().map(move |x| (x, y)));
    texels.filter_map(move |(x, y)| {
        let at = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
        let share = |p: Vec2, q: Vec2| (q - p).perp_dot(at - p) / double;
        let shares = Vec3::new(share(b, c), share(c, a), share(a, b));
        (double != 0.0 && shares.min_element() > edge).then_some((x, y, shares))
    })
}

/// Texels for a unit of length, and where the lowest corner of each chart lies in the texture.
fn pack(charts: &[Chart], side: u32) -> (f32, Vec<Vec2>) {
    let mut order: Vec<usize> = (0..charts.len()).collect();
    let height = |i: &usize| charts[*i].size().y;
    order.sort_by(|a, b| height(b).total_cmp(&height(a)).then(a.cmp(b)));
    let area: f32 = charts
        .iter()
        .map(|chart| chart.size().element_product())
        .sum();
    let (mut low, mut high) = (0.0, side as f32 / area.sqrt().max(f32::MIN_POSITIVE));
    let mut best = (0.0, vec![Vec2::splat(GAP as f32); charts.len()]);
    for _ in 0..24 {
        let scale = 0.5 * (low + high);
        match on_shelves(charts, &order, scale, side) {
            Some(places) => {
                low = scale;
                best = (scale, places);
            }
            None => high = scale,
        }
    }
    best
}

/// Where charts lie side by side in rows, as high as the first of each, if all of them fit.
fn on_shelves(charts: &[Chart], order: &[usize], scale: f32, side: u32) -> Option<Vec<Vec2>> {
    let mut places = vec![Vec2::ZERO; charts.len()];
    let (mut x, mut y, mut shelf) = (0, 0, 0);
    for i in order {
        let size = (charts[*i].size() * scale).ceil() + 2.0 * GAP as f32;
        let (width, height) = (size.x as u32, size.y as u32);
        if x + width > side {
            (x, y, shelf) = (0, y + shelf, 0);
        }
        shelf = shelf.max(height);
        if width > side || y + shelf > side {
            return None;
        }
        places[*i] = Vec2::new((x + GAP) as f32, (y + GAP) as f32);
        x += width;
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::shapes::{solid, torus};

    #[test]
    fn no_texel_has_two_faces_and_the_square_is_well_used() -> Result<(), Box<dyn std::error::Error>>
    {
        let mesh = solid(24, torus);
        let (faces, area) = (mesh.faces().len(), mesh.area());
        let side = 256;
        let flat = unwrap(mesh, side)?;
        assert_eq!(flat.faces().len(), faces);
        assert!((flat.area() - area).abs() < 1e-6 * area);
        assert!(flat.uvs().iter().flatten().all(|x| (0.0..=1.0).contains(x)));
        let mut owners = vec![0u32; (side * side) as usize];
        for face in flat.faces() {
            let corners = face.map(|i| Vec2::from(flat.uvs()[i as usize]) * side as f32);
            for (x, y, _) in texels_inside(corners, [side as usize; 2], 1e-3) {
                owners[y * side as usize + x] += 1;
            }
        }
        let used = owners.iter().filter(|n| **n > 0).count();
        let twice = owners.iter().filter(|n| **n > 1).count();
        // Faces are told apart on a grid a little coarser or finer than the one they end on.
        assert!(twice < used / 500, "{twice} of {used}");
        assert!(used > (side * side) as usize / 3, "{used}");
        Ok(())
    }
}
