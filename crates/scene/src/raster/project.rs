//! From faces in the world to triangles on the screen: the camera's transform, clipping
//! [Sutherland74], fixed-point corners, and 1/depth as a plane over the screen [Olano97].
//! Leaves out culling: faces are seen from both sides.

use dreamsmith_base::Camera;
use glam::{DVec2, DVec3, Mat3, Vec2, Vec3};
use rayon::prelude::*;

use super::coverage::{MAX_EXTENT, SUBPIXELS, doubled_area};

/// The nearest depth that is drawn, as a share of the farthest depth of the mesh.
const NEAR: f64 = 1e-4;
/// Where a face and its twin of the other winding lie in one place, the one seen from its front wins.
const BACK_BIAS: f64 = 1.0 - 1e-5;
/// A clipped triangle gains at most one corner from each of the five planes.
const MAX_CORNERS: usize = 8;
const FACES_PER_JOB: usize = 4096;

/// The numbers of a camera that drawing needs, in f64: x right, y up, z backwards; pixels from the
/// upper left corner.
pub(super) struct View {
    pub(super) size: [i32; 2],
    pub(super) focal: DVec2,
    pub(super) center: DVec2,
    /// Vertices in front of the camera `[V, 3]`.
    pub(super) verts: Vec<DVec3>,
    near: f64,
}

impl View {
    pub(super) fn new(camera: &Camera, verts: &[Vec3]) -> Self {
        let lens = camera.lens();
        let pose = camera.camera_to_world();
        let rotation = Mat3::from(pose.matrix3).as_dmat3().transpose();
        let eye = camera.position().as_dvec3();
        let verts: Vec<DVec3> = verts
            .iter()
            .map(|v| rotation * (v.as_dvec3() - eye))
            .collect();
        let farthest = verts.iter().fold(0.0, |far: f64, v| far.max(-v.z));
        Self {
            size: lens.size().map(|side| side as i32),
            focal: Vec2::from(lens.focal()).as_dvec2(),
            center: Vec2::from(lens.center()).as_dvec2(),
            near: farthest * NEAR,
            verts,
        }
    }

    /// The direction through a point of the picture, of depth 1.
    pub(super) fn dir(&self, pixel: DVec2) -> DVec3 {
        let plane = (pixel - self.center) / self.focal;
        DVec3::new(plane.x, -plane.y, -1.0)
    }

    fn project(&self, v: DVec3) -> DVec2 {
        self.center + self.focal * DVec2::new(v.x, -v.y) / -v.z
    }

    /// Half-spaces through the eye that hold the picture and a wide margin around it.
    fn guard(&self) -> [DVec3; 4] {
        let [width, height] = self.size.map(f64::from);
        let margin_x = (f64::from(MAX_EXTENT) - width) / 2.0 - 1.0;
        let margin_y = (f64::from(MAX_EXTENT) - height) / 2.0 - 1.0;
        let (f, c) = (self.focal, self.center);
        [
            DVec3::new(f.x, 0.0, -c.x - margin_x),
            DVec3::new(-f.x, 0.0, c.x - width - margin_x),
            DVec3::new(0.0, -f.y, -c.y - margin_y),
            DVec3::new(0.0, f.y, c.y - height - margin_y),
        ]
    }
}

/// A face, or a part of one, on the screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScreenTriangle {
    pub(super) face: u32,
    /// In fixed point, clockwise.
    pub(super) corners: [[i32; 2]; 3],
    /// 1/depth grows by this with x and y in pixels, and is this at `origin`.
    slope: DVec2,
    origin: DVec2,
    at_origin: f64,
    /// The least and greatest 1/depth of the corners.
    pub(super) range: [f32; 2],
}

impl ScreenTriangle {
    /// 1/depth in the middle of a pixel.
    pub(super) fn inverse_depth(&self, x: i32, y: i32) -> f64 {
        let middle = DVec2::new(f64::from(x) + 0.5, f64::from(y) + 0.5);
        self.at_origin + self.slope.dot(middle - self.origin)
    }

    /// By how much 1/depth grows with x and y in pixels.
    pub(super) fn slope(&self) -> DVec2 {
        self.slope
    }

    /// The first and last pixel in x and y that a sample of it may lie in, inside `size`.
    pub(super) fn pixels(&self, size: [i32; 2]) -> Option<[[i32; 2]; 2]> {
        let mut bounds = [[0; 2]; 2];
        for (axis, bound) in bounds.iter_mut().enumerate() {
            let [a, b, c] = self.corners.map(|corner| corner[axis]);
            let low = a.min(b).min(c).div_euclid(SUBPIXELS).max(0);
            let high = a.max(b).max(c).div_euclid(SUBPIXELS).min(size[axis] - 1);
            if low > high {
                return None;
            }
            *bound = [low, high];
        }
        Some(bounds)
    }
}

/// The triangles on the screen, in the order of the faces.
pub(super) fn project(view: &View, faces: &[[u32; 3]]) -> Vec<ScreenTriangle> {
    let guard = view.guard();
    let job = |(i, faces): (usize, &[[u32; 3]])| {
        let mut triangles = Vec::with_capacity(faces.len());
        for (j, face) in faces.iter().enumerate() {
            project_face(view, &guard, i * FACES_PER_JOB + j, face, &mut triangles);
        }
        triangles
    };
    if faces.len() <= FACES_PER_JOB {
        return job((0, faces));
    }
    let jobs = faces.par_chunks(FACES_PER_JOB).enumerate().map(job);
    jobs.collect::<Vec<_>>().concat()
}

fn project_face(
    view: &View,
    guard: &[DVec3; 4],
    face: usize,
    verts: &[u32; 3],
    out: &mut Vec<ScreenTriangle>,
) {
    let [a, b, c] = verts.map(|i| view.verts[i as usize]);
    let normal = (b - a).cross(c - a);
    let distance = normal.dot(a);
    // Seen exactly from the side, or no triangle at all.
    if distance == 0.0 {
        return;
    }
    let mut polygon = Polygon::new([a, b, c]);
    polygon.clip(|v| -v.z - view.near);
    for plane in guard {
        polygon.clip(|v| plane.dot(v));
    }
    let corners = polygon.corners();
    if corners.is_empty() {
        return;
    }
    // The ray `dir` meets the plane at t with t normal.dir = distance, and t is the depth.
    let bias = if distance < 0.0 { 1.0 } else { BACK_BIAS };
    let [u, v, w] = (normal / distance * bias).to_array();
    let slope = DVec2::new(u, -v) / view.focal;
    let at_center = -w;
    let mut range = [f64::INFINITY, 0.0];
    let mut screen = [[0; 2]; MAX_CORNERS];
    for (corner, place) in corners.iter().zip(&mut screen) {
        let depth = (1.0 / -corner.z) * bias;
        range = [range[0].min(depth), range[1].max(depth)];
        let scaled = (view.project(*corner) * f64::from(SUBPIXELS)).round();
        *place = [scaled.x as i32, scaled.y as i32];
    }
    for i in 2..corners.len() {
        let mut corners = [screen[0], screen[i - 1], screen[i]];
        match doubled_area(corners) {
            0 => continue,
            area if area < 0 => corners.swap(1, 2),
            _ => {}
        }
        let triangle = ScreenTriangle {
            face: face as u32,
            corners,
            slope,
            origin: view.center,
            at_origin: at_center,
            range: range.map(|depth| depth as f32),
        };
        if triangle.pixels(view.size).is_some() {
            out.push(triangle);
        }
    }
}

struct Polygon {
    corners: [DVec3; MAX_CORNERS],
    len: usize,
}

impl Polygon {
    fn new([a, b, c]: [DVec3; 3]) -> Self {
        let mut corners = [DVec3::ZERO; MAX_CORNERS];
        corners[..3].copy_from_slice(&[a, b, c]);
        Self { corners, len: 3 }
    }

    fn corners(&self) -> &[DVec3] {
        &self.corners[..self.len]
    }

    /// Keeps the side where `distance` is positive. A cut is computed from its inner end, so that
    /// neighbours cut their common edge in one place.
    fn clip(&mut self, distance: impl Fn(DVec3) -> f64) {
        let old = self.corners;
        let old = &old[..self.len];
        if old.iter().all(|v| distance(*v) >= 0.0) {
            return;
        }
        self.len = 0;
        for (i, &from) in old.iter().enumerate() {
            let to = old[(i + 1) % old.len()];
            let (d_from, d_to) = (distance(from), distance(to));
            if d_from >= 0.0 {
                self.push(from);
            }
            if (d_from >= 0.0) != (d_to >= 0.0) {
                let (inner, outer, d_in, d_out) = match d_from >= 0.0 {
                    true => (from, to, d_from, d_to),
                    false => (to, from, d_to, d_from),
                };
                self.push(inner + (outer - inner) * (d_in / (d_in - d_out)));
            }
        }
    }

    fn push(&mut self, corner: DVec3) {
        // A convex polygon cut by five planes has at most eight corners; rounding could add none.
        if self.len < MAX_CORNERS {
            self.corners[self.len] = corner;
            self.len += 1;
        }
    }
}
