//! What a mesh misses of its field: thin parts, which are solid to rays but not to single cells, and hollows that no picture
//! shows. Found where several cameras see the field and not the mesh; leaves out rims, which differ by parts of a pixel.

use dreamsmith_base::Mesh;
use glam::Vec3;
use rayon::prelude::*;

use crate::agreement::{Sight, Sights};
use crate::raster::{RasterError, Shading, Surface};
use crate::surface::Volume;

/// Cameras that must see the same.
const AGREEING: u8 = 3;
/// What is missed is so many cells away from the mesh, or hangs together with what is: the rest is haze on its rims.
const REACH: usize = 5;
/// The mesh misses what is seen so many cells before it.
const MARGIN: f32 = 6.0;

impl Sights {
    /// `volume` with the value 1 around what cameras see, and not on `mesh`, the surface at `level` of what it is when it is
    /// `smoothed`. `mesh` is of the world, from which `to_cube` leads to the volume.
    pub(crate) fn completed(
        &self,
        (volume, smoothed): (&Volume, &Volume),
        mesh: &Mesh,
        (to_cube, level): (impl Fn(Vec3) -> Vec3 + Sync, f32),
    ) -> Result<Volume, RasterError> {
        let lattice = volume.lattice();
        let margin = MARGIN * lattice.cell_size().x * self.half_side;
        let surface = Surface::new(mesh, Shading::Flat);
        let missed = self.sights.par_iter().map(|sight| {
            let points = sight.missed(&surface, margin)?.into_iter();
            let nearest = points.filter_map(|point| lattice.nearest(to_cube(point)));
            let cells = nearest.flat_map(|i| lattice.around(i, 1));
            let mut cells: Vec<usize> = cells.collect();
            cells.sort_unstable();
            cells.dedup();
            Ok(cells)
        });
        let mut votes = vec![0u8; lattice.n_points()];
        for cell in missed.collect::<Result<Vec<_>, RasterError>>()?.concat() {
            votes[cell] = votes[cell].saturating_add(1);
        }
        let far = far(smoothed, level, &votes);
        let is_missed = |point| lattice.nearest(point).is_some_and(|i| far[i]);
        Ok(volume.filled(is_missed, 1.0))
    }
}

impl Sight {
    /// Points of the world where the field is seen, and the mesh not within `margin` behind, nor beside.
    fn missed(&self, surface: &Surface, margin: f32) -> Result<Vec<Vec3>, RasterError> {
        let mesh = self.distances(surface)?;
        let [width, height] = self.camera.lens().size().map(|side| side as usize);
        let misses =
            |pixel: usize, field: f32| mesh[pixel].is_none_or(|mesh| mesh > field + margin);
        let seen = self.depth.iter().enumerate();
        let points = seen.filter_map(|(pixel, field)| {
            let (field, x, y) = ((*field)?, pixel % width, pixel / width);
            let beside = (y.saturating_sub(1)..height.min(y + 2))
                .flat_map(|y| (x.saturating_sub(1)..width.min(x + 2)).map(move |x| y * width + x));
            let all = beside.into_iter().all(|pixel| misses(pixel, field));
            let ray = self.camera.ray(x as f32 + 0.5, y as f32 + 0.5);
            all.then(|| ray.origin + field * ray.dir)
        });
        Ok(points.collect())
    }
}

/// Those of the points with votes enough that hang together, by corners too, with one that is `REACH` cells away from what
/// is above `level` when it is smoothed.
fn far(smoothed: &Volume, level: f32, votes: &[u8]) -> Vec<bool> {
    let around = |i: usize| smoothed.lattice().around(i, 1);
    let solid = smoothed.values().iter().map(|value| *value > level);
    let mut near: Vec<bool> = solid.collect();
    let mut front: Vec<usize> = (0..near.len()).filter(|i| near[*i]).collect();
    for _ in 0..REACH {
        let mut next = vec![];
        for i in front {
            for j in around(i) {
                if !std::mem::replace(&mut near[j], true) {
                    next.push(j);
                }
            }
        }
        front = next;
    }
    let is_missed = |i: &usize| votes[*i] >= AGREEING;
    let mut kept = vec![false; near.len()];
    let mut going: Vec<usize> = (0..near.len())
        .filter(|i| is_missed(i) && !near[*i])
        .collect();
    while let Some(i) = going.pop() {
        if !std::mem::replace(&mut kept[i], true) {
            going.extend(around(i).filter(|j| is_missed(j) && !kept[*j]));
        }
    }
    kept
}
