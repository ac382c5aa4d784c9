//! A dream: one step is some views of the field from all around, what the prior makes of them, and a step of Adam.
//! [Poole22], with the hash grid and the small networks of [Lin23]. Leaves out the loop around it (`run`).

use dreamsmith_base::{CameraError, Purpose, Ray, Stream};
use dreamsmith_scene::background::{Background, BackgroundSpec};
use dreamsmith_scene::bound::SceneCube;
use dreamsmith_scene::distortion::distortion;
use dreamsmith_scene::field::Field;
use dreamsmith_scene::hash_field::HashField;
use dreamsmith_scene::learner::Learner;
use dreamsmith_scene::lighting::{Lighting, Lit};
use dreamsmith_scene::look::Look;
use dreamsmith_scene::model::{Model, Sampling, march_rays};
use dreamsmith_scene::occupancy::Occupancy;
use dreamsmith_scene::samples::{Samples, Seen};
use rayon::prelude::*;

use crate::error::LiftError;
use crate::prior::{Picture, Prior};
use crate::spec::DreamSpec;
use crate::view::{View, views};

/// Rays that a thread draws at a time.
const RAYS: usize = 64;

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Its number; the first is 1.
    pub step: u64,
    /// The root mean square of the prior's gradient by a value of a picture.
    pub residual: f64,
    /// The mean opacity of rays.
    pub opacity: f64,
    /// Samples that the field was asked about; of these, that were seen and learnt from; and of these, that were lit, each
    /// with four points more for its normal.
    pub samples: [usize; 3],
    /// The learning rate.
    pub learning_rate: f64,
    /// Seconds for the views, the prior, the way back, and the step of Adam with the occupied cells.
    pub seconds: [f64; 4],
}

/// A dream at some step.
pub struct Dream {
    spec: DreamSpec,
    prior: Prior,
    learner: Learner,
    /// How often it went back to a checkpoint.
    setbacks: u32,
}

/// Rays of all views of a step, and what they see.
struct Sight {
    samples: Samples,
    look: Look,
    lit: Lit,
    /// Of lit colours.
    seen: Seen,
    /// What lies behind each ray.
    behind: Vec<[f32; 3]>,
}

impl Dream {
    /// A dream of which nothing is there yet.
    pub fn new(spec: DreamSpec, prior: Prior) -> Result<Self, LiftError> {
        spec.check()?;
        let (seed, field) = (spec.run.seed, &spec.field.0);
        let white = BackgroundSpec::Color { rgb: [1.0; 3] };
        let network = HashField::new(field.network.clone(), seed)?;
        // The field is a blob, and not unknown: where it is empty no ray need look.
        let mut grid = Occupancy::new(field.occupancy);
        let density = |points: &[[f32; 3]]| network.geometry(points).density;
        grid.update((seed, 0), field.march.step(), &density);
        let model = Model {
            // An object in a ball of radius 1, as cameras expect it.
            cube: SceneCube {
                center: [0.0; 3],
                half_side: 1.0,
            },
            background: Background::new(white, seed)?,
            fields: vec![Box::new(network)],
            sampling: Sampling::Occupied {
                grid,
                march: field.march,
            },
        };
        Ok(Self {
            spec,
            prior,
            learner: Learner::new(model),
            setbacks: 0,
        })
    }

    /// What it is made from.
    pub fn spec(&self) -> &DreamSpec {
        &self.spec
    }

    /// What judges it.
    pub fn prior(&self) -> &Prior {
        &self.prior
    }

    /// What judges it, to be filled from a checkpoint.
    pub fn prior_mut(&mut self) -> &mut Prior {
        &mut self.prior
    }

    /// The field as it is.
    pub fn model(&self) -> &Model {
        &self.learner.model
    }

    /// What learns, to be saved.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// What learns, to be filled from a checkpoint.
    pub fn learner_mut(&mut self) -> &mut Learner {
        &mut self.learner
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.learner.steps_done()
    }

    /// How often it went back to a checkpoint.
    pub fn setbacks(&self) -> u32 {
        self.setbacks
    }

    /// After each time the learning rate is half of what it was, so that the same does not happen again.
    pub fn set_setbacks(&mut self, times: u32) {
        self.setbacks = times;
    }

    /// About how many bytes it takes at most, which is when all cells are occupied.
    pub fn bytes(&self) -> u64 {
        let weights = self.model().weights();
        let weights: usize = weights.iter().map(|(_, values)| values.len()).sum();
        // What the field notes of a sample, as it is asked, in order, and back; of its colour, and back; what rays know.
        let saved = self.model().field().geometry(&[[0.0; 3]]).saved;
        let of_sample = 3 * saved.iter().map(|rows| rows.width).sum::<usize>() + 84;
        let through = f64::from(self.spec.field.0.march.diagonal_samples) / 3f64.sqrt();
        let rays = self.fine_side().pow(2) * self.spec.views.count as usize;
        let samples = rays as f64 * through;
        // Weights have gradients and two moments.
        self.prior.bytes() + 4 * (4 * weights as u64 + (samples * of_sample as f64) as u64)
    }

    /// One step, at the share `progress` of the run; the inner error names what is not finite, and leaves all weights
    /// as they were.
    pub fn step(&mut self, progress: f64) -> Result<Result<StepReport, &'static str>, LiftError> {
        let seed = self.spec.run.seed;
        let mut clock = Clock::start();
        self.learner
            .follow_occupancy(self.spec.field.0.occupancy.every, seed);
        let adam = clock.lap();
        let step = self.steps_done();
        let side = self.prior.side();
        let places = (&self.spec.views.from, &self.spec.lighting);
        let count = self.spec.views.count;
        // Views of a sketch come again and again, each time with other rays.
        let (place, time) = match self.spec.sketch.round(progress) {
            Some(_) => (step % u64::from(self.spec.sketch.sweep), 0.0),
            None => (step, progress),
        };
        let mut views = views(places, (seed, place, time), (count, side))?;
        for (i, view) in (0..).zip(&mut views) {
            view.number = step * u64::from(count) + i;
        }
        let sight = self.see(&views)?;
        let pictures = self.pictures(&views, &sight);
        let drawn = clock.lap();
        let gradients = self.prior.gradients(&pictures, (seed, progress))?;
        let asked = clock.lap();
        let mut report = StepReport {
            step: step + 1,
            learning_rate: self.spec.optimizer.rate(progress, step + 1)
                * 0.5f64.powi(self.setbacks as i32),
            samples: [
                sight.look.n_asked,
                sight.samples.len(),
                sight.lit.normals().count(),
            ],
            residual: root_mean_square(&gradients),
            ..StepReport::default()
        };
        report.opacity = self.learn(sight, &gradients, progress);
        let bad = match report.residual.is_finite() {
            true => self.learner.not_finite(),
            false => Some("what the prior says"),
        };
        if let Some(place) = bad {
            self.learner.forget();
            return Ok(Err(place));
        }
        let learnt = clock.lap();
        self.learner
            .descend(&self.spec.optimizer, report.learning_rate);
        report.seconds = [drawn, asked, learnt, adam + clock.lap()];
        Ok(Ok(report))
    }

    /// Rays along an edge of a view.
    fn fine_side(&self) -> usize {
        (self.prior.side() * self.spec.views.rays) as usize
    }

    /// What all rays of `views` see, view by view and row by row.
    fn see(&self, views: &[View]) -> Result<Sight, CameraError> {
        let Model {
            cube,
            fields,
            sampling,
            ..
        } = self.model();
        let side = self.fine_side();
        let cameras: Result<Vec<_>, _> = views
            .iter()
            .map(|view| view.viewpoint.camera.resized([side as u32; 2]))
            .collect();
        let cameras = cameras?;
        let of_view = side * side;
        let stream = |ray: usize| {
            let number = views[ray / of_view].number * of_view as u64 + (ray % of_view) as u64;
            Stream::new(self.spec.run.seed, Purpose::DreamRay, number)
        };
        let ray = |i: usize| -> (Ray, f32) {
            let (mut stream, place) = (stream(i), i % of_view);
            let (x, y) = ((place % side) as f32, (place / side) as f32);
            let ray = cameras[i / of_view].ray(x + stream.uniform(), y + stream.uniform());
            (cube.ray_in_box(&ray), stream.uniform())
        };
        let mut samples = Samples::new();
        if let Sampling::Occupied { grid, march } = sampling {
            let starts: Vec<usize> = (0..views.len() * of_view).step_by(RAYS).collect();
            let parts = starts.into_par_iter().map(|first| {
                let last = (views.len() * of_view).min(first + RAYS);
                let (rays, jitter): (Vec<Ray>, Vec<f32>) = (first..last).map(ray).unzip();
                march_rays(&rays, (grid, march), &|i| jitter[i])
            });
            for part in parts.collect::<Vec<_>>() {
                samples.append(&part, usize::MAX);
            }
        }
        let field = fields[0].as_ref();
        let look = Look::new(
            field,
            &mut samples,
            self.spec.field.0.march.least_transmittance,
        );
        let of_rays = |view: &View| std::iter::repeat_n(*view, of_view);
        let lighting: Vec<Lighting> = views
            .iter()
            .flat_map(of_rays)
            .map(|view| view.lighting)
            .collect();
        let color = &look.appearance.color;
        let reach = self.spec.lighting.normal_reach;
        let lit = Lit::new(
            field,
            (&samples, color, &look.seen.weights),
            &lighting,
            reach,
        );
        Ok(Sight {
            seen: Seen::new(&samples, &look.geometry.density, &lit.color),
            behind: views
                .iter()
                .flat_map(of_rays)
                .map(|view| view.behind)
                .collect(),
            samples,
            look,
            lit,
        })
    }

    /// The pictures of `views`, each pixel the mean of its rays.
    fn pictures(&self, views: &[View], sight: &Sight) -> Vec<Picture> {
        let (side, rays) = (self.prior.side() as usize, self.spec.views.rays as usize);
        let of_view = side * side * rays * rays;
        let picture = |(i, view): (usize, &View)| {
            let mut pixels = vec![0.0; 3 * side * side];
            for place in 0..of_view {
                let ray = i * of_view + place;
                for c in 0..3 {
                    let behind = sight.seen.transmittance[ray] * sight.behind[ray][c];
                    let value = sight.seen.color[3 * ray + c] + behind;
                    let share = 1.0 / (rays * rays) as f32;
                    pixels[pixel(place, side, rays, c)] += share * (2.0 * value - 1.0);
                }
            }
            Picture {
                pixels,
                viewpoint: view.viewpoint,
                behind: view.behind,
                number: view.number,
            }
        };
        views.iter().enumerate().map(picture).collect()
    }

    /// Adds to the gradients of the weights what follows from `gradients` of the pictures and from the regularisers.
    /// Gives the mean opacity.
    fn learn(&mut self, sight: Sight, gradients: &[Vec<f32>], progress: f64) -> f64 {
        let (side, rays) = (self.prior.side() as usize, self.spec.views.rays as usize);
        let of_view = side * side * rays * rays;
        let n_rays = sight.samples.n_rays();
        let weights = &self.spec.regularizers;
        let Sight {
            samples,
            look,
            lit,
            seen,
            behind,
        } = &sight;
        let share = 1.0 / n_rays.max(1) as f32;
        let mut by_color = vec![0.0; 3 * n_rays];
        let mut by_transmittance = vec![0.0; n_rays];
        let mut sum = 0.0;
        for ray in 0..n_rays {
            let (view, place) = (ray / of_view, ray % of_view);
            for c in 0..3 {
                // A mean over rays of the gradient by values in [-1, 1].
                let by = 2.0 * share * gradients[view][pixel(place, side, rays, c)];
                by_color[3 * ray + c] = by;
                by_transmittance[ray] += by * behind[ray][c];
            }
            let opacity = 1.0 - seen.transmittance[ray];
            sum += f64::from(opacity);
            by_transmittance[ray] -= share * weights.by_opacity(opacity, progress);
        }
        let mut by_weights = vec![0.0; samples.len()];
        let spread = weights.distortion * progress as f32;
        distortion(samples, &seen.weights, spread, &mut by_weights);
        let (by_density, mut by_lit) = seen.backward(
            samples,
            &lit.color,
            &by_color,
            &by_transmittance,
            by_weights,
        );
        let normals: Vec<_> = lit.normals().collect();
        let of = (samples, &seen.weights[..]);
        let by_normals = weights.by_normals(&normals, of, self.fine_side());
        let Learner {
            model, gradients, ..
        } = &mut self.learner;
        let field = model.fields[0].as_ref();
        let color = &look.appearance.color;
        let to = &mut gradients[..field.weights().len()];
        lit.backward(field, (color, &mut by_lit), by_normals, to);
        let forward = (&look.geometry, &look.appearance);
        field.backward(samples, forward, &by_density, &by_lit, to);
        sum / n_rays.max(1) as f64
    }
}

/// Where channel `c` of the pixel lies that ray `place` of a view belongs to.
fn pixel(place: usize, side: usize, rays: usize, c: usize) -> usize {
    let (x, y) = (place % (side * rays) / rays, place / (side * rays) / rays);
    (c * side + y) * side + x
}

fn root_mean_square(gradients: &[Vec<f32>]) -> f64 {
    let values = gradients.iter().flatten();
    let sum: f64 = values.clone().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (sum / values.count().max(1) as f64).sqrt()
}

/// Time since the last look at it.
struct Clock(std::time::Instant);

impl Clock {
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn lap(&mut self) -> f64 {
        let seconds = self.0.elapsed().as_secs_f64();
        self.0 = std::time::Instant::now();
        seconds
    }
}
