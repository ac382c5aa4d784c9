//! How good drawn pictures are: retrieval of their prompts, and the distance of their features from
//! those of real ones. Each figure comes with its sample count and an interval.

mod frechet;
mod interval;
mod judge;
mod object_color;
mod retrieval;
mod tower;

pub use frechet::{FeatureGaussian, frechet_distance};
pub use interval::{Interval, Share};
pub use judge::{Judge, Verdicts};
pub use object_color::{color_in, object_color, without_color};
pub use retrieval::nearest;
pub use tower::{Sentences, TowerReport, TowerSpec, TowerTrainer, VIEWS};
