//! Which values a training spec may hold. Leaves out what only building shows, as of schedules.

use crate::condition_spec::{ConditionSpec, ReaderSpec};
use crate::ema::EmaSpec;
use crate::enlarge::Task;
use crate::guidance::Guidance;
use crate::spec::{DiffusionSpec, SpecError, TrainSpec};
use crate::text::MAX_TOKENS;

impl TrainSpec {
    /// Errs at the first value out of range.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        const COUNT: &str = "1 or more";
        const SHARE: &str = "0 to 1";
        // [Karras24] eq. 123 has its largest width, 0.29, at gamma 0.
        const WIDTH: &str = "0.001 to 0.28";
        let is_share = |x: f64| (0.0..=1.0).contains(&x);
        let is_width = |x: &f64| (0.001..=0.28).contains(x);
        let (run, rate) = (&self.train, &self.learning_rate);
        let patch = self.patch_size;
        expect("patch_size", patch, "1 to 64", (1..=64).contains(&patch))?;
        expect("train.steps", run.steps, COUNT, run.steps > 0)?;
        expect("train.batch", run.batch, COUNT, run.batch > 0)?;
        expect(
            "train.micro_batch",
            run.micro_batch,
            "a divisor of train.batch",
            run.micro_batch > 0 && run.batch.is_multiple_of(run.micro_batch),
        )?;
        expect("train.log_every", run.log_every, COUNT, run.log_every > 0)?;
        let every = run.checkpoint_every;
        expect("train.checkpoint_every", every, COUNT, every > 0)?;
        positive("train.clip", run.clip)?;
        let dropout = run.label_dropout;
        expect("train.label_dropout", dropout, SHARE, is_share(dropout))?;
        if let ConditionSpec::Text(text) = &self.condition {
            let (tokens, camera) = (text.tokens, text.camera_dropout);
            let fits = (3..=MAX_TOKENS).contains(&tokens);
            expect("condition.tokens", tokens, "3 to 512", fits)?;
            if let ReaderSpec::Words { size } = text.reader {
                const SIZE: &str = "1 to 65536";
                expect(
                    "condition.reader.size",
                    size,
                    SIZE,
                    (1..=65_536).contains(&size),
                )?;
            }
            let dropout = text.text_dropout;
            expect("condition.text_dropout", dropout, SHARE, is_share(dropout))?;
            expect("condition.camera_dropout", camera, SHARE, is_share(camera))?;
        }
        let (peak, floor) = (rate.peak, rate.floor);
        positive("learning_rate.peak", peak)?;
        expect(
            "learning_rate.floor",
            floor,
            "0 to learning_rate.peak",
            (0.0..=peak).contains(&floor),
        )?;
        match self.ema {
            EmaSpec::Exponential { decay } => expect("ema.decay", decay, SHARE, is_share(decay))?,
            EmaSpec::Power { sigma_rel } => {
                expect("ema.sigma_rel", sigma_rel, WIDTH, is_width(&sigma_rel))?;
            }
        }
        for sigma_rel in self.snapshots.sigma_rels() {
            expect(
                "snapshots.sigma_rels",
                sigma_rel,
                WIDTH,
                is_width(sigma_rel),
            )?;
        }
        let steps = self.sample.steps;
        expect("sample.steps", steps, COUNT, steps > 0)?;
        if let Task::Enlarge(task) = self.task {
            task.check()?;
            let is_edm = matches!(self.diffusion, DiffusionSpec::Edm { .. });
            expect("diffusion.kind", "another", "edm, to enlarge", is_edm)?;
            let is_plain = matches!(self.condition, ConditionSpec::Classes(_));
            expect("condition.kind", "text", "none, to enlarge", is_plain)?;
            let (crop, fits) = (self.network_side()?, task.factor.is_multiple_of(patch));
            expect("patch_size", patch, "a divisor of task.factor", fits)?;
            let fits = (1..=task.size).contains(&crop);
            expect(
                "model.sample_size",
                crop / patch,
                "up to task.size / patch_size",
                fits,
            )?;
        }
        self.loss.weight.check()?;
        self.loss.levels.check()?;
        self.sample.sampler.check()?;
        self.sample.threshold.check()?;
        Guidance::new(self.sample.guidance)?;
        self.diffusion.precondition().map(|_| ())
    }
}

/// Errs unless the value `fits`.
pub(crate) fn expect(
    key: &'static str,
    found: impl ToString,
    expected: &'static str,
    fits: bool,
) -> Result<(), SpecError> {
    if fits {
        return Ok(());
    }
    Err(SpecError::Range {
        key,
        found: found.to_string(),
        expected,
    })
}

/// Errs unless the value is finite and above 0.
pub(crate) fn positive(key: &'static str, value: f64) -> Result<f64, SpecError> {
    let fits = value > 0.0 && value.is_finite();
    expect(key, value, "a finite number above 0", fits).map(|()| value)
}
