//! `dreamsmith eval-compass`: how well a compass tells the sides of real objects, looked at as dreams are, and which
//! things have a front. What the single fronts of dreams are worth can be read off those of real objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{Image, write_atomic_bytes};
use dreamsmith_data::{Library, Piece, open_libraries};
use dreamsmith_diffusion::eval::{Bearings, Fronts, Share, frontness};
use dreamsmith_scene::raster::{Channel, Shading, Surface};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::console::Console;
use crate::eval::Figure;
use crate::eval_dream::{AHEAD_WITHIN, AROUND, Fronted, is_ahead, views};
use crate::furniture::{Tables, held_out, judge_shapes};

/// Objects that are drawn at once.
const AT_ONCE: usize = 64;

/// Judge a compass by real objects, and list those that have a front
#[derive(Args)]
#[command(after_help = "Example:
  dreamsmith eval-compass --compass models/compass --from unpacked --encoder models/objects --fronted fronts.toml")]
pub struct EvalCompass {
    /// The compass, as `train-compass` makes it
    #[arg(long, value_name = "DIR")]
    compass: PathBuf,
    /// Folder that holds the Debian package sweethome3d-furniture, unpacked
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The sentence encoder that the compass was trained with, or a model that has it
    #[arg(long, value_name = "DIR")]
    encoder: PathBuf,
    /// Write the names of the things that have a front to this file: those where at least half of the objects of a kind,
    /// as the last word of their names says it, have a single one that lies ahead
    #[arg(long, value_name = "FILE")]
    fronted: Option<PathBuf>,
    /// Write the figures to this file as JSON
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What was found of one object.
#[derive(Serialize)]
struct Row {
    name: String,
    model: String,
    /// The compass has not been trained on it.
    held_out: bool,
    /// Views that were told within 45 degrees.
    told: usize,
    fronts: Fronts,
}

/// Figures of some of the objects.
#[derive(Serialize)]
struct Summary {
    objects: usize,
    /// Views that were told within 45 degrees.
    told: Figure,
    single_front: Figure,
    /// A single front, where it should be.
    front_ahead: Figure,
}

impl Summary {
    fn of<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Self {
        let views = |row: &Row| {
            (0..AROUND as usize)
                .map(|i| i < row.told)
                .collect::<Vec<_>>()
        };
        let share = |is: &dyn Fn(&Row) -> bool| Share::of(rows.clone().map(is)).into();
        Self {
            objects: rows.clone().count(),
            told: Share::of(rows.clone().flat_map(views)).into(),
            single_front: share(&|row| row.fronts.count == 1),
            front_ahead: share(&|row| is_ahead(row.fronts)),
        }
    }

    fn line(&self, of: &str) -> String {
        format!(
            "{:19} {:19} {:19} {:7} {of}",
            self.told.words(),
            self.single_front.words(),
            self.front_ahead.words(),
            self.objects
        )
    }
}

impl EvalCompass {
    pub fn run(self, device: &Device, console: &Console) -> anyhow::Result<()> {
        let mut compass = Bearings::load(&self.compass, &self.encoder, device)?;
        let libraries = open_libraries(&self.from)?;
        let tables = Tables::read()?;
        let pieces: Vec<(&Library, &Piece)> = libraries
            .iter()
            .flat_map(|library| library.pieces.iter().map(move |piece| (library, piece)))
            .filter(|(_, piece)| tables.rules.objection(piece).is_none())
            .collect();
        let objections = judge_shapes(&pieces, &tables.rules);
        let held_out = held_out(&pieces, &objections, &tables);
        let kept = pieces.into_iter().zip(objections).zip(held_out);
        let kept: Vec<(&Library, &Piece, bool)> = kept
            .filter(|((_, objection), _)| objection.is_none())
            .map(|(((library, piece), _), held_out)| (library, piece, held_out))
            .collect();
        let bar = console.bar(kept.len() as u64, "objects");
        let mut rows = vec![];
        for some in kept.chunks(AT_ONCE) {
            // What cannot be read was left out of the data too.
            let drawn = some.par_iter().filter_map(|(library, piece, held_out)| {
                let mesh = library.read(piece).ok()?;
                let surface = Surface::new(&mesh, Shading::default());
                Some((*piece, *held_out, views(&surface, Channel::Color)))
            });
            let drawn: Vec<_> = drawn.collect();
            for (piece, held_out, views) in drawn {
                let name = tables.rules.name(piece);
                let (told, fronts) = seen_by(&mut compass, &views?, &name)?;
                rows.push(Row {
                    name,
                    model: format!("{}!{}", piece.library, piece.model),
                    held_out,
                    told,
                    fronts,
                });
            }
            bar.inc(some.len() as u64);
        }
        bar.finish_and_clear();
        let fronted = Fronted {
            names: fronted(&rows),
        };
        let summaries = [
            ("seen", false, false),
            ("held out", true, false),
            ("seen, of things that have a front", false, true),
            ("held out, of things that have a front", true, true),
        ];
        console.row("told                single front        ahead               objects");
        let mut figures = vec![];
        for (of, held_out, only_fronted) in summaries {
            let wanted = |row: &&Row| {
                row.held_out == held_out && (!only_fronted || fronted.names.contains(&row.name))
            };
            let summary = Summary::of(rows.iter().filter(wanted));
            console.row(&summary.line(of));
            figures.push(json!({"of": of, "figures": summary}));
        }
        if let Some(path) = &self.fronted {
            write_atomic_bytes(path, toml::to_string_pretty(&fronted)?.as_bytes())?;
        }
        let value = json!({"command": "eval-compass", "rows": figures, "objects": rows});
        if let Some(path) = &self.output {
            write_atomic_bytes(path, format!("{value:#}\n").as_bytes())?;
        }
        console.result("", &value);
        Ok(())
    }
}

/// Of pictures of a thing from evenly all around, the first from the front: how many are told within 45 degrees, and the
/// fronts.
pub fn seen_by(
    compass: &mut Bearings,
    views: &[Image],
    thing: &str,
) -> anyhow::Result<(usize, Fronts)> {
    let odds = compass.odds(views, thing)?;
    let odds: Vec<&[f32]> = odds.chunks_exact(compass.n_sectors()).collect();
    let of_views: Vec<f32> = odds.iter().map(|odds| frontness(odds)).collect();
    Ok((told(&odds), Fronts::around(&of_views)))
}

/// Of views evenly around, the first from the front, those whose likeliest sector is within 45 degrees of the right one.
fn told(odds: &[&[f32]]) -> usize {
    let is_told = |(i, odds): (usize, &&[f32])| {
        let sectors = 0..odds.len();
        let best = sectors.max_by(|a, b| odds[*a].total_cmp(&odds[*b]));
        let found = best.unwrap_or(0) as f32 / odds.len() as f32;
        let off = 360.0 * (found - i as f32 / AROUND as f32);
        ((off + 180.0).rem_euclid(360.0) - 180.0).abs() <= AHEAD_WITHIN
    };
    odds.iter()
        .enumerate()
        .filter(|view| is_told(*view))
        .count()
}

/// The names of things of which at least half have a single front that lies ahead. A name may have one object alone, so all
/// objects are taken together whose names end with the same word: tables, whatever they are made of.
fn fronted(rows: &[Row]) -> BTreeSet<String> {
    let mut balance: BTreeMap<&str, i32> = BTreeMap::new();
    for row in rows {
        *balance.entry(kind(&row.name)).or_default() += if is_ahead(row.fronts) { 1 } else { -1 };
    }
    let names = rows.iter().map(|row| &row.name);
    names
        .filter(|name| balance[kind(name)] >= 0)
        .cloned()
        .collect()
}

/// What a thing is, less what it is like.
fn kind(name: &str) -> &str {
    name.rsplit(' ').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_of_a_kind_have_fronts_together() {
        let row = |name: &str, ahead: bool| Row {
            name: name.into(),
            model: String::new(),
            held_out: false,
            told: 0,
            fronts: Fronts {
                count: 1,
                facing: if ahead { 10.0 } else { 90.0 },
            },
        };
        let rows = [
            row("table", false),
            row("table", false),
            // By chance.
            row("wooden table", true),
            row("chair", true),
            row("oak chair", true),
            row("oak chair", false),
            row("chairlift", false),
        ];
        let names = ["chair", "oak chair"].map(String::from);
        assert_eq!(fronted(&rows), BTreeSet::from(names));
    }
}
