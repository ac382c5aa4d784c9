//! A ball with two colours before nothing, ray traced: views with known cameras.

use dreamsmith_base::{Camera, CameraError, ImageError, Lens, Radians, Rgba};
use dreamsmith_data::View;
use dreamsmith_scene::hash_field::HashFieldSpec;
use dreamsmith_scene::occupancy::OccupancySpec;
use dreamsmith_scene::ray::hit_sphere;
use dreamsmith_scene::spec::{
    FieldSpec, HashSpec, Length, MarchSpec, OptimizerSpec, ReconstructSpec, RunSpec,
};

/// `n` views of `side` pixels around the ball of radius 0.8: red above, blue below, 16 rays a pixel.
pub fn views(n: usize, side: u32) -> Result<Vec<View>, Box<dyn std::error::Error>> {
    let lens = Lens::from_fov_x(Radians(0.7), [side, side])?;
    (0..n).map(|i| Ok(view(i, lens)?)).collect()
}

#[derive(Debug, thiserror::Error)]
enum TinyError {
    #[error(transparent)]
    Camera(#[from] CameraError),
    #[error(transparent)]
    Image(#[from] ImageError),
}

fn view(i: usize, lens: Lens) -> Result<View, TinyError> {
    // The golden angle spreads the cameras.
    let (azimuth, elevation) = (
        Radians(2.4 * i as f32),
        Radians(1.1 * (1.7 * i as f32).sin()),
    );
    let camera = Camera::orbit(azimuth, elevation, 3.0, lens)?;
    let [width, height] = lens.size();
    let mut rgba = vec![];
    for y in 0..height {
        for x in 0..width {
            let (mut sum, mut hits) = ([0.0f32; 3], 0.0);
            for part in 0..16 {
                let (dx, dy) = ((part % 4) as f32 / 4.0, (part / 4) as f32 / 4.0);
                let ray = camera.ray(x as f32 + dx + 0.125, y as f32 + dy + 0.125);
                if let Some(span) = hit_sphere(&ray, 0.8) {
                    let above = (ray.origin + span.t_near * ray.dir).y > 0.0;
                    let color = if above {
                        [0.9, 0.2, 0.1]
                    } else {
                        [0.1, 0.3, 0.8]
                    };
                    (0..3).for_each(|c| sum[c] += color[c]);
                    hits += 1.0;
                }
            }
            let byte = |x: f32| (255.0 * x).round() as u8;
            rgba.extend(sum.map(|x| byte(x / f32::max(hits, 1.0))));
            rgba.push(byte(hits / 16.0));
        }
    }
    Ok(View {
        name: format!("view {i}"),
        camera,
        picture: Rgba::new(width, height, rgba)?,
    })
}

/// A small hash field that learns in seconds.
pub fn spec(steps: u64) -> ReconstructSpec {
    let mut network = HashFieldSpec {
        density_width: 16,
        color_width: 16,
        ..HashFieldSpec::default()
    };
    network.grid.levels = 4;
    network.grid.log2_entries = 10;
    network.grid.base_resolution = 4;
    network.grid.finest_resolution = 16;
    network.first_levels = 4;
    ReconstructSpec {
        run: RunSpec {
            length: Length::Steps { steps },
            seed: 3,
            ..RunSpec::default()
        },
        optimizer: OptimizerSpec {
            floor: 1e-3,
            ..OptimizerSpec::default()
        },
        field: FieldSpec::Hash(HashSpec {
            network,
            occupancy: OccupancySpec {
                resolution: 16,
                every: 8,
                ..OccupancySpec::default()
            },
            march: MarchSpec {
                diagonal_samples: 128,
                samples: 1 << 13,
                rays: 2000,
                ..MarchSpec::default()
            },
        }),
        ..ReconstructSpec::default()
    }
}
