//! The parts of a mesh that share no vertex, and those that are more than dust.
//! Leaves out parts that only touch, or lie inside each other.

use dreamsmith_base::{Mesh, MeshError, MeshParts};

use super::SurfaceError;
use super::topology::vert_sets;

/// One part of a mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// The numbers of its faces, ascending.
    pub faces: Vec<u32>,
    /// The area of all of them.
    pub area: f64,
    /// What they enclose, if they are closed; below 0 if they look inwards.
    pub volume: f64,
}

/// The connected parts, the largest by area first.
pub fn components(mesh: &Mesh) -> Vec<Component> {
    let mut sets = vert_sets(mesh.faces(), mesh.verts().len());
    let mut number = vec![None; mesh.verts().len()];
    let mut parts: Vec<Component> = Vec::new();
    for (face, [vert, ..]) in mesh.faces().iter().enumerate() {
        let index = *number[sets.root(*vert) as usize].get_or_insert(parts.len());
        if index == parts.len() {
            parts.push(Component {
                faces: Vec::new(),
                area: 0.0,
                volume: 0.0,
            });
        }
        let [a, b, c] = mesh.triangle(face).map(|v| v.as_dvec3());
        parts[index].area += (b - a).cross(c - a).length() / 2.0;
        parts[index].volume += a.dot(b.cross(c)) / 6.0;
        parts[index].faces.push(face as u32);
    }
    // The sort is stable: of two equal parts the one with the first face comes first.
    parts.sort_by(|a, b| b.area.total_cmp(&a.area));
    parts
}

/// The parts of a closed mesh that enclose at least the share `least` of what the largest encloses.
pub fn without_dust(mesh: Mesh, least: f64) -> Result<Mesh, SurfaceError> {
    let parts = components(&mesh);
    let largest = parts.iter().map(|part| part.volume).fold(0.0, f64::max);
    let kept = |part: &&Component| part.volume >= least * largest;
    let mut faces: Vec<u32> = parts
        .iter()
        .filter(kept)
        .flat_map(|part| part.faces.iter().copied())
        .collect();
    if faces.len() == mesh.faces().len() {
        return Ok(mesh);
    }
    faces.sort_unstable();
    Ok(with_faces(&mesh, &faces)?)
}

/// Some faces of a mesh with the vertices they use and what these carry, both in their old order.
fn with_faces(mesh: &Mesh, chosen: &[u32]) -> Result<Mesh, MeshError> {
    let parts = mesh.clone().into_parts();
    let faces: Vec<[u32; 3]> = chosen
        .iter()
        .map(|face| parts.faces[*face as usize])
        .collect();
    let (used, faces) = used_verts(&faces, parts.verts.len());
    MeshParts {
        verts: pick(&parts.verts, &used),
        faces,
        normals: pick(&parts.normals, &used),
        uvs: pick(&parts.uvs, &used),
        colors: pick(&parts.colors, &used),
        face_materials: pick(&parts.face_materials, chosen),
        materials: parts.materials,
    }
    .build()
}

/// The vertices that some faces use, ascending, and the faces with numbers among these.
pub(super) fn used_verts(faces: &[[u32; 3]], n_verts: usize) -> (Vec<u32>, Vec<[u32; 3]>) {
    let mut number = vec![None; n_verts];
    for vert in faces.iter().flatten() {
        number[*vert as usize] = Some(0);
    }
    let used: Vec<u32> = (0..n_verts as u32)
        .filter(|v| number[*v as usize].is_some())
        .collect();
    for (new, old) in used.iter().enumerate() {
        number[*old as usize] = Some(new as u32);
    }
    let renumber = |face: &[u32; 3]| face.map(|vert| number[vert as usize].unwrap_or_default());
    let faces = faces.iter().map(renumber).collect();
    (used, faces)
}

/// The chosen values, or none where there are none.
fn pick<T: Copy>(values: &[T], chosen: &[u32]) -> Vec<T> {
    match values {
        [] => Vec::new(),
        _ => chosen.iter().map(|index| values[*index as usize]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::solid;
    use super::*;
    use glam::Vec3;

    #[test]
    fn parts_are_told_apart_with_what_they_carry() {
        let corners = |size: f32| [[0.0, 0.0, 0.0], [size, 0.0, 0.0], [0.0, size, 0.0]];
        let mesh = MeshParts {
            verts: [[[9.0; 3]].as_slice(), &corners(1.0), &corners(2.0)].concat(),
            faces: vec![[1, 2, 3], [4, 5, 6], [4, 6, 5]],
            colors: (0..7).map(|i| [i as f32; 3]).collect(),
            face_materials: vec![0, 1, 0],
            materials: vec![Default::default(); 2],
            ..MeshParts::default()
        };
        let mesh = mesh.build().unwrap();
        let parts = components(&mesh);
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (parts[0].faces.as_slice(), parts[0].area),
            ([1, 2].as_slice(), 4.0)
        );
        assert_eq!(
            (parts[1].faces.as_slice(), parts[1].area),
            ([0].as_slice(), 0.5)
        );

        let chosen = with_faces(&mesh, &[1, 2]).unwrap();
        assert_eq!(chosen.verts(), corners(2.0));
        assert_eq!(chosen.faces(), [[0, 1, 2], [0, 2, 1]]);
        assert_eq!(chosen.colors(), [[4.0; 3], [5.0; 3], [6.0; 3]]);
        assert_eq!(
            (chosen.material_of(0), chosen.material_of(1)),
            (Some(1), Some(0))
        );
    }

    #[test]
    fn dust_is_dropped_and_small_parts_stay() {
        // Balls with radii 0.5, 0.25 and 0.05: volumes 1, 1/8 and 1/1000.
        let balls = [(-0.4, 0.5), (0.5, 0.25), (0.9, 0.05)];
        let distance = |p: Vec3| {
            let to = balls.map(|(x, radius)| p.distance(Vec3::X * x) - radius);
            to.into_iter().fold(f32::INFINITY, f32::min)
        };
        let mesh = solid(64, distance);
        let left = |least| components(&without_dust(mesh.clone(), least).unwrap()).len();
        assert_eq!([1e-4, 0.01, 0.2, 1.0].map(left), [3, 2, 1, 1]);
        let ball = without_dust(mesh.clone(), 0.2).unwrap();
        // The facets lie inside the sphere: 1 % at radii of 16 cells.
        let volume = 4.0 / 3.0 * std::f64::consts::PI * 0.125;
        assert!((ball.signed_volume() / volume - 1.0).abs() < 0.01);
    }
}
