//! What is seen of fields whose integrals are known.

use std::error::Error;

use dreamsmith_base::{Camera, Lens, Radians};
use dreamsmith_scene::model::Sampling;
use dreamsmith_scene::render::{Extent, Frame, render};
use glam::Vec3;

use crate::known_field::{COLOR, Known, everywhere, plain};

/// What a camera 4 in front of the box sees of `field`; `sampling` as given.
fn look(field: Known, sampling: Sampling) -> Result<Frame, Box<dyn Error>> {
    let model = field.model(sampling)?;
    Ok(render(&model, &camera()?, Extent::WithNormals))
}

fn camera() -> Result<Camera, Box<dyn Error>> {
    let lens = Lens::from_fov_x(Radians(0.2), [9, 9])?;
    Ok(Camera::orbit(Radians(0.0), Radians(0.0), 8.0, lens)?)
}

const MIDDLE: usize = 4 * 9 + 4;

#[test]
fn a_slab_lets_through_what_beer_and_lambert_say() -> Result<(), Box<dyn Error>> {
    let (density, thick) = (3.0f32, 0.6);
    let slab = Known {
        density: |p| if p.z.abs() < 0.3 { 3.0 } else { 0.0 },
        slope: |p| Vec3::new(0.0, 0.0, -p.z),
        color: plain,
    };
    let frame = look(slab, everywhere(4096))?;
    let left = (-density * thick).exp();
    // A sample more or less at each face: a step of 2 sqrt(3) / 4096 times the density.
    let error = 2.0 * density * 3.47 / 4096.0;
    assert!((frame.opacity[MIDDLE] - (1.0 - left)).abs() < error);
    for (found, color) in frame.color[MIDDLE].iter().zip(COLOR) {
        let expected = color * (1.0 - left) + left;
        assert!((found - expected).abs() < error);
    }
    // The mean of an exponential that is cut off: 1 / density - thick left / (1 - left), behind 4 - 0.3 of the way.
    let depth = 3.7 + 1.0 / density - thick * left / (1.0 - left);
    assert!((frame.depth[MIDDLE] - 2.0 * depth).abs() < 2.0 * error);
    assert_eq!(frame.normals[MIDDLE], [0.0, 0.0, 1.0]);
    Ok(())
}

fn blob() -> Known {
    Known {
        density: |p| 4.0 * (-p.length_squared() / (2.0 * 0.2 * 0.2)).exp(),
        slope: |p| -p * (4.0 / 0.04 * (-p.length_squared() / (2.0 * 0.2 * 0.2)).exp()),
        color: plain,
    }
}

/// 1 - exp(-4 s sqrt(2 pi) exp(-d^2 / 2 s^2)): what the blob hides of a pixel whose ray passes its middle at distance d.
fn blob_opacity(pixel: usize) -> Result<f32, Box<dyn Error>> {
    let ray = camera()?.ray((pixel % 9) as f32 + 0.5, (pixel / 9) as f32 + 0.5);
    let origin = ray.origin / 2.0;
    let squared = (origin - origin.dot(ray.dir) * ray.dir).length_squared();
    let s = 0.2;
    let thickness = 4.0 * s * std::f32::consts::TAU.sqrt() * (-squared / (2.0 * s * s)).exp();
    Ok(1.0 - (-thickness).exp())
}

#[test]
fn a_blob_lets_through_what_its_integral_says() -> Result<(), Box<dyn Error>> {
    let frame = look(blob(), everywhere(1024))?;
    for (pixel, opacity) in frame.opacity.iter().enumerate() {
        // The rule of midpoints is exact to all orders for a bump; f32 sums of 500 samples remain.
        let expected = blob_opacity(pixel)?;
        assert!(
            (opacity - expected).abs() < 1e-4,
            "{pixel}: {opacity} {expected}"
        );
    }
    // By symmetry the normal in the middle looks at the camera.
    assert!(Vec3::from(frame.normals[MIDDLE]).dot(Vec3::Z) > 0.999);
    Ok(())
}

#[test]
fn hierarchical_samples_find_the_blob_too() -> Result<(), Box<dyn Error>> {
    let sampling = Sampling::Hierarchical {
        coarse: 64,
        fine: 128,
    };
    let frame = look(blob(), sampling)?;
    for pixel in [0, MIDDLE] {
        let (found, expected) = (frame.opacity[pixel], blob_opacity(pixel)?);
        // Each sample stands for the way to the next: half a bin of 1/32 too late on a slope of 4 / 0.2, less where it
        // is refined.
        assert!(
            (found - expected).abs() < 1e-2,
            "{pixel}: {found} {expected}"
        );
    }
    Ok(())
}

#[test]
fn nothing_is_the_background() -> Result<(), Box<dyn Error>> {
    let nothing = Known {
        density: |_| 0.0,
        slope: |_| Vec3::ZERO,
        color: plain,
    };
    let frame = look(nothing, everywhere(64))?;
    assert!(frame.color.iter().all(|color| *color == [1.0; 3]));
    assert!(frame.opacity.iter().all(|opacity| *opacity == 0.0));
    frame.depth_picture()?;
    frame.normal_picture()?;
    Ok(())
}
