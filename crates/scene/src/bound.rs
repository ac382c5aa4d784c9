//! Where the scene is: the cube of the world that becomes the box [-1, 1]^3.
//! Leaves out unbounded scenes: what lies outside the cube is background.

use dreamsmith_base::{Camera, Ray};
use glam::{DMat3, DVec3, Vec3};
use serde::{Deserialize, Serialize};

use crate::reconstruct_error::SpecError;

/// How the cube is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Bound {
    /// Around the point that all cameras look at, as large as what they see there.
    #[default]
    Cameras,
    /// Around a point of the world, whose +Y is up.
    Cube {
        /// The middle.
        center: [f32; 3],
        /// Half the length of an edge.
        half_side: f32,
    },
}

/// From the world to the box: `(point - center) / half_side`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SceneCube {
    /// The middle, in the world.
    pub center: [f32; 3],
    /// Half an edge, in the world's units.
    pub half_side: f32,
}

impl Bound {
    /// The cube for a scene seen by `cameras`.
    pub fn cube(&self, cameras: &[Camera]) -> Result<SceneCube, SpecError> {
        let (center, half_side) = match self {
            Self::Cameras => {
                let center = focus(cameras);
                (center, reach(cameras, center))
            }
            Self::Cube { center, half_side } => (Vec3::from(*center), *half_side),
        };
        if !(center.is_finite() && half_side.is_finite() && half_side > 0.0) {
            return Err(SpecError::Range {
                key: "bound",
                found: format!("a cube of half side {half_side} around {center}"),
                expected: "a finite cube: give one with `--bound`",
            });
        }
        Ok(SceneCube {
            center: center.into(),
            half_side,
        })
    }
}

impl SceneCube {
    /// A ray of the world in the box. Lengths are those of the world over `half_side`.
    pub fn ray_in_box(&self, ray: &Ray) -> Ray {
        Ray {
            origin: (ray.origin - Vec3::from(self.center)) / self.half_side,
            dir: ray.dir,
        }
    }

    /// A point of the box in the world.
    pub fn to_world(&self, point: Vec3) -> Vec3 {
        point * self.half_side + Vec3::from(self.center)
    }
}

/// The point nearest to all axes of view, in the sense of least squares: (sum of I - d d^T) p = sum of (I - d d^T) o.
fn focus(cameras: &[Camera]) -> Vec3 {
    let (mut sum, mut target) = (DMat3::ZERO, DVec3::ZERO);
    let mut middle = DVec3::ZERO;
    for camera in cameras {
        let (origin, dir) = (camera.position().as_dvec3(), camera.direction().as_dvec3());
        let across = DMat3::IDENTITY - DMat3::from_cols(dir * dir.x, dir * dir.y, dir * dir.z);
        sum += across;
        target += across * origin;
        middle += (origin + dir) / cameras.len() as f64;
    }
    // Parallel axes meet nowhere: a ten-thousandth of a camera's say keeps the answer near the cameras.
    let say = 1e-4 * cameras.len() as f64;
    ((sum + DMat3::from_diagonal(DVec3::splat(say))).inverse() * (target + say * middle)).as_vec3()
}

/// The largest half width that any camera sees at the distance of `center`.
fn reach(cameras: &[Camera], center: Vec3) -> f32 {
    let seen = cameras.iter().map(|camera| {
        let fov = camera.lens().fov_x().0.max(camera.lens().fov_y().0);
        camera.position().distance(center) * (fov / 2.0).tan()
    });
    seen.fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::{Lens, Radians};

    #[test]
    fn cameras_on_a_sphere_see_its_middle() -> Result<(), Box<dyn std::error::Error>> {
        let lens = Lens::from_fov_x(Radians(2.0 * 0.5f32.atan()), [8, 8])?;
        let mut cameras = vec![];
        for i in 0..10 {
            let azimuth = Radians(i as f32 * 0.7);
            cameras.push(Camera::orbit(azimuth, Radians(0.1 * i as f32), 4.0, lens)?);
        }
        let cube = Bound::Cameras.cube(&cameras)?;
        // The say of the middle of the cameras: 1e-4 of some units.
        assert!(Vec3::from(cube.center).length() < 1e-3, "{cube:?}");
        assert!((cube.half_side - 2.0).abs() < 1e-3, "{cube:?}");
        let alone = Bound::Cameras.cube(&cameras[..1])?;
        assert!(alone.half_side > 0.0);
        Ok(())
    }

    #[test]
    fn the_box_and_the_world_are_inverse() {
        let cube = SceneCube {
            center: [1.0, 2.0, 3.0],
            half_side: 4.0,
        };
        let ray = Ray {
            origin: Vec3::new(5.0, -2.0, 3.0),
            dir: Vec3::X,
        };
        let inside = cube.ray_in_box(&ray);
        assert_eq!(inside.origin, Vec3::new(1.0, -1.0, 0.0));
        assert_eq!(cube.to_world(inside.origin), ray.origin);
    }

    #[test]
    fn a_cube_without_a_size_is_refused() {
        let bound = Bound::Cube {
            center: [0.0; 3],
            half_side: 0.0,
        };
        assert!(bound.cube(&[]).is_err());
        assert!(Bound::Cameras.cube(&[]).is_err());
    }
}
