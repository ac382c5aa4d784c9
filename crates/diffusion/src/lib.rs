//! Diffusion: noise levels, schedules, predictions, guidance, samplers, losses.
//! Everything speaks sigma: `x = x0 + sigma * eps`. Timesteps live at one border, [`precondition`].

pub mod cascade;
pub mod checkpoint;
pub mod condition;
pub mod condition_spec;
pub mod denoise;
pub mod ema;
pub mod enlarge;
pub mod eval;
pub mod follower;
pub mod forward;
pub mod guidance;
pub mod inpaint;
mod kind;
pub mod lesson;
pub mod level;
pub mod levels;
mod linear_system;
pub mod loss;
pub mod model;
mod model_table;
pub mod noise;
pub mod optimizer;
pub mod optimizer_file;
pub mod patch;
pub mod perp_neg;
pub mod pipeline;
pub mod post_hoc;
pub mod precondition;
pub mod prediction;
pub mod run;
pub mod sampler;
pub mod samplers;
pub mod schedule;
pub mod scheduler_config;
pub mod spacing;
pub mod spec;
mod spec_check;
pub mod text;
pub mod threshold;
pub mod timestep_sampling;
pub mod train;
pub mod train_error;
pub mod unet;
pub mod view_map;
pub mod words;
pub mod workers;

/// How networks multiply.
pub use dreamsmith_nets::Precision;
