//! What a reconstruction's spec may hold.
//! Leaves out the sizes of networks: those are checked where these are made.

use crate::reconstruct_error::SpecError;
use crate::spec::{FieldSpec, HashSpec, Length, Loss, NerfSpec, OptimizerSpec, ReconstructSpec};

impl ReconstructSpec {
    /// Errs on a value out of range.
    pub fn check(&self) -> Result<(), SpecError> {
        const COUNT: &str = "at least 1";
        const POSITIVE: &str = "a finite number above 0";
        let run = &self.run;
        match run.length {
            Length::Steps { steps } => expect("run.length.steps", steps, COUNT, steps > 0)?,
            Length::Seconds { seconds } => {
                expect("run.length.seconds", seconds, POSITIVE, positive(seconds))?;
            }
        }
        for (key, every) in [
            ("run.log_every", run.log_every),
            ("run.look_every", run.look_every),
            ("run.checkpoint_every", run.checkpoint_every),
        ] {
            expect(key, every, COUNT, every > 0)?;
        }
        let side = self.data.longest_side;
        expect("data.longest_side", side, COUNT, side > 0)?;
        let OptimizerSpec { peak, floor, .. } = self.optimizer;
        expect("optimizer.peak", peak, POSITIVE, positive(peak))?;
        let fits = positive(floor) && floor <= peak;
        expect(
            "optimizer.floor",
            floor,
            "above 0, up to optimizer.peak",
            fits,
        )?;
        if let Loss::Huber { delta } = self.loss {
            expect("loss.delta", delta, POSITIVE, positive(f64::from(delta)))?;
        }
        let n = self.regularizers.distortion;
        let fits = n >= 0.0 && n.is_finite();
        expect(
            "regularizers.distortion",
            n,
            "a finite number, 0 or more",
            fits,
        )?;
        match &self.field {
            FieldSpec::Hash(hash) => hash.check(),
            FieldSpec::Nerf(nerf) => nerf.check(),
        }
    }
}

impl HashSpec {
    fn check(&self) -> Result<(), SpecError> {
        let (grid, march) = (&self.occupancy, &self.march);
        let n = grid.resolution;
        expect(
            "field.occupancy.resolution",
            n,
            "4 to 512",
            (4..=512).contains(&n),
        )?;
        let every = grid.every;
        expect("field.occupancy.every", every, "at least 1", every > 0)?;
        let n = march.diagonal_samples;
        let fits = (16..=1 << 16).contains(&n);
        expect("field.march.diagonal_samples", n, "16 to 65536", fits)?;
        let (samples, rays) = (march.samples, march.rays);
        let fits = |n: usize| (1..=1 << 22).contains(&n);
        expect(
            "field.march.samples",
            samples,
            "1 to 4194304",
            fits(samples),
        )?;
        expect("field.march.rays", rays, "1 to 4194304", fits(rays))?;
        let least = march.least_transmittance;
        let fits = least > 0.0 && least < 1.0;
        expect(
            "field.march.least_transmittance",
            least,
            "above 0, below 1",
            fits,
        )
    }
}

impl NerfSpec {
    fn check(&self) -> Result<(), SpecError> {
        for (key, n) in [("field.coarse", self.coarse), ("field.fine", self.fine)] {
            expect(key, n, "2 to 4096", (2..=4096).contains(&n))?;
        }
        let fits = (1..=1 << 20).contains(&self.rays);
        expect("field.rays", self.rays, "1 to 1048576", fits)
    }
}

fn positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}

fn expect(
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
