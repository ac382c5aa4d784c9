//! U-Nets against diffusers, their gradients, and their weight files.

mod golden;
mod parity;
