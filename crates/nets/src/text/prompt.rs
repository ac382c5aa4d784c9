//! Prompts whose words count more or less: `(word)`, `(word:1.3)`, `[word]`, as in popular front ends.
//! Leaves out schedules over steps and alternatives.

use crate::error::NetError;

/// What `(word)` multiplies by and `[word]` divides by.
const STEP: f32 = 1.1;

/// The largest weight; beyond it states leave what any network has seen.
const MOST: f32 = 10.0;

/// A prompt with a weight for each part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedPrompt {
    text: String,
    /// The byte after each part, and the weight of the part.
    parts: Vec<(usize, f32)>,
}

/// A bracket that is open.
struct Open {
    /// What closes it.
    kind: u8,
    /// Which of the signs it is.
    sign: usize,
    /// The byte of the last colon in it.
    colon: Option<usize>,
}

/// What a byte of the prompt means, where it is not plain text.
#[derive(Clone, Copy)]
enum Sign {
    /// Multiplies what follows.
    Begin(f32),
    /// Ends the innermost factor; the prompt goes on at `next`.
    End { next: usize },
    /// A backslash before a bracket or another backslash.
    Escape,
}

impl WeightedPrompt {
    /// A prompt of weight 1 throughout, whatever it contains.
    pub fn plain(text: &str) -> Self {
        let parts = match text.len() {
            0 => Vec::new(),
            end => vec![(end, 1.0)],
        };
        Self {
            text: text.to_owned(),
            parts,
        }
    }

    /// Reads the weights of `prompt`:
    ///
    /// - `(red chair)` multiplies the weight of what it holds by 1.1, `[red chair]` divides it by 1.1.
    /// - `(red chair:1.3)` multiplies it by 1.3 instead.
    /// - Brackets in brackets multiply. `\(`, `\)`, `\[`, `\]` and `\\` are the characters themselves.
    /// - A bracket that is never closed ends with the prompt. One that closes nothing, or not what was
    ///   opened last, is a character like any other, and so is what stands after a colon if it is no number.
    pub fn parse(prompt: &str) -> Result<Self, NetError> {
        let signs = signs(prompt);
        let mut found = Self {
            text: String::with_capacity(prompt.len()),
            parts: Vec::new(),
        };
        let mut weights = vec![1.0];
        let mut at = 0;
        let mut signs = signs.into_iter().peekable();
        while at < prompt.len() {
            let weight = weights.last().copied().unwrap_or(1.0);
            match signs.next_if(|(place, _)| *place == at) {
                Some((_, Sign::Begin(factor))) => {
                    weights.push(weight * factor);
                    at += 1;
                }
                Some((_, Sign::End { next })) => {
                    weights.pop();
                    at = next;
                }
                Some((_, Sign::Escape)) => {
                    found.push(&prompt[at + 1..at + 2], weight)?;
                    at += 2;
                }
                None => {
                    let end = signs.peek().map_or(prompt.len(), |(place, _)| *place);
                    found.push(&prompt[at..end], weight)?;
                    at = end;
                }
            }
        }
        Ok(found)
    }

    /// The prompt without its brackets and numbers.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parts of the text and their weights, in order.
    pub fn parts(&self) -> impl Iterator<Item = (&str, f32)> {
        let starts = std::iter::once(0).chain(self.parts.iter().map(|(end, _)| *end));
        let parts = starts.zip(&self.parts);
        parts.map(|(start, (end, weight))| (&self.text[start..*end], *weight))
    }

    /// The weight of the part that holds byte `at` of the text.
    pub(crate) fn weight_at(&self, at: usize) -> f32 {
        let part = self.parts.partition_point(|(end, _)| *end <= at);
        self.parts.get(part).map_or(1.0, |(_, weight)| *weight)
    }

    fn push(&mut self, text: &str, weight: f32) -> Result<(), NetError> {
        if !(0.0..=MOST).contains(&weight) {
            let shown: String = text.chars().take(40).collect();
            return Err(NetError::Prompt {
                problem: format!("the weight of `{shown}` is {weight}, wanted 0 to {MOST}"),
            });
        }
        self.text.push_str(text);
        match self.parts.last_mut() {
            Some((end, last)) if *last == weight => *end = self.text.len(),
            _ => self.parts.push((self.text.len(), weight)),
        }
        Ok(())
    }
}

/// The signs of a prompt by the byte at which they stand, in order.
fn signs(prompt: &str) -> Vec<(usize, Sign)> {
    let mut signs: Vec<(usize, Sign)> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut bytes = prompt.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\'
                if bytes
                    .next_if(|(_, next)| b"()[]\\".contains(next))
                    .is_some() =>
            {
                signs.push((at, Sign::Escape));
            }
            b'(' | b'[' => {
                let (kind, factor) = match byte {
                    b'(' => (b')', STEP),
                    _ => (b']', 1.0 / STEP),
                };
                let (sign, colon) = (signs.len(), None);
                open.push(Open { kind, sign, colon });
                signs.push((at, Sign::Begin(factor)));
            }
            b':' => {
                if let Some(open) = open.last_mut() {
                    open.colon = Some(at);
                }
            }
            b')' | b']' => {
                let Some(bracket) = open.pop_if(|open| open.kind == byte) else {
                    continue;
                };
                let colon = bracket.colon.filter(|_| byte == b')');
                let mut end = at;
                if let Some(colon) = colon
                    && let Some(factor) = number(&prompt[colon + 1..at])
                {
                    signs[bracket.sign].1 = Sign::Begin(factor);
                    end = colon;
                }
                signs.push((end, Sign::End { next: at + 1 }));
            }
            _ => {}
        }
    }
    signs
}

/// A number as people write it: digits, with a point or without.
fn number(text: &str) -> Option<f32> {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    text.chars().all(plain).then(|| text.parse().ok()).flatten()
}
