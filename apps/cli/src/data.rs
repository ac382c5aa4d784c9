//! `dreamsmith data`: data sets from what the package registries hold.

use std::path::PathBuf;

use clap::Subcommand;
use dreamsmith_data::{EmojiChoice, EmojiSource, prepare_emoji};
use serde_json::json;

use crate::console::Console;
use crate::furniture::Furniture;

/// Prepare a data set from unpacked packages
#[derive(Subcommand)]
pub enum Data {
    /// 1,871 3D-style emoji with captions and groups
    #[command(after_help = "Example:
  npm install @lobehub/fluent-emoji-3d@1 emojibase-data@17
  dreamsmith data emoji --from node_modules -o emoji")]
    Emoji {
        /// Folder that holds the npm packages @lobehub/fluent-emoji-3d and emojibase-data, unpacked
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The folder to make
        #[arg(short, long, default_value = "emoji")]
        output: PathBuf,
        /// Only emoji of these groups, as in animals-nature,food-drink
        #[arg(long, value_delimiter = ',')]
        groups: Vec<String>,
        /// Emoji of these names besides, as in rocket,red apple; alone, only those
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// How often each comes in an epoch of training: more than once beside larger sets
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        repeat: u32,
    },
    Furniture(Furniture),
}

impl Data {
    pub fn run(self, console: &Console) -> anyhow::Result<()> {
        match self {
            Self::Emoji {
                from,
                output,
                groups,
                only: names,
                repeat,
            } => {
                let choice = EmojiChoice {
                    groups,
                    names,
                    repeat,
                };
                emoji(from, output, &choice, console)
            }
            Self::Furniture(furniture) => furniture.run(console),
        }
    }
}

fn emoji(
    from: PathBuf,
    output: PathBuf,
    choice: &EmojiChoice,
    console: &Console,
) -> anyhow::Result<()> {
    let summary = prepare_emoji(&EmojiSource::find(&from)?, choice, &output)?;
    for skip in &summary.unnamed {
        console.note(&format!("without a name: {skip}"));
    }
    let groups: Vec<String> = summary
        .groups
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    let words = format!(
        "wrote {} pictures to {} ({} of other skin tones and {} not asked for left out): {}",
        summary.pictures,
        output.display(),
        summary.skin_tones,
        summary.other_groups,
        groups.join(", ")
    );
    console.result(
        &words,
        &json!({
            "command": "data emoji",
            "folder": output,
            "pictures": summary.pictures,
            "skin_tones": summary.skin_tones,
            "other_groups": summary.other_groups,
            "unnamed": summary.unnamed.len(),
            "groups": summary.groups,
        }),
    );
    Ok(())
}
