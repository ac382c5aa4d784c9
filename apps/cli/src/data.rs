//! `dreamsmith data`: data sets from what the package registries hold.

use std::path::PathBuf;

use clap::Subcommand;
use dreamsmith_data::{EmojiSource, prepare_emoji};
use serde_json::json;

use crate::console::Console;
use crate::furniture::Furniture;

/// Prepare a data set from unpacked packages
#[derive(Subcommand)]
pub enum Data {
    /// 1,871 3D-style emoji with names, tags and groups
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
    },
    Furniture(Furniture),
}

impl Data {
    pub fn run(self, console: &Console) -> anyhow::Result<()> {
        match self {
            Self::Emoji { from, output } => emoji(from, output, console),
            Self::Furniture(furniture) => furniture.run(console),
        }
    }
}

fn emoji(from: PathBuf, output: PathBuf, console: &Console) -> anyhow::Result<()> {
    let summary = prepare_emoji(&EmojiSource::find(&from)?, &output)?;
    for skip in &summary.unnamed {
        console.note(&format!("without a name: {skip}"));
    }
    let groups: Vec<String> = summary
        .groups
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    let words = format!(
        "wrote {} pictures to {} ({} of other skin tones left out): {}",
        summary.pictures,
        output.display(),
        summary.skin_tones,
        groups.join(", ")
    );
    console.result(
        &words,
        &json!({
            "command": "data emoji",
            "folder": output,
            "pictures": summary.pictures,
            "skin_tones": summary.skin_tones,
            "unnamed": summary.unnamed.len(),
            "groups": summary.groups,
        }),
    );
    Ok(())
}
