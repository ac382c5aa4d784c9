//! `dreamsmith data furniture`: the catalogs of `data`, drawn by `scene`, as captioned pictures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use dreamsmith_base::{
    AtomicDir, FileError, Material, Purpose, Stream, create_folder, encode_rgba_png,
};
use dreamsmith_data::{
    CameraRecord, FurnitureRecord, Known, Library, NamedColor, Piece, Rules, Shape, Shown, Words,
    color_distance, open_libraries, piece_folder,
};
use dreamsmith_scene::raster::{Channel, Shading, Surface, fragments, render};
use dreamsmith_scene::viewpoint::{ViewpointSpec, orbit};
use rayon::prelude::*;
use serde_json::json;

use crate::console::Console;

/// What share of an object its main colour covers at least.
const MAIN_SHARE: f64 = 0.5;
/// Materials this near in Oklab are one colour.
const SAME_COLOR: f32 = 0.08;
/// Half of the views of an object that comes in any colour are recoloured.
const RECOLOR_SHARE: f32 = 0.5;
/// Sides from which it is judged what an object is mostly made of, and the size of the pictures.
const JUDGES: [[f32; 2]; 4] = [[20.0, 15.0], [110.0, 30.0], [200.0, 15.0], [290.0, 45.0]];
const JUDGE_SIZE: u32 = 48;

/// Furniture and everyday objects, drawn from many sides
///
/// Each view is a PNG with transparency; metadata.jsonl tells for each the captions, name, category,
/// colour, camera, light, creator and licence. Train on the folder train; held-out has one object in
/// twenty and ten combinations of object and colour that train has not. Which models are left out or
/// renamed stands in crates/data/src/furniture_rules.toml, the words of captions and what is held out in
/// furniture_words.toml beside it.
#[derive(Args)]
#[command(after_help = "Example:
  apt-get download sweethome3d-furniture && dpkg -x sweethome3d-furniture_*.deb unpacked
  dreamsmith data furniture --from unpacked -o furniture --views 24 --size 64")]
pub struct Furniture {
    /// Folder that holds the Debian package sweethome3d-furniture, unpacked
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The folder to make
    #[arg(short, long, default_value = "furniture")]
    output: PathBuf,
    /// Views of each object
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    views: u32,
    /// Width and height of a picture in pixels
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=1024))]
    size: u32,
    /// Only objects of these names, as in armchair,sofa
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The share of views of white clay, whose captions name no colour
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    clay: f32,
    /// Seed of cameras, lights and colours
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The folders that views go to.
const TRAIN: &str = "train";
const HELD_OUT: &str = "held-out";

/// The tables of names and words.
pub struct Tables {
    pub rules: Rules,
    pub words: Words,
}

impl Tables {
    /// Those that come with the program.
    pub fn read() -> anyhow::Result<Self> {
        Ok(Self {
            rules: Rules::read().context("the rules of furniture are broken")?,
            words: Words::read().context("the words of furniture are broken")?,
        })
    }
}

/// A model that passed the rules.
struct Object<'a> {
    piece: &'a Piece,
    name: String,
    surface: Surface,
    /// The materials that make up most of it, if they have no texture.
    main: Vec<usize>,
    /// Their colour.
    color: Option<NamedColor>,
    any_color: bool,
}

/// What became of a piece.
enum Outcome {
    /// Each view with the folder it went to.
    Drawn(Vec<(&'static str, FurnitureRecord)>),
    LeftOut(String),
}

impl Furniture {
    pub fn run(self, console: &Console) -> anyhow::Result<()> {
        if fs::read_dir(&self.output).is_ok_and(|mut entries| entries.next().is_some()) {
            bail!(
                "`{}` is there already and not empty: choose another name or remove it",
                self.output.display()
            );
        }
        let libraries = open_libraries(&self.from)?;
        let tables = Tables::read()?;
        let rules = &tables.rules;
        if let Some(parent) = self.output.parent() {
            create_folder(parent)?;
        }
        let folder = AtomicDir::create(&self.output)?;
        let left_out = self.left_out_by_words(&libraries, rules);
        let pieces: Vec<(&Library, &Piece)> = libraries
            .iter()
            .flat_map(|library| library.pieces.iter().map(move |piece| (library, piece)))
            .filter(|(_, piece)| rules.objection(piece).is_none())
            .collect();
        let bears = |name: &String, piece| rules.name(piece) == *name;
        let nobody = |name: &&String| !pieces.iter().any(|(_, piece)| bears(name, piece));
        if let Some(name) = self.only.iter().find(nobody) {
            bail!("no object is called {name}: check --only");
        }
        // All are judged, so that what is held out does not depend on what is asked for.
        let objections = judge_shapes(&pieces, rules);
        let held_out = held_out(&pieces, &objections, &tables);
        let wanted = |piece| self.only.is_empty() || self.only.contains(&rules.name(piece));
        let all = pieces.into_iter().zip(objections).zip(held_out);
        let pieces: Vec<_> = all.filter(|(((_, piece), _), _)| wanted(piece)).collect();
        let bar = console.bar(pieces.len() as u64, "objects");
        let outcomes = pieces
            .par_iter()
            .map(|(((library, piece), objection), held_out)| {
                let outcome = match objection {
                    Some(reason) => Ok(Outcome::LeftOut(reason.clone())),
                    None => self.draw_piece((library, piece), *held_out, &tables, folder.path()),
                };
                bar.inc(1);
                outcome
            })
            .collect::<anyhow::Result<Vec<Outcome>>>()?;
        bar.finish_and_clear();
        let mut records = Vec::new();
        let mut n_objects = 0;
        let mut reasons = left_out;
        for ((((_, piece), _), _), outcome) in pieces.iter().zip(outcomes) {
            match outcome {
                Outcome::Drawn(of_object) => {
                    n_objects += 1;
                    records.extend(of_object);
                }
                Outcome::LeftOut(reason) => {
                    console.note(&format!(
                        "left out {} {}: {reason}",
                        piece.library, piece.name
                    ));
                    reasons.push(reason);
                }
            }
        }
        self.write_lists(folder.path(), &records)?;
        folder.commit()?;
        let n_held_out = records
            .iter()
            .filter(|(place, _)| *place == HELD_OUT)
            .count();
        let words = format!(
            "wrote {} views of {n_objects} objects to {}, {n_held_out} of them held out ({} models left out)",
            records.len(),
            self.output.display(),
            reasons.len()
        );
        console.result(
            &words,
            &json!({
                "command": "data furniture",
                "folder": self.output,
                "views": records.len(),
                "held_out": n_held_out,
                "objects": n_objects,
                "left_out": reasons.len(),
            }),
        );
        Ok(())
    }

    fn left_out_by_words(&self, libraries: &[Library], rules: &Rules) -> Vec<String> {
        let pieces = libraries.iter().flat_map(|library| &library.pieces);
        let objections = pieces.filter_map(|piece| rules.objection(piece));
        objections.map(String::from).collect()
    }

    fn draw_piece(
        &self,
        (library, piece): (&Library, &Piece),
        held_out: bool,
        tables: &Tables,
        folder: &Path,
    ) -> anyhow::Result<Outcome> {
        let mesh = match library.read(piece) {
            Ok(mesh) => mesh,
            Err(e) => return Ok(Outcome::LeftOut(e.to_string())),
        };
        let name = tables.rules.name(piece);
        let materials = mesh.materials().to_vec();
        let mut object = Object {
            any_color: tables.rules.any_color(&name, &piece.category),
            name,
            piece,
            surface: Surface::new(&mesh, Shading::default()),
            main: Vec::new(),
            color: None,
        };
        let shares = visible_shares(&object.surface, |face| mesh.material_of(face))?;
        (object.main, object.color) = main_color(&shares, &materials);
        let relative = piece_folder(piece, &object.name);
        // The number of a view in the whole does not depend on what is left out before it.
        let own = u64::from(piece.number) << 32 ^ u64::from(name_hash(&piece.library)) << 44;
        let records = (0..self.views)
            .map(|view| {
                let index = own ^ u64::from(view);
                let (record, picture) = self.draw_view(&mut object, &materials, tables, index)?;
                let combination = tables.words.holds_out(&object.name, record.colour);
                let place = if held_out || combination {
                    HELD_OUT
                } else {
                    TRAIN
                };
                let file_name = format!("{relative}/{view:03}.png");
                create_folder(&folder.join(place).join(&relative))?;
                let path = folder.join(place).join(&file_name);
                fs::write(&path, encode_rgba_png(&path, &picture)?)
                    .map_err(|e| FileError::new("write", &path, e))?;
                let record = FurnitureRecord {
                    file_name,
                    ..record
                };
                Ok((place, record))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Outcome::Drawn(records))
    }

    fn draw_view(
        &self,
        object: &mut Object,
        materials: &[Material],
        tables: &Tables,
        index: u64,
    ) -> anyhow::Result<(FurnitureRecord, dreamsmith_base::Rgba)> {
        let recolored = recolor(
            object,
            materials,
            &mut Stream::new(self.seed, Purpose::FurnitureColor, index),
        );
        let mut stream = Stream::new(self.seed, Purpose::FurnitureView, index);
        let viewpoint = ViewpointSpec::default().draw(&mut stream, self.size)?;
        let frame = render(&object.surface, &viewpoint.camera, &viewpoint.light())?;
        let (channel, colour) = match stream.uniform() < self.clay {
            true => (Channel::Clay, None),
            false => (Channel::Color, recolored.or(object.color)),
        };
        let piece = object.piece;
        let shown = Shown {
            name: &object.name,
            colour,
            view: viewpoint.word(),
        };
        let mut stream = Stream::new(self.seed, Purpose::FurnitureCaption, index);
        let record = FurnitureRecord {
            file_name: String::new(),
            text: tables.words.captions(&tables.rules, shown, &mut stream),
            label: piece.category.clone(),
            name: object.name.clone(),
            category: piece.category.clone(),
            colour,
            recoloured: recolored.is_some() && colour.is_some(),
            view: shown.view,
            camera: viewpoint.record,
            light: viewpoint.lamp,
            creator: piece.creator.clone(),
            licence: piece.licence.clone(),
            model: format!("{}!{}", piece.library, piece.model),
        };
        Ok((record, frame.picture(channel)?))
    }

    fn write_lists(
        &self,
        folder: &Path,
        records: &[(&'static str, FurnitureRecord)],
    ) -> anyhow::Result<()> {
        let lines = |place: &str| -> String {
            let here = records.iter().filter(|(of, _)| *of == place);
            here.map(|(_, r)| json!(r).to_string() + "\n").collect()
        };
        let mut thanks: Vec<String> = records
            .iter()
            .map(|(_, r)| format!("{} by {}, {}: {}\n", r.name, r.creator, r.licence, r.model))
            .collect();
        thanks.dedup();
        let attribution = "Pictures of models of the Debian package sweethome3d-furniture:\n\n";
        let write = |name: &Path, text: String| {
            fs::write(folder.join(name), text)
                .map_err(|e| FileError::new("write", &self.output.join(name), e))
        };
        for place in [TRAIN, HELD_OUT] {
            // A choice of objects may leave one of them without a view.
            if folder.join(place).is_dir() {
                write(&Path::new(place).join("metadata.jsonl"), lines(place))?;
            }
        }
        let attribution = attribution.to_string() + &thanks.concat();
        Ok(write(Path::new("ATTRIBUTION.txt"), attribution)?)
    }
}

fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(share @ 0.0..=1.0) => Ok(share),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

/// Why the shapes of pieces speak against them; read in parallel, judged in order.
pub fn judge_shapes(pieces: &[(&Library, &Piece)], rules: &Rules) -> Vec<Option<String>> {
    let shapes: Vec<Option<Shape>> = pieces
        .par_iter()
        .map(|(library, piece)| library.read(piece).ok().map(|mesh| Shape::of(&mesh)))
        .collect();
    let mut known = Known::default();
    let judge = |((_, piece), shape): (&(&Library, &Piece), &Option<Shape>)| {
        // What cannot be read is told when it is drawn.
        let shape = shape.as_ref()?;
        let objection = rules.objection_to_shape(&rules.name(piece), shape, &mut known);
        objection.map(String::from)
    };
    pieces.iter().zip(&shapes).map(judge).collect()
}

/// Which pieces are held out, among those without an objection.
pub fn held_out(
    pieces: &[(&Library, &Piece)],
    objections: &[Option<String>],
    tables: &Tables,
) -> Vec<bool> {
    let names: Vec<String> = pieces
        .iter()
        .map(|(_, piece)| tables.rules.name(piece))
        .collect();
    let is_kept = |i: &usize| objections[*i].is_none();
    let kept: Vec<usize> = (0..pieces.len()).filter(is_kept).collect();
    let of_kept: Vec<&str> = kept.iter().map(|i| names[*i].as_str()).collect();
    let mut held_out = vec![false; pieces.len()];
    for (i, is_held_out) in kept.iter().zip(tables.words.held_out_objects(&of_kept)) {
        held_out[*i] = is_held_out;
    }
    held_out
}

/// What share of the visible surface each material has, over four sides.
fn visible_shares(
    surface: &Surface,
    material_of: impl Fn(usize) -> Option<usize>,
) -> anyhow::Result<Vec<f64>> {
    let mut counts: Vec<f64> = Vec::new();
    for [azimuth, elevation] in JUDGES {
        let record = CameraRecord {
            azimuth,
            elevation,
            distance: 3.0,
            fov: 40.0,
        };
        let seen = fragments(surface, &orbit(&record, JUDGE_SIZE)?)?;
        let faces = seen.face_id.iter().filter(|face| **face != u32::MAX);
        for material in faces.filter_map(|face| material_of(*face as usize)) {
            counts.resize(counts.len().max(material + 1), 0.0);
            counts[material] += 1.0;
        }
    }
    let total = counts.iter().sum::<f64>().max(1.0);
    Ok(counts.into_iter().map(|n| n / total).collect())
}

/// The plain materials of one colour that make up most of an object, and what that is called.
fn main_color(shares: &[f64], materials: &[Material]) -> (Vec<usize>, Option<NamedColor>) {
    let none = (Vec::new(), None);
    let Some(largest) = (0..shares.len()).max_by(|a, b| shares[*a].total_cmp(&shares[*b])) else {
        return none;
    };
    let is_plain = |material: &Material| material.texture.is_none() && material.alpha > 0.9;
    let main = &materials[largest];
    if !is_plain(main) {
        return none;
    }
    let alike = |i: &usize| {
        let distance = color_distance(materials[*i].base_color, main.base_color);
        is_plain(&materials[*i]) && distance < SAME_COLOR
    };
    let group: Vec<usize> = (0..shares.len()).filter(alike).collect();
    if group.iter().map(|i| shares[*i]).sum::<f64>() < MAIN_SHARE {
        return none;
    }
    (group, NamedColor::of(main.base_color))
}

/// Gives the main materials a named colour, or their own back.
fn recolor(object: &mut Object, materials: &[Material], stream: &mut Stream) -> Option<NamedColor> {
    let wanted = stream.uniform() < RECOLOR_SHARE;
    let name = NamedColor::ALL[stream.below(NamedColor::ALL.len() as u64) as usize];
    let color = name.draw(stream);
    let changes = wanted && object.any_color && !object.main.is_empty();
    for i in &object.main {
        let own = materials[*i].base_color;
        object.surface.paint(*i, if changes { color } else { own });
    }
    changes.then_some(name)
}

/// Twenty bits that differ between libraries.
fn name_hash(name: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    name.bytes().fold(2_166_136_261, step) >> 12
}
