//! The mesh that `dreamsmith reconstruct` makes of a field, and how far it is from the truth.

use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use dreamsmith_base::mesh_file::write_mesh;
use dreamsmith_base::{Camera, Mesh, MeshLimits, read_mesh};
use dreamsmith_scene::extract::{ExtractError, ExtractSpec, Extracted, Level, extract};
use dreamsmith_scene::reconstruct::Reconstruction;
use dreamsmith_scene::run::RunFolder;
use dreamsmith_scene::surface::{Chamfer, MAX_CELLS, chamfer};
use serde_json::{Value, json};

/// What a closed mesh has at least.
const LEAST_FACES: usize = 4;
/// Points on each of two meshes whose distance is measured.
const TRUTH_POINTS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

#[derive(Args)]
pub struct MeshArgs {
    /// Most faces of the mesh
    #[arg(long, value_name = "N", default_value_t = ExtractSpec::default().faces)]
    faces: usize,
    /// Cells of the mesh along an edge of the cube, up to 512: how fine it is before it has so few faces
    #[arg(long, value_name = "N", default_value_t = ExtractSpec::default().cells)]
    cells: usize,
    /// Where the surface of the mesh lies: at what share of light that one of its cells takes, as in 0.3.
    /// Where silhouettes and depths agree best with the field if not given
    #[arg(long, value_name = "SHARE")]
    level: Option<f32>,
    /// Compare the mesh with the one that `dreamsmith render --views` drew DIR from
    #[arg(long, value_name = "MESH")]
    truth: Option<PathBuf>,
}

/// What mesh to make, and what to compare it with.
pub struct Meshing {
    spec: ExtractSpec,
    truth: Option<Mesh>,
}

/// A mesh, and how far it is from the truth, if that is known.
pub struct Made {
    found: Extracted,
    distance: Option<Chamfer>,
}

impl MeshArgs {
    pub fn read(&self) -> anyhow::Result<Meshing> {
        let level = match self.level {
            None => Level::Agreeing,
            Some(share) if share > 0.0 && share < 1.0 => Level::Opacity(share),
            Some(share) => bail!("--level {share}: expected a share of light between 0 and 1"),
        };
        if !(1..=MAX_CELLS).contains(&self.cells) {
            bail!("--cells {}: expected 1 to {MAX_CELLS}", self.cells);
        }
        if self.faces < LEAST_FACES {
            bail!(
                "--faces {}: expected at least {LEAST_FACES}, those of a tetrahedron",
                self.faces
            );
        }
        let truth = match &self.truth {
            Some(path) => Some(read_mesh(path, &MeshLimits::default())?.mesh.fitted(1.0)),
            None => None,
        };
        let spec = ExtractSpec {
            cells: self.cells,
            level,
            faces: self.faces,
            ..ExtractSpec::default()
        };
        Ok(Meshing { spec, truth })
    }
}

impl Meshing {
    /// The mesh of the field, as `mesh.glb`; the inner error is that of a field that has none.
    pub fn write(
        &self,
        reconstruction: &Reconstruction,
        folder: &RunFolder,
    ) -> anyhow::Result<Result<Made, ExtractError>> {
        let cameras: Vec<Camera> = reconstruction.views().iter().map(|v| v.camera).collect();
        let found = match extract(reconstruction.model(), &cameras, &self.spec) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        write_mesh(&folder.path().join("mesh.glb"), &found.mesh)?;
        let distance = match &self.truth {
            Some(truth) => Some(chamfer(&found.mesh, truth, TRUTH_POINTS, 0)?),
            None => None,
        };
        Ok(Ok(Made { found, distance }))
    }
}

impl Made {
    pub fn words(&self) -> String {
        let agreement = &self.found.agreement;
        let distance = self.distance.map_or(String::new(), |distance| {
            format!(
                ", {:.2} % of its diagonal from the truth",
                100.0 * distance.relative()
            )
        });
        format!(
            "a mesh of {} faces, whose silhouettes agree with the field by {:.1} %{distance}",
            self.found.mesh.faces().len(),
            100.0 * agreement.mask_iou,
        )
    }

    pub fn facts(&self) -> Value {
        let share = |part: fn(&Chamfer) -> f64| self.distance.as_ref().map(part);
        json!({
            "faces": self.found.mesh.faces().len(),
            "level": self.found.level,
            "mask_iou": self.found.agreement.mask_iou,
            "depth_error": self.found.agreement.depth_error,
            "chamfer": share(Chamfer::relative),
            "chamfer_to_truth": share(|d| d.to_reference / d.diagonal),
            "chamfer_from_truth": share(|d| d.from_reference / d.diagonal),
        })
    }
}
