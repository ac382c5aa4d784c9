//! Text encoders: networks that were trained on words alone, read from files, and never trained here.

mod activation;
mod attention;
mod bert;
mod clip;
mod clip_tokenizer;
mod config;
mod encoder;
mod hidden;
mod network;
mod prompt;
mod states;
mod t5;
mod tokenizer;
mod window;

pub use encoder::TextEncoder;
pub use hidden::StatesFrom;
pub use prompt::WeightedPrompt;
pub use states::{Cut, TextStates, Unknown};
