//! `--device`: a name, and the burn device behind it if this program was built with it.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use burn::tensor::Device;

/// Where to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName {
    kind: Kind,
    index: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    Vulkan,
    Wgpu,
    Metal,
    Cuda,
}

impl Kind {
    const ALL: [(Self, &str); 5] = [
        (Self::Cpu, "cpu"),
        (Self::Vulkan, "vulkan"),
        (Self::Wgpu, "wgpu"),
        (Self::Metal, "metal"),
        (Self::Cuda, "cuda"),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => {
                let parsed = index.parse::<usize>();
                (
                    name,
                    Some(parsed.map_err(|_| format!("`{index}` is no device number"))?),
                )
            }
            None => (text, None),
        };
        match Kind::ALL.iter().find(|(_, known)| *known == name) {
            Some((Kind::Cpu, _)) if index.is_some() => Err("the cpu has no number".into()),
            Some((kind, _)) => Ok(Self { kind: *kind, index }),
            None => Err("expected cpu, vulkan, wgpu, metal or cuda".into()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        self.index.map_or(Ok(()), |index| write!(f, ":{index}"))
    }
}

impl DeviceName {
    /// The device, without autodiff.
    pub fn open(&self) -> anyhow::Result<Device> {
        #[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal"))]
        let adapter = self.index.map_or(
            burn::tensor::DeviceKind::DefaultDevice,
            burn::tensor::DeviceKind::DiscreteGpu,
        );
        match self.kind {
            Kind::Cpu => Ok(Device::flex()),
            #[cfg(feature = "vulkan")]
            Kind::Vulkan => Ok(Device::vulkan(adapter)),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu => Ok(Device::wgpu(adapter)),
            #[cfg(feature = "metal")]
            Kind::Metal => Ok(Device::metal(adapter)),
            #[cfg(feature = "cuda")]
            Kind::Cuda => Ok(Device::cuda(self.index.unwrap_or(0))),
            #[allow(unreachable_patterns)]
            kind => {
                let name = kind.name();
                bail!(
                    "device `{self}`: this program was built without {name}; build it with `--features {name}`, or use --device cpu"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_shown() {
        for name in ["cpu", "vulkan", "vulkan:1", "cuda:0"] {
            assert_eq!(
                name.parse::<DeviceName>().map(|d| d.to_string()),
                Ok(name.into())
            );
        }
        for name in ["gpu", "cpu:0", "vulkan:x", ""] {
            assert!(name.parse::<DeviceName>().is_err(), "{name}");
        }
    }
}
