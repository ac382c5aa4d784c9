//! `dreamsmith reconstruct`: from posed pictures to a radiance field.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use dreamsmith_base::{Image, create_folder, grid, write_atomic_bytes, write_png};
use dreamsmith_data::{PosedLimits, PosedViews, View, read_posed};
use dreamsmith_kernels::Precision;
use dreamsmith_scene::background::BackgroundSpec;
use dreamsmith_scene::bound::Bound;
use dreamsmith_scene::checkpoint;
use dreamsmith_scene::model::Model;
use dreamsmith_scene::reconstruct::Reconstruction;
use dreamsmith_scene::render::Extent;
use dreamsmith_scene::run::{
    Comparison, Metrics, Outcome, ReconstructEvent, Run, RunFolder, compare, run,
};
use dreamsmith_scene::spec::{
    DataSpec, FieldSpec, Length, NerfSpec, OptimizerSpec, ReconstructSpec,
};
use indicatif::ProgressBar;
use serde_json::json;

use crate::console::{Console, stop_flag};
use crate::reconstruct_mesh::{MeshArgs, Meshing};

/// Columns of progress: a share of the run in thousandths, as its steps may not be known.
const PROGRESS: u64 = 1000;
/// Held-out views on the sheet.
const ON_SHEET: usize = 6;

/// Reconstruct an object from pictures with known cameras
#[derive(Args)]
#[command(
    after_help = "DIR holds transforms_train.json (and _test, _val) as Blender's NeRF scenes do, or nerfstudio's transforms.json.

Examples:
  dreamsmith reconstruct scenes/lego                         five minutes, into runs/reconstruct
  dreamsmith reconstruct scenes/lego --seconds 60 -o lego    one minute
  dreamsmith reconstruct scenes/lego --field nerf --seconds 900
  dreamsmith reconstruct --resume lego                       go on after Ctrl-C or a power cut
  dreamsmith reconstruct --resume lego --faces 5000          another mesh of a finished run"
)]
pub struct Reconstruct {
    /// The folder of the posed pictures
    #[arg(required_unless_present_any = ["resume", "spec", "print_spec"], conflicts_with_all = ["resume", "spec"])]
    dir: Option<PathBuf>,
    /// Folder for the field, test pictures and metrics
    #[arg(
        short,
        long,
        default_value = "runs/reconstruct",
        conflicts_with = "resume"
    )]
    output: PathBuf,
    /// Learn for so long; 300 if neither this nor --steps is given
    #[arg(long, value_name = "S", conflicts_with_all = ["steps", "resume"])]
    seconds: Option<f64>,
    /// Learn for so many steps: the result is then the same on every machine of a kind
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    steps: Option<u64>,
    /// The kind of field
    #[arg(long, value_enum, conflicts_with = "resume")]
    field: Option<FieldName>,
    /// What lies behind: white, black, R,G,B in 0 to 255, or `learnt` for each direction. White if the
    /// pictures have transparent parts, else learnt
    #[arg(long, conflicts_with = "resume")]
    background: Option<BackgroundName>,
    /// Half the side of the cube around the origin that the field fills; from the cameras if not given
    #[arg(long, value_name = "B", conflicts_with = "resume")]
    bound: Option<f32>,
    /// Reduce pictures to this many pixels along the longer side
    #[arg(long, value_name = "PIXELS", conflicts_with = "resume")]
    size: Option<u32>,
    /// Everything random follows from it
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    #[command(flatten)]
    mesh: MeshArgs,
    /// A spec instead of DIR, as `spec.toml` of a run; other options override it
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    spec: Option<PathBuf>,
    /// Print the spec with every default, and do nothing
    #[arg(long)]
    print_spec: bool,
    /// Go on with the run in this folder
    #[arg(long, value_name = "OUT")]
    resume: Option<PathBuf>,
}

/// The kinds of fields.
#[derive(Clone, Copy, ValueEnum)]
enum FieldName {
    /// A hash grid with small networks: minutes
    Hash,
    /// The original NeRF: hours
    Nerf,
}

/// What lies behind the object.
#[derive(Clone, Copy)]
enum BackgroundName {
    Color([f32; 3]),
    Learnt,
}

impl FromStr for BackgroundName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "white" => return Ok(Self::Color([1.0; 3])),
            "black" => return Ok(Self::Color([0.0; 3])),
            "learnt" => return Ok(Self::Learnt),
            _ => {}
        }
        let parts: Result<Vec<u8>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        match parts.as_deref() {
            Ok([r, g, b]) => Ok(Self::Color([*r, *g, *b].map(|x| f32::from(x) / 255.0))),
            _ => Err("expected white, black, learnt, or three numbers as 255,128,0".into()),
        }
    }
}

impl Reconstruct {
    pub fn run(self, precision: Option<Precision>, console: &Console) -> anyhow::Result<()> {
        if self.print_spec {
            let spec = self.spec(precision)?;
            let text = spec.to_toml()?;
            console.result(text.trim_end(), &serde_json::to_value(&spec)?);
            return Ok(());
        }
        // Read first: a truth that is not there should not cost a run.
        let meshing = self.mesh.read()?;
        let folder = RunFolder::new(self.resume.as_ref().unwrap_or(&self.output));
        let (reconstruction, views, seconds) = match &self.resume {
            Some(_) => resume(&folder, precision, console)?,
            None => self.start(&folder, precision, console)?,
        };
        let scene = (reconstruction, views);
        reconstruct(scene, seconds, &folder, &meshing, console)
    }

    /// The spec as far as it does not depend on the pictures.
    fn spec(&self, precision: Option<Precision>) -> anyhow::Result<ReconstructSpec> {
        let mut spec = match &self.spec {
            Some(path) => ReconstructSpec::read(path)?,
            None => ReconstructSpec::default(),
        };
        if let Some(dir) = &self.dir {
            spec.data.dir.clone_from(dir);
        }
        match self.field {
            Some(FieldName::Hash) => spec.field = FieldSpec::default(),
            Some(FieldName::Nerf) => {
                spec.field = FieldSpec::Nerf(NerfSpec::default());
                spec.optimizer = OptimizerSpec::for_nerf();
            }
            None => {}
        }
        spec.run.length = match (self.steps, self.seconds) {
            (Some(steps), _) => Length::Steps { steps },
            (None, Some(seconds)) => Length::Seconds { seconds },
            (None, None) => spec.run.length,
        };
        spec.run.seed = self.seed.unwrap_or(spec.run.seed);
        spec.data.longest_side = self.size.unwrap_or(spec.data.longest_side);
        if let Some(half_side) = self.bound {
            let center = [0.0; 3];
            spec.bound = Bound::Cube { center, half_side };
        }
        if let Some(precision) = precision {
            *spec.field.precision_mut() = precision;
        }
        spec.check()?;
        Ok(spec)
    }

    fn start(
        &self,
        folder: &RunFolder,
        precision: Option<Precision>,
        console: &Console,
    ) -> anyhow::Result<(Reconstruction, PosedViews, f64)> {
        if folder.checkpoint().exists() {
            bail!(
                "`{0}` holds a run already; go on with `--resume {0}`, or choose another folder with -o",
                folder.path().display()
            );
        }
        let mut spec = self.spec(precision)?;
        let views = open_views(&spec.data, console)?;
        let see_through = views.train.iter().any(has_alpha);
        match (self.background, see_through) {
            (Some(BackgroundName::Color(rgb)), true) => {
                spec.background = BackgroundSpec::Random { rgb };
            }
            (Some(BackgroundName::Color(rgb)), false) => {
                spec.background = BackgroundSpec::Color { rgb };
            }
            (Some(BackgroundName::Learnt), _) => spec.background = learnt(),
            (None, false) if self.spec.is_none() => spec.background = learnt(),
            (None, _) => {}
        }
        let reconstruction = Reconstruction::new(spec, views.train.clone())?;
        create_folder(folder.path())?;
        let text = reconstruction.spec().to_toml()?;
        write_atomic_bytes(&folder.path().join("spec.toml"), text.as_bytes())?;
        Ok((reconstruction, views, 0.0))
    }
}

fn learnt() -> BackgroundSpec {
    BackgroundSpec::Mlp {
        width: 32,
        layers: 2,
    }
}

fn has_alpha(view: &View) -> bool {
    view.picture
        .rgba()
        .chunks_exact(4)
        .any(|pixel| pixel[3] < 255)
}

fn resume(
    folder: &RunFolder,
    precision: Option<Precision>,
    console: &Console,
) -> anyhow::Result<(Reconstruction, PosedViews, f64)> {
    let checkpoint = folder.checkpoint();
    let mut spec = checkpoint::read_spec(&checkpoint)?;
    if let Some(precision) = precision {
        *spec.field.precision_mut() = precision;
    }
    let views = open_views(&spec.data, console)?;
    let (reconstruction, state) = checkpoint::load(&checkpoint, spec, views.train.clone())?;
    console.note(&format!(
        "resuming at step {} after {:.0} s",
        state.step, state.seconds
    ));
    Ok((reconstruction, views, state.seconds))
}

fn open_views(data: &DataSpec, console: &Console) -> anyhow::Result<PosedViews> {
    let views = read_posed(&data.dir, &PosedLimits::default())?;
    let reduced = |views: Vec<View>| -> anyhow::Result<Vec<View>> {
        let views = views
            .into_iter()
            .map(|view| view.at_most(data.longest_side));
        Ok(views.collect::<Result<_, _>>()?)
    };
    let views = PosedViews {
        train: reduced(views.train)?,
        validation: reduced(views.validation)?,
        test: reduced(views.test)?,
    };
    let first = &views.train[0].picture;
    console.note(&format!(
        "{} views of {}x{} to learn from, {} to test",
        views.train.len(),
        first.width(),
        first.height(),
        views.test.len()
    ));
    Ok(views)
}

fn reconstruct(
    (mut reconstruction, views): (Reconstruction, PosedViews),
    seconds: f64,
    folder: &RunFolder,
    meshing: &Meshing,
    console: &Console,
) -> anyhow::Result<()> {
    let weights: usize = reconstruction
        .model()
        .weights()
        .iter()
        .map(|(_, w)| w.len())
        .sum();
    let cube = reconstruction.model().cube;
    console.note(&format!(
        "learning {weights} numbers about the cube of half side {:.3} around {:?}, into {}",
        cube.half_side,
        cube.center,
        folder.path().display()
    ));
    let stop = stop_flag(console)?;
    let bar = console.bar(PROGRESS, "‰");
    let (mut last, first_step) = (None, reconstruction.steps_done());
    let mut state = Run {
        reconstruction: &mut reconstruction,
        held_out: &views.test,
        seconds,
    };
    let outcome = run(&mut state, folder, &stop, &mut |event| match event {
        ReconstructEvent::Step(_, progress) => {
            bar.set_position((progress * PROGRESS as f64) as u64);
        }
        ReconstructEvent::Metrics(line) => {
            last = Some(*line);
            tell(line, &bar, console);
        }
        ReconstructEvent::Saved(_) => {}
    });
    bar.finish_and_clear();
    let (outcome, seconds) = (outcome?, state.seconds);
    let step = reconstruction.steps_done();
    if outcome == Outcome::Stopped {
        console.result(
            &format!(
                "saved at step {step}; go on with `dreamsmith reconstruct --resume {}`",
                folder.path().display()
            ),
            &json!({ "command": "reconstruct", "finished": false, "step": step, "folder": folder.path() }),
        );
        return Ok(());
    }
    let scores = test(reconstruction.model(), &views.test, folder, console)?;
    let (surface, facts) = match meshing.write(&reconstruction, folder)? {
        Ok(made) => (made.words(), made.facts()),
        // A field that learnt too little has no mesh, which is no reason to lose the rest.
        Err(error) => (format!("no mesh: {error}"), json!(null)),
    };
    let mean = |values: &dyn Fn(&Score) -> f64| {
        let sum: f64 = scores.iter().map(values).sum();
        (!scores.is_empty()).then(|| sum / scores.len() as f64)
    };
    let (psnr, ssim) = (mean(&|score| score.psnr), mean(&|score| score.ssim));
    let quality = match (psnr, ssim) {
        (Some(psnr), Some(ssim)) => {
            format!(
                "; {} test views: PSNR {psnr:.2} dB, SSIM {ssim:.4}",
                scores.len()
            )
        }
        _ => "; no views were left to test".into(),
    };
    // A run that was finished before had no steps left, and a very short one has no line of metrics.
    let speed = last.map_or(String::new(), |line: Metrics| {
        format!(
            ", {:.0} rays/s, {:.2} million samples/s",
            line.rays_per_second,
            line.samples_per_second / 1e6
        )
    });
    let words = format!(
        "{}{step} steps in {seconds:.0} s{speed}{quality}; {surface}; all in {}",
        if step == first_step {
            "was finished: "
        } else {
            ""
        },
        folder.path().display()
    );
    let summary = json!({
        "command": "reconstruct",
        "finished": true,
        "step": step,
        "seconds": seconds,
        "psnr": psnr,
        "ssim": ssim,
        "rays_per_second": last.map(|line| line.rays_per_second),
        "samples_per_second": last.map(|line| line.samples_per_second),
        "mesh": facts,
        "views": scores.iter().map(|s| json!({ "name": s.name, "psnr": s.psnr, "ssim": s.ssim })).collect::<Vec<_>>(),
        "folder": folder.path(),
    });
    let text = serde_json::to_string_pretty(&summary)?;
    write_atomic_bytes(&folder.path().join("summary.json"), text.as_bytes())?;
    console.result(&words, &summary);
    Ok(())
}

fn tell(line: &Metrics, bar: &ProgressBar, console: &Console) {
    let held_out = line
        .test_psnr
        .map_or(String::new(), |psnr| format!(" test {psnr:.2}"));
    // What fits into 80 columns beside the bar.
    bar.set_message(format!("PSNR {:.2}{held_out} dB", line.train_psnr));
    if !console.has_bar() && line.step.is_multiple_of(100) {
        console.note(&format!(
            "step {} {:.0} s PSNR {:.2}{held_out} dB rate {:.1e} {:.0} rays/s {:.2} M samples/s, {:.0} seen a step",
            line.step,
            line.seconds,
            line.train_psnr,
            line.learning_rate,
            line.rays_per_second,
            line.samples_per_second / 1e6,
            line.seen_samples,
        ));
    }
}

/// How well a view is shown.
struct Score {
    name: String,
    psnr: f64,
    ssim: f64,
}

/// Draws all test views, writes them beside the truth, and a sheet of some.
fn test(
    model: &Model,
    views: &[View],
    folder: &RunFolder,
    console: &Console,
) -> anyhow::Result<Vec<Score>> {
    let pictures = folder.path().join("test");
    create_folder(&pictures)?;
    let bar = console.bar(views.len() as u64, "test views");
    let every = views.len().div_ceil(ON_SHEET).max(1);
    let (mut scores, mut sheet) = (vec![], vec![]);
    for (i, view) in views.iter().enumerate() {
        let on_sheet = i % every == 0;
        let extent = match on_sheet {
            true => Extent::WithNormals,
            false => Extent::Color,
        };
        let comparison = compare(model, view, extent)?;
        let (Some(psnr), Some(ssim)) = (comparison.psnr(), comparison.ssim()) else {
            bail!(
                "`{}` cannot be compared: its picture changed its size",
                view.name
            );
        };
        let name = view.name.clone();
        let pair = [comparison.truth.clone(), comparison.picture.clone()];
        write_png(&picture_path(&pictures, i), &grid(&pair, 2, 2)?, &[])?;
        if on_sheet {
            sheet.extend(row(comparison)?);
        }
        scores.push(Score { name, psnr, ssim });
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !sheet.is_empty() {
        let path = folder.path().join("sheet.png");
        let image = grid(&sheet, 4, 4).context("the sheet of test views cannot be drawn")?;
        write_png(&path, &image, &[])?;
    }
    Ok(scores)
}

fn picture_path(folder: &Path, view: usize) -> PathBuf {
    folder.join(format!("view-{view:04}.png"))
}

/// Truth, what the field shows, depth, normals.
fn row(comparison: Comparison) -> anyhow::Result<[Image; 4]> {
    let depth = comparison.frame.depth_picture()?;
    let normals = comparison.frame.normal_picture()?;
    Ok([comparison.truth, comparison.picture, depth, normals])
}
