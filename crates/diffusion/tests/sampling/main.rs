//! Tests of the sampling half: levels, predictions, guidance, samplers, losses.
//! One binary, so that the tensor library is linked once.

mod batch;
mod conformance;
mod from_pictures;
mod golden;
mod guidance;
mod levels;
mod losses;
mod mixture;
mod predictions;
mod reference;
mod scheduler_config;
mod setting;
