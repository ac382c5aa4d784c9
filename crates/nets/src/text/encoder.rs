//! A frozen text encoder with its tokenizer, as transformers and diffusers keep them in folders.
//! A text's states depend on that text alone, to the bit: only texts of one length share a batch.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use dreamsmith_base::{create_folder, read_limited, write_atomic_bytes};
use dreamsmith_kernels::Precision;

use crate::error::NetError;
use crate::folder::{CONFIG_FILE, MAX_CONFIG_BYTES};
use crate::text::config::TextConfig;
use crate::text::hidden::StatesFrom;
use crate::text::network::Network;
use crate::text::prompt::WeightedPrompt;
use crate::text::states::{TextStates, weighted};
use crate::text::tokenizer::{PromptTokenizer, folder_of};
use crate::text::window::{Layout, Window};
use crate::weights::WeightType;

/// The encoder's folder in one of diffusers, and the tokenizer's.
const SUBFOLDERS: [&str; 2] = ["text_encoder", "tokenizer"];

/// Tokens that run through the network together, which bounds its memory.
const TOKENS_AT_ONCE: usize = 4096;

/// From prompts to states.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    network: Network,
    tokenizer: PromptTokenizer,
    config_text: String,
    device: Device,
    width: usize,
    token_limit: usize,
    layout: Layout,
    states_from: StatesFrom,
}

impl TextEncoder {
    /// Reads an encoder from `folder`, which holds config.json, model.safetensors and tokenizer.json,
    /// or the subfolders text_encoder and tokenizer, onto `device`, to multiply in `precision`.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, NetError> {
        let inner = folder.join(SUBFOLDERS[0]);
        let folder = match inner.join(CONFIG_FILE).is_file() {
            true => inner,
            false => folder.to_path_buf(),
        };
        let path = folder.join(CONFIG_FILE);
        let bytes = read_limited(&path, MAX_CONFIG_BYTES)?;
        let config_text = String::from_utf8_lossy(&bytes).into_owned();
        let config = TextConfig::from_json(&config_text);
        let config = config.map_err(|source| NetError::InFile {
            path,
            source: Box::new(source),
        })?;
        let tokenizer = PromptTokenizer::load(&folder_of(&folder), &config)?;
        Ok(Self {
            network: Network::load(&config, &folder, device, precision)?,
            layout: Layout::of(&config, &tokenizer),
            tokenizer,
            config_text,
            device: device.clone(),
            width: config.width(),
            token_limit: config.token_limit(),
            states_from: StatesFrom::Last,
        })
    }

    /// Writes text_encoder/ and tokenizer/ into `folder`, as diffusers lays them out.
    pub fn save(&self, folder: &Path, weight_type: WeightType) -> Result<(), NetError> {
        let [encoder, tokenizer] = SUBFOLDERS.map(|name| folder.join(name));
        create_folder(&encoder)?;
        write_atomic_bytes(&encoder.join(CONFIG_FILE), self.config_text.as_bytes())?;
        self.network.save(&encoder, weight_type)?;
        self.tokenizer.save(&tokenizer)
    }

    /// The class that reads text_encoder/ in transformers.
    pub fn transformers_class(&self) -> &'static str {
        self.network.transformers_class()
    }

    /// Weights of the network.
    pub fn n_weights(&self) -> usize {
        self.network.n_weights()
    }

    /// The features D of a token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The most tokens that run through the network at once, those around a prompt included. BERT and T5
    /// read no more; CLIP reads longer prompts in up to eight windows of this many, one after another.
    pub fn token_limit(&self) -> usize {
        self.token_limit
    }

    /// The same with fewer tokens at once.
    pub fn with_token_limit(mut self, limit: usize) -> Result<Self, NetError> {
        let least = self.tokenizer.frame_len() + 1;
        if !(least..=self.token_limit).contains(&limit) {
            return Err(NetError::TokenLimit {
                found: limit,
                least,
                most: self.token_limit,
            });
        }
        self.token_limit = limit;
        Ok(self)
    }

    /// The same with states from another layer. The pooled vector is the last layer's still.
    pub fn with_states_from(mut self, layer: StatesFrom) -> Self {
        self.states_from = layer;
        self
    }

    /// The states of `prompts`, at least one, padded to the longest. See [`TextEncoder::encode_weighted`].
    pub fn encode(&self, prompts: &[&str]) -> Result<TextStates, NetError> {
        let prompts: Vec<WeightedPrompt> =
            prompts.iter().map(|p| WeightedPrompt::plain(p)).collect();
        self.encode_weighted(&prompts)
    }

    /// The states of `prompts`, at least one, padded to the longest.
    ///
    /// `pooled` is the mean over the tokens for BERT and T5 [Reimers19], D' = D. For CLIP it is the state of
    /// the token that ends the first window, projected if the encoder has a projection [Radford21].
    /// A token has the weight of the part of the prompt where it begins. With the mean m over the L states
    /// s_i of a prompt, weights w_i give s_i' = m + w_i (s_i - m) + c, where c brings the mean back to m.
    /// `pooled` does not depend on weights.
    pub fn encode_weighted(&self, prompts: &[WeightedPrompt]) -> Result<TextStates, NetError> {
        if prompts.is_empty() {
            return Err(NetError::Prompt {
                problem: "there is none, wanted at least one".to_owned(),
            });
        }
        let (mut cuts, mut unknown) = (Vec::new(), Vec::new());
        let mut texts = Vec::new();
        for (prompt_idx, prompt) in prompts.iter().enumerate() {
            let laid =
                self.layout
                    .windows(&self.tokenizer, self.token_limit, prompt_idx, prompt)?;
            texts.push(laid.windows);
            cuts.extend(laid.cut);
            unknown.extend(laid.unknown);
        }
        let windows: Vec<&Window> = texts.iter().flatten().collect();
        let mut rows = self.run(&windows).into_iter();
        let mut states = Vec::new();
        let mut pooled = Vec::new();
        for text in &texts {
            let (parts, mut vectors): (Vec<_>, Vec<_>) = rows.by_ref().take(text.len()).unzip();
            let weights = text.iter().flat_map(|window| &window.weights);
            let weights: Vec<f32> = weights.copied().collect();
            states.push(weighted(Tensor::cat(parts, 1), &weights));
            pooled.push(vectors.swap_remove(0));
        }
        let lengths: Vec<usize> = states.iter().map(|states| states.dims()[1]).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let pad = |states: Tensor<3>| {
            let missing = longest - states.dims()[1];
            states.pad((0, 0, 0, missing), 0.0)
        };
        let mask = lengths
            .iter()
            .flat_map(|length| (0..longest).map(move |i| i < *length));
        let mask = TensorData::new(mask.collect::<Vec<bool>>(), [lengths.len(), longest]);
        Ok(TextStates {
            states: Tensor::cat(states.into_iter().map(pad).collect(), 0),
            mask: Tensor::<2, Bool>::from_data(mask, &self.device),
            pooled: Tensor::cat(pooled, 0),
            cuts,
            unknown,
        })
    }

    /// The states `[1, L, D]` and the pooled vector `[1, D']` of each window.
    fn run(&self, windows: &[&Window]) -> Vec<(Tensor<3>, Tensor<2>)> {
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, window) in windows.iter().enumerate() {
            by_length.entry(window.ids.len()).or_default().push(i);
        }
        let mut found = BTreeMap::new();
        for (length, members) in by_length {
            for members in members.chunks((TOKENS_AT_ONCE / length).max(1)) {
                let ids = members.iter().flat_map(|i| &windows[*i].ids);
                let ids: Vec<i32> = ids.map(|id| *id as i32).collect();
                let ids = TensorData::new(ids, [members.len(), length]);
                let hidden = self.network.forward(Tensor::from_data(ids, &self.device));
                let ends: Vec<usize> = members.iter().map(|i| windows[*i].end).collect();
                let states = hidden.states(self.states_from);
                let pooled = self.network.pool(hidden.last, &ends);
                for (row, i) in members.iter().enumerate() {
                    let states = states.clone().narrow(0, row, 1);
                    found.insert(*i, (states, pooled.clone().narrow(0, row, 1)));
                }
            }
        }
        found.into_values().collect()
    }
}
