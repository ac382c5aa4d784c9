//! U-Nets against diffusers, their gradients, their configs and weight files.

mod batch;
mod config;
mod full_size;
mod golden;
mod gradient;
mod init;
mod parity;
mod weights;
