//! A network's folder as diffusers lays it out: config.json and the weights beside it.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use dreamsmith_base::{create_folder, read_limited, write_atomic_bytes};
use dreamsmith_kernels::Precision;

use crate::compass::{Compass, CompassConfig};
use crate::error::NetError;
use crate::image_tower::{ImageTower, ImageTowerConfig};
use crate::unet_2d::{UNet2DConfig, UNet2DModel};
use crate::unet_2d_condition::UNet2DConditionModel;
use crate::unet_2d_condition_config::UNet2DConditionConfig;
use crate::weights::{WeightType, load_weights, save_weights};

/// The config of a network.
pub const CONFIG_FILE: &str = "config.json";

/// The weights of a network.
pub const WEIGHT_FILE: &str = "diffusion_pytorch_model.safetensors";

/// The weights of a network published in half precision only.
const HALF_WEIGHT_FILE: &str = "diffusion_pytorch_model.fp16.safetensors";

/// Far more than any config needs.
pub(crate) const MAX_CONFIG_BYTES: u64 = 1 << 20;

impl UNet2DModel {
    /// Reads config and weights from `folder` onto `device`, to multiply in `precision`.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, NetError> {
        load(folder, |text| {
            UNet2DConfig::from_json(text)?.init(0, device, precision)
        })
    }

    /// Writes config and weights into `folder`, which is created if need be.
    pub fn save(&self, folder: &Path, weight_type: WeightType) -> Result<(), NetError> {
        save(self, &self.config().to_json(), folder, weight_type)
    }
}

impl UNet2DConditionModel {
    /// Reads config and weights from `folder` onto `device`, to multiply in `precision`.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, NetError> {
        load(folder, |text| {
            UNet2DConditionConfig::from_json(text)?.init(0, device, precision)
        })
    }

    /// Writes config and weights into `folder`, which is created if need be.
    pub fn save(&self, folder: &Path, weight_type: WeightType) -> Result<(), NetError> {
        save(self, &self.config().to_json(), folder, weight_type)
    }
}

impl ImageTower {
    /// Reads config and weights from `folder` onto `device`, to multiply in `precision`.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, NetError> {
        load(folder, |text| {
            ImageTowerConfig::from_json(text)?.init(0, device, precision)
        })
    }

    /// Writes config and weights into `folder`, which is created if need be.
    pub fn save(&self, folder: &Path, weight_type: WeightType) -> Result<(), NetError> {
        save(self, &self.config().to_json(), folder, weight_type)
    }
}

impl Compass {
    /// Reads config and weights from `folder` onto `device`, to multiply in `precision`.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, NetError> {
        load(folder, |text| {
            CompassConfig::from_json(text)?.init(0, device, precision)
        })
    }

    /// Writes config and weights into `folder`, which is created if need be.
    pub fn save(&self, folder: &Path, weight_type: WeightType) -> Result<(), NetError> {
        save(self, &self.config().to_json(), folder, weight_type)
    }
}

fn load<M: Module>(
    folder: &Path,
    build: impl FnOnce(&str) -> Result<M, NetError>,
) -> Result<M, NetError> {
    let path = folder.join(CONFIG_FILE);
    let bytes = read_limited(&path, MAX_CONFIG_BYTES)?;
    let module = build(&String::from_utf8_lossy(&bytes));
    let module = module.map_err(|source| NetError::InFile {
        path,
        source: Box::new(source),
    })?;
    load_weights(module, &weights_in(folder)?)
}

/// The weight file of the network in `folder`.
pub fn weights_in(folder: &Path) -> Result<PathBuf, NetError> {
    let candidates = [WEIGHT_FILE, HALF_WEIGHT_FILE];
    candidates
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| NetError::NoWeights {
            folder: folder.to_path_buf(),
            wanted: candidates.join(" or "),
        })
}

fn save<M: Module>(
    module: &M,
    config: &str,
    folder: &Path,
    weight_type: WeightType,
) -> Result<(), NetError> {
    create_folder(folder)?;
    write_atomic_bytes(&folder.join(CONFIG_FILE), config.as_bytes())?;
    save_weights(module, &folder.join(WEIGHT_FILE), weight_type)
}
