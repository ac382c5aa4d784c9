//! That a field learns a tiny scene, and that neither threads nor a restart change a bit of it.

use std::error::Error;
use std::sync::atomic::AtomicBool;

use dreamsmith_kernels::Precision;
use dreamsmith_scene::background::BackgroundSpec;
use dreamsmith_scene::checkpoint;
use dreamsmith_scene::positional_field::PositionalFieldSpec;
use dreamsmith_scene::reconstruct::Reconstruction;
use dreamsmith_scene::render::Extent;
use dreamsmith_scene::run::{Outcome, Run, RunFolder, compare, run};
use dreamsmith_scene::spec::{FieldSpec, NerfSpec, OptimizerSpec, ReconstructSpec};

use crate::tiny_scene::{spec, views};

fn learn(spec: ReconstructSpec, steps: u64) -> Result<Reconstruction, Box<dyn Error>> {
    let mut reconstruction = Reconstruction::new(spec, views(12, 24)?)?;
    for step in 0..steps {
        reconstruction.step(step as f64 / steps as f64)?;
    }
    Ok(reconstruction)
}

fn bits(reconstruction: &Reconstruction) -> Vec<u32> {
    let weights = reconstruction.model().weights();
    weights
        .iter()
        .flat_map(|(_, w)| w.iter().map(|x| x.to_bits()))
        .collect()
}

fn nerf() -> ReconstructSpec {
    ReconstructSpec {
        field: FieldSpec::Nerf(NerfSpec {
            network: PositionalFieldSpec {
                point_frequencies: 5,
                dir_frequencies: 2,
                width: 32,
                precision: Precision::F32,
            },
            coarse: 16,
            fine: 16,
            rays: 256,
        }),
        optimizer: OptimizerSpec {
            peak: 5e-3,
            floor: 5e-4,
            ..OptimizerSpec::for_nerf()
        },
        ..spec(1)
    }
}

fn held_out_psnr(reconstruction: &Reconstruction) -> Result<f64, Box<dyn Error>> {
    let unseen = &views(13, 24)?[12];
    let comparison = compare(reconstruction.model(), unseen, Extent::Color)?;
    comparison.psnr().ok_or_else(|| "sizes differ".into())
}

#[test]
fn a_hash_field_learns_the_ball() -> Result<(), Box<dyn Error>> {
    let before = held_out_psnr(&learn(spec(1), 0)?)?;
    let after = held_out_psnr(&learn(spec(200), 200)?)?;
    // Of a grid of 16 cells the edges of ball and colours stay soft. The rate rises for the first 50 steps.
    assert!(before < 12.0 && after > 20.0, "{before} {after}");
    Ok(())
}

#[test]
fn the_original_nerf_learns_the_ball() -> Result<(), Box<dyn Error>> {
    let after = held_out_psnr(&learn(nerf(), 200)?)?;
    assert!(after > 18.0, "{after}");
    Ok(())
}

#[test]
fn threads_change_nothing() -> Result<(), Box<dyn Error>> {
    for spec in [spec(1), nerf()] {
        let mut results = vec![];
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()?;
            let learnt = pool.install(|| {
                learn(spec.clone(), 20)
                    .map_err(|e| e.to_string())
                    .map(|r| bits(&r))
            })?;
            results.push(learnt);
        }
        assert!(results[0] == results[1]);
    }
    Ok(())
}

#[test]
fn a_restart_changes_nothing() -> Result<(), Box<dyn Error>> {
    let background = BackgroundSpec::Mlp {
        width: 16,
        layers: 1,
    };
    let hash = ReconstructSpec {
        background,
        ..spec(30)
    };
    let mut original = nerf();
    original.run = hash.run;
    for mut spec in [hash, original] {
        spec.run.log_every = 5;
        let folder = tempfile::tempdir()?;
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let mut unbroken = Reconstruction::new(spec.clone(), views(12, 24)?)?;
        let outcome = go(&mut unbroken, &RunFolder::new(&whole), u64::MAX)?;
        assert_eq!(outcome, Outcome::Finished);
        let files = RunFolder::new(&parts);
        let mut first = Reconstruction::new(spec.clone(), views(12, 24)?)?;
        assert_eq!(go(&mut first, &files, 17)?, Outcome::Stopped);
        assert_eq!(checkpoint::read_spec(&files.checkpoint())?, spec);
        let (mut second, state) = checkpoint::load(&files.checkpoint(), spec, views(12, 24)?)?;
        assert_eq!(state.step, 17);
        assert_eq!(go(&mut second, &files, u64::MAX)?, Outcome::Finished);
        assert!(bits(&unbroken) == bits(&second));
        let lines = |files: &RunFolder| std::fs::read_to_string(files.metrics());
        assert_eq!(
            lines(&files)?.lines().count(),
            lines(&RunFolder::new(&whole))?.lines().count()
        );
    }
    Ok(())
}

/// Runs until the end, or until it is told to stop after step `last`.
fn go(
    reconstruction: &mut Reconstruction,
    files: &RunFolder,
    last: u64,
) -> Result<Outcome, Box<dyn Error>> {
    let stop = AtomicBool::new(false);
    let mut state = Run {
        reconstruction,
        held_out: &[],
        seconds: 0.0,
    };
    Ok(run(&mut state, files, &stop, &mut |event| {
        if let dreamsmith_scene::run::ReconstructEvent::Step(report, _) = event {
            stop.store(report.step >= last, std::sync::atomic::Ordering::Relaxed);
        }
    })?)
}

#[test]
fn other_pictures_and_damaged_files_are_refused() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let files = RunFolder::new(folder.path());
    let mut reconstruction = Reconstruction::new(spec(2), views(12, 24)?)?;
    go(&mut reconstruction, &files, u64::MAX)?;
    let load = |n| -> Result<String, Box<dyn Error>> {
        let loaded = checkpoint::load(&files.checkpoint(), spec(2), views(n, 24)?);
        Ok(loaded.err().map(|e| e.to_string()).unwrap_or_default())
    };
    assert_eq!(load(12)?, "");
    assert!(load(11)?.contains("12 views"));
    std::fs::write(files.checkpoint().join("field.safetensors"), b"no")?;
    assert!(load(12)?.contains("not what was written"));
    assert!(Reconstruction::new(spec(2), vec![]).is_err());
    Ok(())
}
