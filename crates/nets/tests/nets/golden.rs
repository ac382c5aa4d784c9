//! The golden cases of testdata/nets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use dreamsmith_nets::Precision;
use dreamsmith_nets::unet_2d_condition_config::ClassEmbedType;
use dreamsmith_nets::{
    ClassCondition, TextTime, UNet2DConditionModel, UNet2DModel, UNetCondition, parameter_shapes,
};
use safetensors::SafeTensors;

pub const UNCONDITIONAL: [&str; 4] = [
    "uncond",
    "uncond_class",
    "uncond_resnet_resampling",
    "uncond_resnet_blocks",
];

pub const CONDITIONAL: [&str; 10] = [
    "sd1",
    "sd2",
    "sd_upscaler",
    "sdxl",
    "asymmetric",
    "if1",
    "if2",
    "class_projection",
    "class_simple_projection",
    "class_identity",
];

/// A tiny network with inputs and the reference's output.
pub enum Case {
    Unconditional(Box<UNet2DModel>, Inputs),
    Conditional(Box<UNet2DConditionModel>, Inputs),
}

/// The tensors of io.safetensors.
pub struct Inputs {
    tensors: BTreeMap<String, TensorData>,
    device: Device,
}

pub fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/nets")
        .join(case)
}

impl Case {
    pub fn load(case: &str, folder: &Path, device: &Device) -> Self {
        Self::load_in(Precision::F32, case, folder, device)
    }

    pub fn load_in(precision: Precision, case: &str, folder: &Path, device: &Device) -> Self {
        let inputs = Inputs::read(&self::folder(case), device);
        if UNCONDITIONAL.contains(&case) {
            Self::Unconditional(
                Box::new(UNet2DModel::load(folder, device, precision).unwrap()),
                inputs,
            )
        } else {
            Self::Conditional(
                Box::new(UNet2DConditionModel::load(folder, device, precision).unwrap()),
                inputs,
            )
        }
    }

    pub fn inputs(&self) -> &Inputs {
        match self {
            Self::Unconditional(_, inputs) | Self::Conditional(_, inputs) => inputs,
        }
    }

    /// The same network, given one image of the batch.
    pub fn image(&self, i: usize) -> Self {
        match self {
            Self::Unconditional(net, inputs) => Self::Unconditional(net.clone(), inputs.image(i)),
            Self::Conditional(net, inputs) => Self::Conditional(net.clone(), inputs.image(i)),
        }
    }

    pub fn forward(&self) -> Tensor<4> {
        match self {
            Self::Unconditional(net, inputs) => net.forward(
                inputs.tensor("sample"),
                inputs.tensor("timestep"),
                inputs.labels(),
            ),
            Self::Conditional(net, inputs) => net.forward(
                inputs.tensor("sample"),
                inputs.tensor("timestep"),
                &inputs.condition(net.config().class_embed_type),
            ),
        }
    }

    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::Unconditional(net, _) => parameter_shapes(&**net),
            Self::Conditional(net, _) => parameter_shapes(&**net),
        }
    }
}

impl Inputs {
    fn read(folder: &Path, device: &Device) -> Self {
        let bytes = std::fs::read(folder.join("io.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let values: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            (
                name.to_owned(),
                TensorData::new(values, view.shape().to_vec()),
            )
        });
        Self {
            tensors: tensors.collect(),
            device: device.clone(),
        }
    }

    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.find(name).unwrap()
    }

    fn find<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        let data = self.tensors.get(name)?;
        Some(Tensor::from_data(data.clone(), &self.device))
    }

    /// The inputs of one image of the batch.
    pub fn image(&self, i: usize) -> Self {
        let tensors = self.tensors.iter().map(|(name, data)| {
            let values: Vec<f32> = data.iter::<f32>().collect();
            let mut shape = data.shape().to_vec();
            let length = values.len() / shape[0];
            shape[0] = 1;
            let values = values[i * length..(i + 1) * length].to_vec();
            (name.clone(), TensorData::new(values, shape))
        });
        Self {
            tensors: tensors.collect(),
            device: self.device.clone(),
        }
    }

    pub fn labels(&self) -> Option<Tensor<1, Int>> {
        Some(self.find::<1>("class_labels")?.int())
    }

    pub fn condition(&self, class: Option<ClassEmbedType>) -> UNetCondition {
        let class = match class {
            None => self.labels().map(ClassCondition::Label),
            Some(ClassEmbedType::Timestep) => self.find("class_labels").map(ClassCondition::Number),
            Some(_) => self.find("class_labels").map(ClassCondition::Vector),
        };
        let text_time = self.find("text_embeds").map(|text_embeds| TextTime {
            text_embeds,
            time_ids: self.tensor("time_ids"),
        });
        UNetCondition {
            encoder_hidden_states: self.tensor("encoder_hidden_states"),
            mask: self.find::<2>("mask").map(|mask| mask.greater_elem(0.5)),
            class,
            text_time,
        }
    }
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// ‖a - b‖ / ‖b‖.
pub fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm =
        |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}
