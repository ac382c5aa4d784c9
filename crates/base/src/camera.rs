//! A pinhole camera: where it stands, where it looks, and which ray belongs to a pixel.
//! Right-handed, +Y up, the camera looks down its own -Z (OpenGL, as glTF and Blender-format
//! transforms); pixel row 0 on top. Leaves out lens distortion and orthographic views.

use std::f32::consts::FRAC_PI_2;

use glam::{Affine3A, Mat3A, Mat4, Vec2, Vec3, Vec3A, Vec4};

/// An angle.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Radians(pub f32);

impl Radians {
    /// From degrees.
    pub fn from_degrees(degrees: f32) -> Self {
        Self(degrees.to_radians())
    }

    /// In degrees.
    pub fn degrees(self) -> f32 {
        self.0.to_degrees()
    }
}

/// Why there is no such camera.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CameraError {
    /// NaN or infinity.
    #[error("the camera's {what} holds NaN or infinity")]
    NotFinite {
        /// Which of its numbers.
        what: &'static str,
    },
    /// The matrix scales, shears, mirrors or flattens.
    #[error(
        "the camera's matrix is no rotation: its determinant is {determinant} and its axes deviate \
         from orthonormal by {deviation}; expected a rotation and a translation"
    )]
    NotARotation {
        /// Of its upper left 3x3.
        determinant: f32,
        /// The largest difference of R^T R from the identity.
        deviation: f32,
    },
    /// Nowhere to look: the eye is at the target, or up is along the view.
    #[error("a camera at {eye} cannot look at {target} with {up} upwards")]
    NoDirection {
        /// Where it should stand.
        eye: Vec3,
        /// Where it should look.
        target: Vec3,
        /// What should be upwards.
        up: Vec3,
    },
    /// Not between 0 and 180 degrees, or no pixels.
    #[error(
        "a camera needs a focal length above 0 and a picture of at least 1x1, not {focal:?} pixels \
         and {width}x{height}"
    )]
    Lens {
        /// Horizontal and vertical focal length in pixels.
        focal: [f32; 2],
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// How a camera maps directions to pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lens {
    focal: Vec2,
    center: Vec2,
    size: [u32; 2],
}

impl Lens {
    /// Focal lengths and principal point in pixels, and the picture's width and height.
    pub fn new(focal: [f32; 2], center: [f32; 2], size: [u32; 2]) -> Result<Self, CameraError> {
        let [width, height] = size;
        if focal.iter().chain(&center).any(|x| !x.is_finite()) {
            return Err(CameraError::NotFinite { what: "lens" });
        }
        if focal.iter().any(|f| *f <= 0.0) || width == 0 || height == 0 {
            return Err(CameraError::Lens {
                focal,
                width,
                height,
            });
        }
        Ok(Self {
            focal: focal.into(),
            center: center.into(),
            size,
        })
    }

    /// A lens whose picture is as high as `fov_y`.
    pub fn from_fov_y(fov_y: Radians, size: [u32; 2]) -> Result<Self, CameraError> {
        Self::from_half_angle(fov_y, size[1], size)
    }

    /// A lens whose picture is as wide as `fov_x`: `camera_angle_x` of Blender's transforms.
    pub fn from_fov_x(fov_x: Radians, size: [u32; 2]) -> Result<Self, CameraError> {
        Self::from_half_angle(fov_x, size[0], size)
    }

    fn from_half_angle(fov: Radians, side: u32, size: [u32; 2]) -> Result<Self, CameraError> {
        let focal = side as f32 / 2.0 / (fov.0 / 2.0).tan();
        // Beyond 180 degrees the tangent is negative; at 180 it is finite only by rounding.
        let focal = if fov.0 < 2.0 * FRAC_PI_2 { focal } else { 0.0 };
        Self::new([focal; 2], size.map(|side| side as f32 / 2.0), size)
    }

    /// Width and height in pixels.
    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    /// Horizontal and vertical focal length in pixels.
    pub fn focal(&self) -> [f32; 2] {
        self.focal.into()
    }

    /// The principal point in pixels, from the upper left corner.
    pub fn center(&self) -> [f32; 2] {
        self.center.into()
    }

    /// The horizontal angle of view.
    pub fn fov_x(&self) -> Radians {
        Radians(2.0 * (self.size[0] as f32 / 2.0 / self.focal.x).atan())
    }

    /// The vertical angle of view.
    pub fn fov_y(&self) -> Radians {
        Radians(2.0 * (self.size[1] as f32 / 2.0 / self.focal.y).atan())
    }

    /// The same view in `size` pixels.
    pub fn resized(self, size: [u32; 2]) -> Result<Self, CameraError> {
        let scale = |i: usize| size[i] as f32 / self.size[i] as f32;
        let scale = Vec2::new(scale(0), scale(1));
        Self::new(
            (self.focal * scale).into(),
            (self.center * scale).into(),
            size,
        )
    }
}

/// Half a line in space: `origin + t dir`, where `dir` has length 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ray {
    /// Where it begins.
    pub origin: Vec3,
    /// Where it goes, of length 1.
    pub dir: Vec3,
}

/// A camera; its pose is always a rotation and a translation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    camera_to_world: Affine3A,
    lens: Lens,
}

/// How far a matrix from a file may be off a rotation: six digits, and some products.
const ROTATION_TOLERANCE: f32 = 1e-3;

impl Camera {
    /// A camera from a matrix, which must be a rotation and a translation within 1e-3; what it is
    /// off is removed.
    pub fn new(camera_to_world: Mat4, lens: Lens) -> Result<Self, CameraError> {
        if !camera_to_world.is_finite() {
            return Err(CameraError::NotFinite { what: "matrix" });
        }
        let pose = Affine3A::from_mat4(camera_to_world);
        let rotation = pose.matrix3;
        let off = (rotation.transpose() * rotation).to_cols_array();
        let identity = Mat3A::IDENTITY.to_cols_array();
        let deviation = off
            .iter()
            .zip(identity)
            .fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()));
        let determinant = rotation.determinant();
        if determinant <= 0.0 || deviation > ROTATION_TOLERANCE {
            return Err(CameraError::NotARotation {
                determinant,
                deviation,
            });
        }
        // Gram and Schmidt, from the direction of view on.
        let back = rotation.z_axis.normalize();
        let right = rotation.y_axis.cross(back).normalize();
        let rotation = Mat3A::from_cols(right, back.cross(right), back);
        Ok(Self {
            camera_to_world: Affine3A {
                matrix3: rotation,
                translation: pose.translation,
            },
            lens,
        })
    }

    /// A camera at `eye` that has `target` in the middle, with `up` upwards.
    pub fn look_at(eye: Vec3, target: Vec3, up: Vec3, lens: Lens) -> Result<Self, CameraError> {
        let nowhere = CameraError::NoDirection { eye, target, up };
        let back = (eye - target).try_normalize().ok_or(nowhere.clone())?;
        let right = up.cross(back).try_normalize().ok_or(nowhere)?;
        let above = back.cross(right);
        let column = |v: Vec3, w: f32| Vec4::from((v, w));
        let matrix = Mat4::from_cols(
            column(right, 0.0),
            column(above, 0.0),
            column(back, 0.0),
            column(eye, 1.0),
        );
        Self::new(matrix, lens)
    }

    /// A camera on a sphere around the origin: azimuth 0 is in front (+Z), 90 degrees is on the +X
    /// side; elevation 90 degrees is above, where the picture's top is what lies behind.
    pub fn orbit(
        azimuth: Radians,
        elevation: Radians,
        distance: f32,
        lens: Lens,
    ) -> Result<Self, CameraError> {
        let ((sin_a, cos_a), (sin_e, cos_e)) = (azimuth.0.sin_cos(), elevation.0.sin_cos());
        let eye = distance * Vec3::new(sin_a * cos_e, sin_e, cos_a * cos_e);
        // The derivative of the eye by the elevation is upwards even at the poles.
        let up = Vec3::new(-sin_a * sin_e, cos_e, -cos_a * sin_e);
        Self::look_at(eye, Vec3::ZERO, up, lens)
    }

    /// A camera from `transform_matrix` of a Blender or nerfstudio `transforms.json`: rows of the
    /// camera-to-world matrix in a world whose +Z is up, which becomes our +Y.
    pub fn from_blender(rows: [[f32; 4]; 4], lens: Lens) -> Result<Self, CameraError> {
        let matrix = Mat4::from_cols_array_2d(&rows).transpose();
        Self::new(z_up_to_y_up() * matrix, lens)
    }

    /// The `transform_matrix` of this camera, the reverse of [`Camera::from_blender`].
    pub fn to_blender(&self) -> [[f32; 4]; 4] {
        let matrix = z_up_to_y_up().transpose() * Mat4::from(self.camera_to_world);
        matrix.transpose().to_cols_array_2d()
    }

    /// The pose.
    pub fn camera_to_world(&self) -> Affine3A {
        self.camera_to_world
    }

    /// From points of the world to points in front of the camera, which have a negative z.
    pub fn world_to_camera(&self) -> Affine3A {
        self.camera_to_world.inverse()
    }

    /// From points of the world to clip space: x and y in [-w, w] in the picture with y upwards, z
    /// from -w at `near` to w at `far`.
    pub fn world_to_clip(&self, near: f32, far: f32) -> Mat4 {
        let Lens {
            focal,
            center,
            size,
        } = self.lens;
        let [width, height] = size.map(|side| side as f32);
        let depth = near - far;
        let projection = Mat4::from_cols(
            Vec4::new(2.0 * focal.x / width, 0.0, 0.0, 0.0),
            Vec4::new(0.0, 2.0 * focal.y / height, 0.0, 0.0),
            Vec4::new(
                1.0 - 2.0 * center.x / width,
                2.0 * center.y / height - 1.0,
                (far + near) / depth,
                -1.0,
            ),
            Vec4::new(0.0, 0.0, 2.0 * far * near / depth, 0.0),
        );
        projection * Mat4::from(self.world_to_camera())
    }

    /// The lens.
    pub fn lens(&self) -> Lens {
        self.lens
    }

    /// Where the camera stands.
    pub fn position(&self) -> Vec3 {
        self.camera_to_world.translation.into()
    }

    /// Where it looks, of length 1.
    pub fn direction(&self) -> Vec3 {
        (-self.camera_to_world.matrix3.z_axis).into()
    }

    /// The ray through a point of the picture in pixels: the middle of the first is (0.5, 0.5).
    pub fn ray(&self, x: f32, y: f32) -> Ray {
        let at = (Vec2::new(x, y) - self.lens.center) / self.lens.focal;
        let dir = self.camera_to_world.matrix3 * Vec3A::new(at.x, -at.y, -1.0);
        Ray {
            origin: self.position(),
            dir: dir.normalize().into(),
        }
    }

    /// The point of the picture in pixels that shows `point`; none behind the camera.
    pub fn project(&self, point: Vec3) -> Option<[f32; 2]> {
        let seen = self.world_to_camera().transform_point3(point);
        (seen.z < 0.0).then(|| {
            let at = Vec2::new(seen.x, -seen.y) / -seen.z;
            (at * self.lens.focal + self.lens.center).into()
        })
    }

    /// The same camera with a picture of `size` pixels.
    pub fn resized(self, size: [u32; 2]) -> Result<Self, CameraError> {
        Ok(Self {
            lens: self.lens.resized(size)?,
            ..self
        })
    }
}

/// Turns a world whose +Z is up into one whose +Y is: (x, y, z) to (x, z, -y).
fn z_up_to_y_up() -> Mat4 {
    Mat4::from_cols_array_2d(&[
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, -1.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens() -> Lens {
        Lens::from_fov_y(Radians::from_degrees(40.0), [80, 60]).unwrap()
    }

    #[test]
    fn rays_go_through_what_they_show() {
        let eye = Vec3::new(1.0, 2.0, 3.0);
        let camera = Camera::look_at(eye, Vec3::new(0.1, -0.2, 0.3), Vec3::Y, lens()).unwrap();
        for [x, y] in [[0.5, 0.5], [40.0, 30.0], [79.5, 3.0]] {
            let ray = camera.ray(x, y);
            let [u, v] = camera.project(ray.origin + 1.7 * ray.dir).unwrap();
            assert!((u - x).abs() < 1e-3 && (v - y).abs() < 1e-3);
            let clip = camera.world_to_clip(0.1, 10.0) * (ray.origin + 1.7 * ray.dir).extend(1.0);
            let [cx, cy] = [clip.x / clip.w, clip.y / clip.w];
            assert!((cx - (x / 40.0 - 1.0)).abs() < 1e-4 && (cy - (1.0 - y / 30.0)).abs() < 1e-4);
        }
        assert!(camera.project(eye - camera.direction()).is_none());
    }

    #[test]
    fn depth_of_clip_space_runs_from_near_to_far() {
        let camera = Camera::orbit(Radians(0.3), Radians(0.2), 2.0, lens()).unwrap();
        for (distance, z) in [(0.5, -1.0), (9.0, 1.0)] {
            let point = camera.position() + distance * camera.direction();
            let clip = camera.world_to_clip(0.5, 9.0) * point.extend(1.0);
            assert!((clip.z / clip.w - z).abs() < 1e-4);
        }
    }

    #[test]
    fn orbits_begin_in_front_and_turn_to_the_right_side() {
        let at = |azimuth: f32, elevation: f32| {
            let [azimuth, elevation] = [azimuth, elevation].map(Radians::from_degrees);
            Camera::orbit(azimuth, elevation, 2.0, lens()).unwrap()
        };
        assert!((at(0.0, 0.0).position() - Vec3::new(0.0, 0.0, 2.0)).length() < 1e-6);
        assert!((at(90.0, 0.0).position() - Vec3::new(2.0, 0.0, 0.0)).length() < 1e-6);
        let above = at(0.0, 90.0);
        assert!((above.direction() + Vec3::Y).length() < 1e-6);
        let [_, behind] = above.project(Vec3::new(0.0, 0.0, -0.5)).unwrap();
        assert!(behind < 30.0);
    }

    #[test]
    fn blender_matrices_come_back() {
        let camera = Camera::orbit(Radians(0.7), Radians(0.4), 3.0, lens()).unwrap();
        let rows = camera.to_blender();
        // Blender's world has +Z up.
        assert!((rows[2][3] - camera.position().y).abs() < 1e-6);
        let back = Camera::from_blender(rows, lens()).unwrap();
        let difference = back.camera_to_world().inverse() * camera.camera_to_world();
        assert!(difference.abs_diff_eq(Affine3A::IDENTITY, 1e-5));
    }

    #[test]
    fn bad_matrices_are_refused() {
        let with = |f: fn(&mut Mat4)| {
            let mut matrix = Mat4::IDENTITY;
            f(&mut matrix);
            Camera::new(matrix, lens()).unwrap_err()
        };
        assert!(matches!(
            with(|m| m.x_axis.y = f32::NAN),
            CameraError::NotFinite { .. }
        ));
        for change in [
            (|m: &mut Mat4| m.x_axis.x = 0.0) as fn(&mut Mat4),
            |m| m.x_axis.x = 2.0,
            |m| m.z_axis.z = -1.0,
            |m| m.x_axis.y = 0.5,
        ] {
            assert!(matches!(with(change), CameraError::NotARotation { .. }));
        }
        let up = Camera::look_at(Vec3::Y, Vec3::ZERO, Vec3::Y, lens());
        assert!(matches!(up, Err(CameraError::NoDirection { .. })));
        for degrees in [0.0, 180.0, 200.0, f32::NAN] {
            assert!(Lens::from_fov_y(Radians::from_degrees(degrees), [8, 8]).is_err());
        }
        assert!(Lens::from_fov_y(Radians(1.0), [0, 8]).is_err());
    }
}
