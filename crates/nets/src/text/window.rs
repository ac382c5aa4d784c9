//! From the tokens of a prompt to what runs through a network in one piece, and what is left out.

use crate::error::NetError;
use crate::text::config::TextConfig;
use crate::text::prompt::WeightedPrompt;
use crate::text::states::{Cut, Unknown};
use crate::text::tokenizer::{PromptTokenizer, Token};

/// One run through the network.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) ids: Vec<u32>,
    /// Of each token; 1 for those that are not of the prompt.
    pub(crate) weights: Vec<f32>,
    /// The place of the token after the prompt's.
    pub(crate) end: usize,
}

/// A prompt as it runs through the network, and what of it does not.
#[derive(Clone, Debug)]
pub(crate) struct Laid {
    /// At least one.
    pub(crate) windows: Vec<Window>,
    pub(crate) cut: Option<Cut>,
    pub(crate) unknown: Option<Unknown>,
}

/// How prompts are laid out in windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One window, as long as the prompt; longer prompts are cut.
    One,
    /// As many windows as a prompt fills, at most `MOST_WINDOWS`, all filled up with `pad`: CLIP was trained so,
    /// and has no mask.
    Filled { pad: u32 },
}

/// Enough for 600 tokens of CLIP.
const MOST_WINDOWS: usize = 8;

impl Layout {
    pub(crate) fn of(config: &TextConfig, tokenizer: &PromptTokenizer) -> Self {
        match config {
            TextConfig::Bert(_) | TextConfig::T5(_) => Self::One,
            TextConfig::Clip(_) => {
                let [_, after] = tokenizer.frame();
                let end = after.first().copied().unwrap_or(0);
                Self::Filled {
                    pad: tokenizer.pad().unwrap_or(end),
                }
            }
        }
    }

    /// A prompt in windows of up to `limit` tokens each.
    pub(crate) fn windows(
        self,
        tokenizer: &PromptTokenizer,
        limit: usize,
        prompt_idx: usize,
        prompt: &WeightedPrompt,
    ) -> Result<Laid, NetError> {
        let tokens = tokenizer.read(prompt.text())?;
        // At least 1, for the limit is above the frame.
        let room = limit - tokenizer.frame_len();
        let most = match self {
            Self::One => 1,
            Self::Filled { .. } => MOST_WINDOWS,
        };
        let (read, left) = tokens.split_at(tokens.len().min(room * most));
        let cut = left.first().map(|first| Cut {
            prompt_idx,
            n_read: read.len(),
            n_cut: left.len(),
            text: prompt.text().get(first.start..).unwrap_or("").to_owned(),
        });
        let unknown = read.iter().filter(|token| tokenizer.is_unknown(token));
        let word = |token: &Token| prompt.text().get(token.start..token.end);
        let words: Vec<&str> = unknown.filter_map(word).collect();
        let unknown = (!words.is_empty()).then(|| Unknown {
            prompt_idx,
            words: words.join(" "),
        });
        let window = |tokens: &[Token]| self.window(tokenizer, limit, prompt, tokens);
        let windows: Vec<Window> = match read.is_empty() {
            true => vec![window(&[])],
            false => read.chunks(room).map(window).collect(),
        };
        if windows.iter().any(|window| window.ids.is_empty()) {
            return Err(NetError::Prompt {
                problem: "it has no tokens, and this encoder adds none: write something".to_owned(),
            });
        }
        Ok(Laid {
            windows,
            cut,
            unknown,
        })
    }

    fn window(
        self,
        tokenizer: &PromptTokenizer,
        limit: usize,
        prompt: &WeightedPrompt,
        tokens: &[Token],
    ) -> Window {
        let [before, after] = tokenizer.frame();
        let frame = |ids: &[u32]| ids.iter().map(|id| (*id, 1.0)).collect::<Vec<_>>();
        let own = tokens
            .iter()
            .map(|token| (token.id, prompt.weight_at(token.start)));
        let mut all = frame(before);
        all.extend(own);
        let end = all.len();
        all.extend(frame(after));
        if let Self::Filled { pad } = self {
            all.resize(limit, (pad, 1.0));
        }
        let (ids, weights) = all.into_iter().unzip();
        Window { ids, weights, end }
    }
}
