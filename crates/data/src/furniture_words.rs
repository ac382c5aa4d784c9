//! In which words a view of an object is described, and which views are held out of training: the table
//! `furniture_words.toml`.
//! Leaves out what an object is called: see `furniture_rules`.

use std::collections::{BTreeMap, HashMap, HashSet};

use dreamsmith_base::Stream;
use serde::Deserialize;

use crate::furniture_color::NamedColor;
use crate::furniture_record::ViewWord;
use crate::furniture_rules::Rules;

const TABLE: &str = include_str!("furniture_words.toml");

/// The words of `furniture_words.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    views: Views,
    styles: Styles,
    /// By name.
    synonyms: BTreeMap<String, Vec<String>>,
    /// By the colour's word.
    synonyms_of_colors: BTreeMap<String, String>,
    held_out: HeldOut,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Views {
    front: [String; 2],
    side: [String; 2],
    back: [String; 2],
    overhead: [String; 2],
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Styles {
    words: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldOut {
    one_object_in: usize,
    combinations: Vec<String>,
}

/// What a caption can say about a view.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// "armchair".
    pub name: &'a str,
    /// If it has one with a clear name.
    pub colour: Option<NamedColor>,
    /// From where it is seen.
    pub view: ViewWord,
}

impl Words {
    /// The words that come with the program.
    pub fn read() -> Result<Self, toml::de::Error> {
        toml::from_str(TABLE)
    }

    /// Several true captions of a view, from "a red armchair" to "3D render of a red easy chair, seen from
    /// behind"; no two are the same.
    pub fn captions(&self, rules: &Rules, shown: Shown<'_>, stream: &mut Stream) -> Vec<String> {
        let name = shown.name;
        let colour = shown.colour.map_or("", NamedColor::word);
        let view = self.views.of(shown.view);
        let noun = self.noun(name, stream);
        let tint = match self.synonyms_of_colors.get(colour) {
            Some(other) if stream.below(2) == 0 => other.as_str(),
            _ => colour,
        };
        let bare = format!("{tint} {noun}");
        let in_color = match tint {
            "" => rules.phrase(noun, ""),
            tint => format!("{} in {tint}", rules.phrase(noun, "")),
        };
        let fourth = match stream.below(2) {
            0 => format!("{}, {}", bare.trim(), view[0]),
            _ => format!("{} of {}", view[0], rules.phrase(noun, tint)),
        };
        let mut captions = vec![
            rules.phrase(name, colour),
            format!("{}, {}", rules.phrase(name, colour), view[0]),
            noun.to_string(),
            fourth,
            format!("{in_color}, {}", view[1]),
            format!(
                "{} {}, {}",
                pick(&self.styles.words, stream),
                rules.phrase(noun, tint),
                view[stream.below(2) as usize]
            ),
        ];
        let mut known = HashSet::new();
        captions.retain(|caption| known.insert(caption.clone()));
        captions
    }

    /// The name, or half of the time another word for it.
    fn noun<'a>(&'a self, name: &'a str, stream: &mut Stream) -> &'a str {
        match self.synonyms.get(name) {
            Some(others) if stream.below(2) == 0 => pick(others, stream),
            _ => name,
        }
    }

    /// Whether the views of an object in that colour are kept from training.
    pub fn holds_out(&self, name: &str, colour: Option<NamedColor>) -> bool {
        let Some(colour) = colour else {
            return false;
        };
        let words = format!("{} {name}", colour.word());
        self.held_out.combinations.contains(&words)
    }

    /// Whether all views of an object are kept from training, for objects called `names` in the order of the
    /// catalogs: each tenth of those whose name another one bears.
    pub fn held_out_objects(&self, names: &[&str]) -> Vec<bool> {
        let mut bearers: HashMap<&str, usize> = HashMap::new();
        for name in names {
            *bearers.entry(*name).or_default() += 1;
        }
        let every = self.held_out.one_object_in;
        let mut shared = 0;
        let is_held_out = |name: &&str| {
            let is_shared = bearers[name] > 1;
            shared += usize::from(is_shared);
            is_shared && shared % every == 0
        };
        names.iter().map(is_held_out).collect()
    }
}

impl Views {
    fn of(&self, view: ViewWord) -> &[String; 2] {
        match view {
            ViewWord::Front => &self.front,
            ViewWord::Side => &self.side,
            ViewWord::Back => &self.back,
            ViewWord::Overhead => &self.overhead,
        }
    }
}

fn pick<'a>(words: &'a [String], stream: &mut Stream) -> &'a str {
    let chosen = stream.below(words.len() as u64) as usize;
    words.get(chosen).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::Purpose;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn captions_are_true_and_differ() -> Outcome {
        let (rules, words) = (Rules::read()?, Words::read()?);
        let mut seen = HashSet::new();
        for i in 0..40 {
            let shown = Shown {
                name: "armchair",
                colour: Some(NamedColor::Red),
                view: ViewWord::Back,
            };
            let stream = &mut Stream::new(1, Purpose::Test, i);
            let captions = words.captions(&rules, shown, stream);
            assert_eq!(
                captions[..2],
                ["a red armchair", "a red armchair, back view"]
            );
            assert_eq!(
                captions.iter().collect::<HashSet<_>>().len(),
                captions.len()
            );
            for caption in &captions {
                assert!(caption.contains("chair"), "{caption}");
                let says_other = ["front", "side", "above", "overhead"];
                assert!(!says_other.iter().any(|w| caption.contains(w)), "{caption}");
            }
            seen.extend(captions);
        }
        for caption in [
            "easy chair",
            "an easy chair in red, seen from behind",
            "red armchair, back view",
            "back view of a red easy chair",
            "3D render of a red armchair, back view",
        ] {
            assert!(seen.contains(caption), "{caption} is not in {seen:?}");
        }
        Ok(())
    }

    #[test]
    fn things_without_colour_are_described_too() -> Outcome {
        let (rules, words) = (Rules::read()?, Words::read()?);
        let shown = Shown {
            name: "scissors",
            colour: None,
            view: ViewWord::Overhead,
        };
        for i in 0..10 {
            for caption in words.captions(&rules, shown, &mut Stream::new(1, Purpose::Test, i)) {
                let clean = !caption.contains("  ")
                    && !caption.contains(" in ")
                    && !caption.contains("a scissors");
                assert!(clean && caption.trim() == caption, "{caption}");
            }
        }
        Ok(())
    }

    #[test]
    fn one_in_ten_of_shared_names_and_ten_combinations_are_held_out() -> Outcome {
        let words = Words::read()?;
        let names: Vec<&str> = (0..100)
            .map(|i| if i % 2 == 0 { "chair" } else { "one" })
            .collect();
        let names = [names, vec!["lonely"]].concat();
        let held_out = words.held_out_objects(&names);
        assert_eq!(held_out.iter().filter(|h| **h).count(), 10);
        assert!(!held_out[100]);
        assert_eq!(words.held_out.combinations.len(), 10);
        assert!(words.holds_out("sofa", Some(NamedColor::Green)));
        assert!(!words.holds_out("sofa", Some(NamedColor::Red)) && !words.holds_out("sofa", None));
        // Every combination begins with the word of a colour.
        for combination in &words.held_out.combinations {
            let colour = combination.split(' ').next().unwrap_or_default();
            assert!(
                NamedColor::ALL.iter().any(|c| c.word() == colour),
                "{combination}"
            );
        }
        Ok(())
    }
}
