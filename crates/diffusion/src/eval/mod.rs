//! How good drawn pictures are: retrieval of their prompts, and the distance of their features from
//! those of real ones. Each figure comes with its sample count and an interval.

mod frechet;
mod interval;
mod retrieval;
mod tower;

pub use frechet::{FeatureGaussian, frechet_distance};
pub use interval::{Interval, Share};
pub use retrieval::nearest;
pub use tower::{Sentences, TowerReport, TowerSpec, TowerTrainer, VIEWS};
