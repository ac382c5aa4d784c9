//! How good drawn pictures are: retrieval of their prompts, and the distance of their features from
//! those of real ones; and from which side objects are seen. Each figure comes with its sample count and an interval.

mod bearing;
mod compass;
mod frechet;
mod interval;
mod judge;
mod object_color;
mod retrieval;
mod sectors;
mod tower;

pub use bearing::{BearingError, Bearings};
pub use compass::{CompassReport, CompassSpec, CompassTrainer};
pub use frechet::{FeatureGaussian, frechet_distance};
pub use interval::{Interval, Share};
pub use judge::{Judge, Verdicts};
pub use object_color::{color_in, object_color, without_color};
pub use retrieval::nearest;
pub use sectors::{Fronts, frontness};
pub use tower::{Sentences, TowerReport, TowerSpec, TowerTrainer, VIEWS};
