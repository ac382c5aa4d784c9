//! Text encoders against transformers, what they do with long and odd prompts, and with broken folders.

mod batch;
mod golden;
mod hostile;
mod parity;
mod prompts;
mod saving;
