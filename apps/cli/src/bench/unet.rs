//! The measured network: a text-conditional U-Net of 17 million parameters, whose config is in
//! bench/unet.json, evaluated as pipelines do it and trained as `train` does it.

use std::path::Path;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use dreamsmith_base::write_atomic_bytes;
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::optimizer::{OptimizerSpec, add_gradients};
use dreamsmith_diffusion::workers::Workers;
use dreamsmith_nets::{UNet2DConditionConfig, UNet2DConditionModel, UNetCondition, WeightType};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::bench::rows::normals;

const CONFIG: &str = include_str!("../../../../bench/unet.json");
const SIDE: usize = 64;
const TOKENS: usize = 16;
/// Of a token, as the config says.
const FEATURES: usize = 384;
const SEED: u64 = 0;
const LEARNING_RATE: f64 = 1e-4;

/// Images that a thread trains on at a time.
const MICRO_BATCH: usize = 4;

/// What an example is written to, beside the weights.
const EXAMPLE_FILE: &str = "example.safetensors";

/// The U-Net, without autodiff.
pub(super) struct Network(UNet2DConditionModel);

/// What goes into the network for some images.
#[derive(Clone)]
struct Inputs {
    sample: Tensor<4>,
    timestep: Tensor<1>,
    text: Tensor<3>,
}

impl Inputs {
    fn new(network: &UNet2DConditionModel, batch: usize) -> Self {
        let device = Device::flex();
        let channels = network.config().in_channels;
        Self {
            sample: normals([batch, channels, SIDE, SIDE], &device),
            timestep: Tensor::<1>::ones([batch], &device) * 5.0,
            text: normals([batch, TOKENS, FEATURES], &device),
        }
    }

    /// `count` images from `first` on.
    fn part(&self, first: usize, count: usize) -> Self {
        Self {
            sample: self.sample.clone().narrow(0, first, count),
            timestep: self.timestep.clone().narrow(0, first, count),
            text: self.text.clone().narrow(0, first, count),
        }
    }

    fn autodiff(self) -> Self {
        Self {
            sample: Tensor::from_inner(self.sample),
            timestep: Tensor::from_inner(self.timestep),
            text: Tensor::from_inner(self.text),
        }
    }

    fn run(self, network: &UNet2DConditionModel) -> Tensor<4> {
        network.forward(self.sample, self.timestep, &UNetCondition::text(self.text))
    }
}

impl Network {
    /// Multiplications and additions of one image, as PyTorch counts them.
    pub(super) const FLOPS: f64 = 5.19e9;

    /// With the weights in `folder`, or with those of a seed.
    pub(super) fn new(folder: Option<&Path>, precision: Precision) -> anyhow::Result<Self> {
        let device = Device::flex();
        let network = match folder {
            Some(folder) => UNet2DConditionModel::load(folder, &device, precision)?,
            None => UNet2DConditionConfig::from_json(CONFIG)?.init(SEED, &device, precision)?,
        };
        Ok(Self(network.valid()))
    }

    /// Writes a diffusers folder with an example beside it: sample, timestep, text, output.
    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        self.0.save(folder, WeightType::F32)?;
        let inputs = Inputs::new(&self.0, 2);
        let tensors = [
            ("sample", bytes(&inputs.sample)?),
            ("timestep", bytes(&inputs.timestep)?),
            ("text", bytes(&inputs.text)?),
            ("output", bytes(&inputs.run(&self.0))?),
        ];
        let views = tensors.iter().map(|(name, (shape, bytes))| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (*name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let file = safetensors::serialize(views, None)?;
        Ok(write_atomic_bytes(&folder.join(EXAMPLE_FILE), &file)?)
    }

    /// One evaluation: images side by side, each on one thread, where there are enough of them.
    pub(super) fn forward(
        self,
        batch: usize,
    ) -> anyhow::Result<impl FnMut() -> Vec<Tensor<4>> + Send> {
        let each = if batch < rayon::current_num_threads() {
            batch
        } else {
            1
        };
        let jobs = batch / each;
        let workers = Workers::new(&Device::flex(), jobs)?;
        let inputs = Inputs::new(&self.0, batch);
        Ok(move || workers.map(jobs, |job| inputs.part(job * each, each).run(&self.0)))
    }

    /// One step towards the sample itself: forward, backward, AdamW; gives the loss.
    pub(super) fn training_step(self, batch: usize) -> anyhow::Result<impl FnMut() -> f64 + Send> {
        let jobs = batch / MICRO_BATCH;
        let workers = Workers::new(&Device::flex(), jobs)?;
        let inputs = Inputs::new(&self.0, batch);
        let values = inputs.sample.shape().num_elements() as f64;
        let mut optimizer = OptimizerSpec::default().build();
        let mut network = Some(self.0);
        let micro_batch = move |network: &UNet2DConditionModel, job: usize| {
            let network = network.clone().train();
            let inputs = inputs.part(job * MICRO_BATCH, MICRO_BATCH).autodiff();
            let target = inputs.sample.clone();
            let loss = (inputs.run(&network) - target).square().sum() / values;
            let value: f32 = loss.clone().inner().into_scalar();
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            (f64::from(value), gradients)
        };
        Ok(move || {
            let Some(weights) = network.take() else {
                return f64::NAN;
            };
            let (loss, gradients) = workers.fold(
                jobs,
                (0.0, GradientsParams::new()),
                |job| micro_batch(&weights, job),
                |(a, sum), (b, more)| (a + b, add_gradients(&weights, sum, more)),
            );
            let weights = optimizer.step(LEARNING_RATE, weights.train(), gradients);
            network = Some(weights.valid());
            loss
        })
    }
}

/// Shape and values.
fn bytes<const D: usize>(x: &Tensor<D>) -> anyhow::Result<(Vec<usize>, Vec<u8>)> {
    let values = x.to_data().try_into_vec::<f32>()?;
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    Ok((x.dims().to_vec(), bytes.collect()))
}
