//! Parameters by the names of diffusers: listed, saved and loaded.
//! Leaves out sharded files.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};

use crate::error::NetError;
use crate::naming::Naming;
use crate::weight_file::{self, WeightFile};

pub use crate::weight_file::WeightType;

/// A parameter with the name it has in a weight file.
#[derive(Clone, Debug)]
pub struct NamedParameter {
    /// As in diffusers: `down_blocks.0.resnets.0.norm1.weight`.
    pub name: String,
    /// What optimisers know it by; the same in every process for the same config.
    pub id: ParamId,
    /// As in PyTorch: a linear weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// The values in row-major order, outside any autodiff graph.
    pub values: Tensor<1>,
}

/// All parameters, sorted by name.
pub fn named_parameters<M: Module>(module: &M) -> Vec<NamedParameter> {
    struct Values {
        path: ParameterPath,
        found: Vec<NamedParameter>,
    }
    impl ModuleVisitor for Values {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val().without_autodiff();
            let shape = tensor.dims().to_vec();
            let values = tensor.reshape([shape.iter().product::<usize>()]);
            self.found.push(NamedParameter {
                name: self.path.name(),
                id: param.id,
                shape,
                values,
            });
        }
    }
    let mut visitor = Values {
        path: ParameterPath::default(),
        found: Vec::new(),
    };
    module.visit(&mut visitor);
    visitor.found.sort_by(|a, b| a.name.cmp(&b.name));
    visitor.found
}

/// Names and shapes of all parameters, sorted by name, without drawing or reading their values.
pub fn parameter_shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    struct Shapes {
        path: ParameterPath,
        found: BTreeMap<String, Vec<usize>>,
    }
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found
                .insert(self.path.name(), param.lazy_shape().as_slice().to_vec());
        }
    }
    let mut visitor = Shapes {
        path: ParameterPath::default(),
        found: BTreeMap::new(),
    };
    module.visit(&mut visitor);
    visitor.found
}

/// Writes all parameters as safetensors, whole or not at all.
pub fn save_weights<M: Module>(
    module: &M,
    path: &Path,
    weight_type: WeightType,
) -> Result<(), NetError> {
    save_weights_as(module, path, weight_type, &Naming::DIFFUSERS)
}

/// The same for a family that names its tensors in its own way.
pub(crate) fn save_weights_as<M: Module>(
    module: &M,
    path: &Path,
    weight_type: WeightType,
    naming: &Naming,
) -> Result<(), NetError> {
    let parameters = named_parameters(module);
    let shapes: Vec<_> = parameters
        .iter()
        .map(|p| (naming.in_file(&p.name), p.shape.clone()))
        .collect();
    weight_file::write(path, &shapes, weight_type, |i| {
        parameters[i].values.to_data().iter::<f32>().collect()
    })
}

/// Reads every parameter of `module` from a safetensors file, whose tensors must be exactly those
/// of the module. Each goes to the device that the module is on.
///
/// The attention layers of old files (`query`, `key`, `value`, `proj_attn`) are known by those names.
pub fn load_weights<M: Module>(module: M, path: &Path) -> Result<M, NetError> {
    load_weights_as(module, path, &Naming::DIFFUSERS)
}

/// The same for a family that names its tensors in its own way.
pub(crate) fn load_weights_as<M: Module>(
    module: M,
    path: &Path,
    naming: &Naming,
) -> Result<M, NetError> {
    struct Loader {
        path: ParameterPath,
        file: WeightFile,
        names: BTreeMap<String, String>,
        failure: Option<NetError>,
    }
    impl ModuleMapper for Loader {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if self.failure.is_some() {
                return param;
            }
            let name = self.path.name();
            match self.file.read(self.names.get(&name).unwrap_or(&name)) {
                Ok(values) => {
                    let data = TensorData::new(values, param.lazy_shape());
                    let tensor = Tensor::from_data(data, &param.lazy_device());
                    let id = param.id;
                    param.transform_for_load(tensor, id)
                }
                Err(error) => {
                    self.failure = Some(error);
                    param
                }
            }
        }
    }
    let file = WeightFile::open(path)?;
    let names = matching_names(&file, &parameter_shapes(&module), naming)?;
    let mut loader = Loader {
        path: ParameterPath::default(),
        file,
        names,
        failure: None,
    };
    let module = module.map(&mut loader);
    match loader.failure {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// From the module's names to the file's, having checked that both agree on names and shapes.
fn matching_names(
    file: &WeightFile,
    wanted: &BTreeMap<String, Vec<usize>>,
    naming: &Naming,
) -> Result<BTreeMap<String, String>, NetError> {
    let path = || file.path().to_path_buf();
    let mut names = BTreeMap::new();
    let mut unexpected = Vec::new();
    for (stored, shape) in file.shapes() {
        let Some(name) = naming.in_module(stored) else {
            continue;
        };
        match wanted.get(&name) {
            None => unexpected.push(stored.to_owned()),
            Some(wanted) if wanted.as_slice() == shape => {
                names.insert(name, stored.to_owned());
            }
            Some(wanted) => {
                let (found, wanted) = (shape.to_vec(), wanted.clone());
                return Err(NetError::Misshapen {
                    path: path(),
                    name: naming.in_file(&name),
                    found,
                    wanted,
                });
            }
        }
    }
    let mut missing = wanted.iter().filter(|(name, _)| !names.contains_key(*name));
    if let Some((name, shape)) = missing.next() {
        let (name, shape, others) = (naming.in_file(name), shape.clone(), missing.count());
        return Err(NetError::MissingTensor {
            path: path(),
            name,
            shape,
            others,
        });
    }
    let others = unexpected.len().saturating_sub(1);
    match unexpected.into_iter().next() {
        Some(name) => Err(NetError::UnexpectedTensor {
            path: path(),
            name,
            others,
        }),
        None => Ok(names),
    }
}

/// The way from the module to a parameter. Enums are passed over, for which kind a layer is does not
/// show in its name.
#[derive(Debug, Default)]
struct ParameterPath(Vec<String>);

impl ParameterPath {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        self.0.join(".")
    }
}
