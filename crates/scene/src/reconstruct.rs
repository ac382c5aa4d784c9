//! Learning a radiance field from posed pictures: one step is some random pixels of all views, what the field shows at
//! them, and a step of Adam. Leaves out the loop around it (`run`).

use dreamsmith_base::{Camera, Purpose, Ray, Stream};
use dreamsmith_data::View;
use rayon::prelude::*;

use crate::distortion::distortion;
use crate::hierarchical::random_places;
use crate::learner::Learner;
use crate::look::Look;
use crate::model::{Model, Sampling, march_rays, refine_all, spread_all};
use crate::reconstruct_error::ReconstructError;
use crate::samples::Samples;
use crate::spec::{FieldSpec, ReconstructSpec};
use crate::thinning::Drawn;

/// Rays that a thread draws at a time.
const RAYS: usize = 64;
/// The fewest that are drawn together.
const ROUND: usize = 4 * RAYS;
/// More rays than a step can have; separates the random numbers of steps.
const MOST_RAYS: u64 = 1 << 24;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Its number; the first is 1.
    pub step: u64,
    /// The mean loss of a channel of a pixel.
    pub loss: f64,
    /// The mean squared error of a channel of a pixel.
    pub squared_error: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Rays.
    pub rays: usize,
    /// Samples whose density was asked.
    pub samples: usize,
    /// Those of them that were seen, and learnt from.
    pub seen: usize,
}

/// A reconstruction at some step.
pub struct Reconstruction {
    spec: ReconstructSpec,
    views: Vec<View>,
    /// Pixels of all views before each.
    pixels_before: Vec<u64>,
    learner: Learner,
    /// Rays of the last step: the next has about as many.
    usual_rays: usize,
}

/// Some pixels.
#[derive(Default)]
struct Batch {
    /// In the box `[R]`.
    rays: Vec<Ray>,
    /// sRGB and alpha `[R]`.
    targets: Vec<[f32; 4]>,
}

impl Reconstruction {
    /// A reconstruction from `views` that has learnt nothing.
    pub fn new(spec: ReconstructSpec, views: Vec<View>) -> Result<Self, ReconstructError> {
        spec.check()?;
        if views.is_empty() {
            return Err(ReconstructError::NoViews);
        }
        let cameras: Vec<Camera> = views.iter().map(|view| view.camera).collect();
        let model = Model::new(&spec, &cameras)?;
        let mut pixels_before = vec![];
        let mut sum = 0;
        for view in &views {
            pixels_before.push(sum);
            sum += u64::from(view.picture.width()) * u64::from(view.picture.height());
        }
        pixels_before.push(sum);
        Ok(Self {
            spec,
            views,
            pixels_before,
            learner: Learner::new(model),
            usual_rays: 0,
        })
    }

    /// What it was made from.
    pub fn spec(&self) -> &ReconstructSpec {
        &self.spec
    }

    /// What it learns from.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// The field as it is.
    pub fn model(&self) -> &Model {
        &self.learner.model
    }

    /// What learns.
    pub(crate) fn learner(&self) -> &Learner {
        &self.learner
    }

    /// What learns, to be filled from a checkpoint.
    pub(crate) fn learner_mut(&mut self) -> &mut Learner {
        &mut self.learner
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.learner.steps_done()
    }

    /// One step, at the share `progress` of the run.
    pub fn step(&mut self, progress: f64) -> Result<StepReport, ReconstructError> {
        if let FieldSpec::Hash(hash) = &self.spec.field {
            self.learner
                .follow_occupancy(hash.occupancy.every, self.spec.run.seed);
        }
        let mut report = match &self.model().sampling {
            Sampling::Occupied { .. } => self.learn_occupied(),
            Sampling::Hierarchical { .. } => self.learn_hierarchical(),
        };
        report.learning_rate = self.spec.optimizer.rate(progress, report.step);
        let bad = match report.loss.is_finite() {
            true => self.learner.not_finite(),
            false => Some("the loss"),
        };
        if let Some(place) = bad {
            let step = report.step;
            return Err(ReconstructError::NotFinite { step, place });
        }
        self.learner
            .descend(&self.spec.optimizer, report.learning_rate);
        Ok(report)
    }

    /// As many rays as have the asked number of samples in occupied cells.
    fn learn_occupied(&mut self) -> StepReport {
        let Sampling::Occupied { grid, march } = &self.model().sampling else {
            return self.report();
        };
        let (mut batch, mut samples) = (Batch::default(), Samples::new());
        let mut all = true;
        while all && batch.rays.len() < march.rays {
            let first = batch.rays.len();
            // About as many as the last step had. How many are drawn together changes nothing.
            let usual = self.usual_rays + self.usual_rays / 32;
            let n = usual.saturating_sub(first).max(first / 8).max(ROUND);
            let last = march.rays.min(first + n);
            let starts: Vec<usize> = (first..last).step_by(RAYS).collect();
            let parts = starts.into_par_iter().map(|first| {
                let more = self.pixels(first, RAYS.min(last - first));
                let jitter = |i: usize| self.stream(Purpose::RaySamples, first + i).uniform();
                let marched = march_rays(&more.rays, (grid, march), &jitter);
                (more, marched)
            });
            for (more, marched) in parts.collect::<Vec<_>>() {
                all = all && samples.append(&marched, march.samples);
                batch.rays.extend(more.rays);
                batch.targets.extend(more.targets);
            }
        }
        batch.rays.truncate(samples.n_rays());
        batch.targets.truncate(samples.n_rays());
        let mut report = self.report();
        report.samples = samples.len();
        let least = march.least_transmittance;
        let look = Look::new(self.model().field(), &mut samples, least);
        self.usual_rays = samples.n_rays();
        self.learn(0, &batch, (samples, look), &mut report);
        report
    }

    /// A fixed number of rays, looked at by both fields.
    fn learn_hierarchical(&mut self) -> StepReport {
        let (FieldSpec::Nerf(nerf), &Sampling::Hierarchical { coarse, fine }) =
            (&self.spec.field, &self.model().sampling)
        else {
            return self.report();
        };
        let batch = self.pixels(0, nerf.rays);
        let stream = |i| self.stream(Purpose::RaySamples, i);
        let mut first = spread_all(&batch.rays, &|i| random_places(coarse, &mut stream(i)));
        let mut report = self.report();
        let look = Look::new(self.model().fields[0].as_ref(), &mut first, 0.0);
        let more = |i: usize| random_places(fine, &mut stream(MOST_RAYS as usize / 2 + i));
        let mut second = refine_all(&batch.rays, (&first, &look.seen), &more);
        report.samples = first.len() + second.len();
        self.learn(0, &batch, (first, look), &mut report);
        // The field that is seen counts, not the sum of both.
        (report.loss, report.squared_error) = (0.0, 0.0);
        let look = Look::new(self.model().field(), &mut second, 0.0);
        self.learn(1, &batch, (second, look), &mut report);
        report
    }

    fn report(&self) -> StepReport {
        StepReport {
            step: self.steps_done() + 1,
            loss: 0.0,
            squared_error: 0.0,
            learning_rate: 0.0,
            rays: 0,
            samples: 0,
            seen: 0,
        }
    }

    /// The random numbers of a ray of this step.
    fn stream(&self, purpose: Purpose, ray: usize) -> Stream {
        let index = self.steps_done() * MOST_RAYS + ray as u64;
        Stream::new(self.spec.run.seed, purpose, index)
    }

    /// The pixels of rays `first` to `first + n` of this step.
    fn pixels(&self, first: usize, n: usize) -> Batch {
        let total = self.pixels_before[self.views.len()];
        let pixel = |ray| {
            let pixel = self.stream(Purpose::Pixels, ray).below(total);
            let view = self
                .pixels_before
                .partition_point(|before| *before <= pixel)
                - 1;
            let within = pixel - self.pixels_before[view];
            let View {
                camera, picture, ..
            } = &self.views[view];
            let width = u64::from(picture.width());
            let (x, y) = ((within % width) as f32, (within / width) as f32);
            let ray = camera.ray(x + 0.5, y + 0.5);
            let rgba = &picture.rgba()[4 * within as usize..][..4];
            let target = [0, 1, 2, 3].map(|i| f32::from(rgba[i]) / 255.0);
            (self.model().cube.ray_in_box(&ray), target)
        };
        let (rays, targets) = (first..first + n).map(pixel).unzip();
        Batch { rays, targets }
    }

    /// Adds the gradients of field number `field` and of the background to those of this step.
    fn learn(
        &mut self,
        field: usize,
        batch: &Batch,
        (mut samples, mut look): (Samples, Look),
        report: &mut StepReport,
    ) {
        let n_rays = batch.rays.len();
        let background = &self.model().background;
        let stream = |ray| self.stream(Purpose::Background, ray);
        let behind = background.training_colors(&samples.dirs, &stream);
        let scale = 1.0 / (3 * n_rays.max(1)) as f32;
        let mut by_color = vec![0.0; 3 * n_rays];
        let mut by_behind = vec![0.0; 3 * n_rays];
        let mut by_transmittance = vec![0.0; n_rays];
        for (ray, target) in batch.targets.iter().enumerate() {
            let left = look.seen.transmittance[ray];
            for c in 0..3 {
                let i = 3 * ray + c;
                let wanted = target[c] * target[3] + behind[i] * (1.0 - target[3]);
                let error = look.seen.color[i] + left * behind[i] - wanted;
                let (loss, slope) = self.spec.loss.of(error);
                report.loss += f64::from(loss * scale);
                report.squared_error += f64::from(error * error * scale);
                by_color[i] = slope * scale;
                by_behind[i] = slope * scale * left;
                by_transmittance[ray] += slope * scale * behind[i];
            }
        }
        let color = &look.appearance.color;
        let spread = self.spec.regularizers.distortion;
        let mut by_weights = vec![0.0; samples.len()];
        distortion(&samples, &look.seen.weights, spread, &mut by_weights);
        let (mut by_density, mut by_sample_color) =
            look.seen
                .backward(&samples, color, &by_color, &by_transmittance, by_weights);
        if let Sampling::Hierarchical { .. } = self.model().sampling {
            let mut stream = self.stream(Purpose::RaySamples, MOST_RAYS as usize - 1 - field);
            let sizes = sizes(&look, &by_density, &by_sample_color);
            let drawn = Drawn::new(&sizes, stream.uniform());
            samples.thin(&drawn);
            look.geometry.thin(&drawn);
            look.appearance.thin(&drawn);
            drawn.weigh(1, &mut by_density);
            drawn.weigh(3, &mut by_sample_color);
        }
        let Learner {
            model, gradients, ..
        } = &mut self.learner;
        let of_field = |i: usize| model.fields[i].weights().len();
        let start: usize = (0..field).map(of_field).sum();
        model.fields[field].backward(
            &samples,
            (&look.geometry, &look.appearance),
            &by_density,
            &by_sample_color,
            &mut gradients[start..start + of_field(field)],
        );
        if let Some(to) = gradients.last_mut() {
            model
                .background
                .backward(&samples.dirs, &behind, &by_behind, to);
        }
        report.rays = n_rays;
        report.seen += samples.len();
    }
}

/// How much the loss changes with each sample's density, by a share of itself, and with what leads to its colour, through
/// a slope of 1/4 at most `[S]`.
fn sizes(look: &Look, by_density: &[f32], by_color: &[f32]) -> Vec<f32> {
    let density = look.geometry.density.iter().zip(by_density);
    let pairs = density.zip(by_color.chunks_exact(3));
    pairs
        .map(|((density, by), by_color)| {
            density * by.abs() + 0.25 * by_color.iter().map(|by| by.abs()).sum::<f32>()
        })
        .collect()
}
