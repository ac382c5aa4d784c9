//! Which numbers of a dream's spec can be.

use dreamsmith_scene::reconstruct_error::SpecError;

use crate::distill::Distill;
use crate::spec::DreamSpec;

impl DreamSpec {
    /// Errs on a value that makes no sense, by its key.
    pub fn check(&self) -> Result<(), SpecError> {
        let range = |key, found: &dyn ToString, expected, fits: bool| match fits {
            true => Ok(()),
            false => Err(SpecError::Range {
                key,
                found: found.to_string(),
                expected,
            }),
        };
        let (views, light) = (&self.views, &self.lighting);
        range(
            "views.count",
            &views.count,
            "1 to 64",
            (1..=64).contains(&views.count),
        )?;
        range(
            "views.rays",
            &views.rays,
            "1 to 16",
            (1..=16).contains(&views.rays),
        )?;
        let shares = light.lit + light.textureless;
        let fits = light.lit >= 0.0 && light.textureless >= 0.0 && shares <= 1.0;
        range(
            "lighting.lit",
            &light.lit,
            "with lighting.textureless 0 to 1",
            fits,
        )?;
        let sketch = &self.sketch;
        let fits = (0.0..=1.0).contains(&sketch.until);
        range("sketch.until", &sketch.until, "0 to 1", fits)?;
        for time in &sketch.times {
            let fits = 0.0 < *time && *time <= 1.0;
            range("sketch.times", time, "above 0 to 1", fits)?;
        }
        let rounds = sketch.times.len();
        let fits = (1..=64).contains(&rounds) || sketch.until == 0.0;
        range("sketch.times", &rounds, "1 to 64 of them", fits)?;
        let fits = (1..=64).contains(&sketch.sweep);
        range("sketch.sweep", &sketch.sweep, "1 to 64", fits)?;
        let fits = (1..=1000).contains(&sketch.steps);
        range("sketch.steps", &sketch.steps, "1 to 1000", fits)?;
        let fits = sketch.weight > 0.0 && sketch.weight.is_finite();
        range("sketch.weight", &sketch.weight, "above 0", fits)?;
        let reach = light.normal_reach;
        range(
            "lighting.normal_reach",
            &reach,
            "above 0",
            reach > 0.0 && reach < 1.0,
        )?;
        for (key, away) in [
            ("prior.other_sides", self.prior.other_sides),
            ("sketch.opposite", sketch.opposite),
        ] {
            range(key, &away, "0 to 10", (0.0..=10.0).contains(&away))?;
        }
        if let Distill::Ism { steps, interval } = self.prior.distill {
            let fits = (1..=64).contains(&steps);
            range("prior.distill.steps", &steps, "1 to 64", fits)?;
            let least = self.prior.times.first[0].min(self.prior.times.last[0]);
            let fits = interval > 0.0 && interval < least;
            let expected = "above 0 and below the least of prior.times";
            range("prior.distill.interval", &interval, expected, fits)?;
        }
        if let Distill::Vsd { learning_rate } = self.prior.distill {
            let fits = learning_rate > 0.0 && learning_rate.is_finite();
            range(
                "prior.distill.learning_rate",
                &learning_rate,
                "above 0",
                fits,
            )?;
        }
        for [low, high] in [self.prior.times.first, self.prior.times.last] {
            let fits = 0.0 < low && low <= high && high <= 1.0;
            range(
                "prior.times",
                &low,
                "two shares of the schedule that rise from above 0 to 1",
                fits,
            )?;
        }
        Ok(())
    }
}
