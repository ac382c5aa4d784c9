//! A temporary folder with small pictures and a spec, in which the program is run.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dreamsmith_base::{Image, write_png};
use tempfile::TempDir;

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Contents by path.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Three classes of 8x8 pictures, and a network of 19 thousand parameters: 40 steps take a second.
const SPEC: &str = r#"
[data]
dir = "pictures"

[train]
steps = 40
batch = 4
micro_batch = 2
log_every = 1
checkpoint_every = 5

[learning_rate]
warmup = 5

[sample]
count = 4
steps = 10

[model]
sample_size = 8
block_out_channels = [8, 8]
layers_per_block = 1
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
norm_num_groups = 4
num_class_embeds = 4

[snapshots]
kind = "pair"
sigma_rels = [0.05, 0.1]
"#;

const CLASSES: [(&str, [u8; 3]); 3] = [
    ("red", [230, 40, 40]),
    ("green", [40, 200, 60]),
    ("blue", [50, 60, 220]),
];

/// The folder; it vanishes with this.
pub struct Lab(TempDir);

/// What the program left behind when it ended.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Lab {
    /// With `pictures/` and `spec.toml`.
    pub fn new() -> Outcome<Self> {
        let lab = Self(tempfile::tempdir()?);
        lab.write("spec.toml", SPEC)?;
        let mut metadata = String::new();
        for i in 0..16 {
            let (label, colour) = CLASSES[i % CLASSES.len()];
            metadata += &format!(
                "{{\"file_name\": \"{i:02}.png\", \"text\": \"a bar\", \"label\": \"{label}\"}}\n"
            );
            let pixel = |x: usize| if x < 2 + i % 4 { colour } else { [255; 3] };
            let rgb = (0..64).flat_map(|place| pixel(place % 8)).collect();
            lab.write(&format!("pictures/{i:02}.png"), "")?;
            write_png(
                &lab.path(&format!("pictures/{i:02}.png")),
                &Image::new(8, 8, rgb)?,
                &[],
            )?;
        }
        lab.write("pictures/metadata.jsonl", metadata)?;
        Ok(lab)
    }

    /// With a run of five steps in `run` besides, and so a model in `run/model`.
    pub fn trained() -> Outcome<Self> {
        let lab = Self::new()?;
        lab.respec("short.toml", "steps = 40", "steps = 5")?;
        lab.succeeds("train short.toml -o run")?;
        Ok(lab)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and the folders around it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Outcome {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(self.0.path()))?;
        Ok(fs::write(path, content)?)
    }

    /// Replaces the first `old` in the file `name`, which must hold it.
    pub fn replace(&self, name: &str, old: &str, new: &str) -> Outcome {
        let text = fs::read_to_string(self.path(name))?;
        assert!(text.contains(old), "`{old}` in {name}: {text}");
        self.write(name, text.replacen(old, new, 1))
    }

    /// Writes the spec as `name`, with the first `old` replaced by `new`.
    pub fn respec(&self, name: &str, old: &str, new: &str) -> Outcome {
        self.write(name, SPEC)?;
        self.replace(name, old, new)
    }

    /// The program with `arguments` that are parted by spaces.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dreamsmith"));
        command
            .current_dir(self.0.path())
            .args(arguments.split_whitespace());
        command
    }

    pub fn run(&self, arguments: &str) -> Outcome<Ended> {
        Ok(Ended::from(self.command(arguments).output()?))
    }

    pub fn succeeds(&self, arguments: &str) -> Outcome<Ended> {
        let ended = self.run(arguments)?;
        assert_eq!(ended.code, Some(0), "{arguments}: {}", ended.err);
        Ok(ended)
    }

    /// The program must fail with `code` and one line that holds all of `words`, and change no file.
    pub fn fails(&self, arguments: &str, code: i32, words: &[&str]) -> Outcome {
        let before = self.files("")?;
        let ended = self.run(&format!("{arguments} --quiet"))?;
        ended.assert_failed(arguments, code, words);
        let (before, after) = (before.keys(), self.files("")?);
        assert!(
            before.eq(after.keys()),
            "{arguments} left files: {:?}",
            after.keys()
        );
        Ok(())
    }

    /// The files below the folder `name` with their contents, without the cache of decoded pictures;
    /// folders have none.
    pub fn files(&self, name: &str) -> Outcome<Files> {
        let root = self.path(name);
        let mut found = Files::new();
        collect(&root, Path::new(""), &mut found)?;
        Ok(found)
    }
}

impl Ended {
    pub fn assert_failed(&self, what: &str, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{what}: {}", self.err);
        assert_eq!(self.out, "", "{what}");
        let first = self.err.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: "), "{what}: {first}");
        for word in words {
            assert!(first.contains(word), "{what}: `{word}` is not in: {first}");
        }
        // Wrong usage (2) has a hint below the line.
        assert!(
            code == 2 || self.err.lines().count() == 1,
            "{what}: {}",
            self.err
        );
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Files) -> Outcome {
    for entry in fs::read_dir(root.join(folder))? {
        let name = entry?.file_name();
        if name == ".dreamsmith-cache" {
            continue;
        }
        let relative = folder.join(name);
        let path = root.join(&relative);
        if path.is_dir() {
            found.insert(relative.clone(), vec![]);
            collect(root, &relative, found)?;
        } else {
            found.insert(relative, fs::read(path)?);
        }
    }
    Ok(())
}
