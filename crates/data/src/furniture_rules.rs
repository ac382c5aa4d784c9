//! Which furniture makes good pictures, and what to call it: the table `furniture_rules.toml`.
//! Leaves out judging pictures: rules see names, categories and shapes.

use std::collections::{BTreeMap, HashMap};

use dreamsmith_base::Mesh;
use serde::Deserialize;

use crate::furniture_catalog::Piece;

const TABLE: &str = include_str!("furniture_rules.toml");

/// The rules of `furniture_rules.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Meshes thinner than this share of their longest side are left out.
    least_thickness: f32,
    /// Two models of one name with the same number of faces and areas this near are one model.
    same_area: f64,
    /// Words that stay in capitals.
    capitals: Vec<String>,
    /// Names that take no article, beside those that end in s.
    without_article: Vec<String>,
    /// Categories whose objects come in any colour.
    any_color_categories: Vec<String>,
    /// Names, or last words of names, of objects that have a colour of their own.
    own_color: Vec<String>,
    leave_out: Vec<LeaveOut>,
    /// Clean names by the catalog's, in lower case.
    names: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaveOut {
    reason: String,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    containing: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
}

/// What tells the shapes of two models apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    n_faces: usize,
    area: f64,
    /// The shortest side as a share of the longest.
    thickness: f32,
}

impl Shape {
    /// The shape of a mesh.
    pub fn of(mesh: &Mesh) -> Self {
        let [low, high] = mesh.bounds();
        let sides = high - low;
        Self {
            n_faces: mesh.faces().len(),
            area: mesh.area(),
            thickness: sides.min_element() / sides.max_element(),
        }
    }
}

/// The models that were kept, to tell twins.
#[derive(Clone, Debug, Default)]
pub struct Known(HashMap<(String, usize), Vec<f64>>);

impl Rules {
    /// The rules that come with the program.
    pub fn read() -> Result<Self, toml::de::Error> {
        toml::from_str(TABLE)
    }

    /// Why the catalog's words speak against a piece; none if nothing does.
    pub fn objection(&self, piece: &Piece) -> Option<&str> {
        let name = piece.name.to_lowercase();
        if piece.is_door_or_window {
            return Some("a door or window");
        }
        let speaks = |rule: &&LeaveOut| {
            !rule.except.contains(&name)
                && (rule.categories.contains(&piece.category)
                    || rule.names.contains(&name)
                    || rule.containing.iter().any(|part| name.contains(part)))
        };
        let rule = self.leave_out.iter().find(speaks)?;
        Some(&rule.reason)
    }

    /// Why the shape of a piece speaks against it, given the ones before; it is noted for those after.
    pub fn objection_to_shape(&self, name: &str, shape: &Shape, known: &mut Known) -> Option<&str> {
        if shape.thickness < self.least_thickness {
            return Some("flat");
        }
        let twins = known
            .0
            .entry((name.to_string(), shape.n_faces))
            .or_default();
        let is_twin = |other: &f64| (shape.area / other - 1.0).abs() < self.same_area;
        if twins.iter().any(is_twin) {
            return Some("a twin of another model");
        }
        twins.push(shape.area);
        None
    }

    /// What to call a piece: in small letters, without numbers and brands.
    pub fn name(&self, piece: &Piece) -> String {
        let lower = piece.name.to_lowercase();
        if let Some(name) = self.names.get(&lower) {
            return name.clone();
        }
        let mut words: Vec<String> = piece
            .name
            .split_whitespace()
            .map(|word| match self.capitals.iter().any(|c| c == word) {
                true => word.to_string(),
                false => word.to_lowercase(),
            })
            .collect();
        while words.len() > 1 && words.last().is_some_and(|w| w.parse::<u32>().is_ok()) {
            words.pop();
        }
        words.join(" ")
    }

    /// Whether an object of that name and category may come in any colour.
    pub fn any_color(&self, name: &str, category: &str) -> bool {
        let last = name.rsplit(' ').next().unwrap_or(name);
        self.any_color_categories.iter().any(|c| c == category)
            && !self.own_color.iter().any(|own| own == name || own == last)
    }

    /// "a red armchair", "an armchair", "sunglasses".
    pub fn phrase(&self, name: &str, color: &str) -> String {
        let words = match color {
            "" => name.to_string(),
            color => format!("{color} {name}"),
        };
        let is_plural =
            name.ends_with('s') && !["ss", "us", "is"].iter().any(|e| name.ends_with(e));
        if is_plural || self.without_article.iter().any(|n| n == name) {
            return words;
        }
        let first = words.chars().next().unwrap_or(' ').to_ascii_lowercase();
        match "aeiou".contains(first) && !words.starts_with("uni") {
            true => format!("an {words}"),
            false => format!("a {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::{MeshError, MeshParts};
    use glam::Mat3;

    fn piece(name: &str, category: &str) -> Piece {
        Piece {
            library: "Lib".into(),
            number: 1,
            name: name.into(),
            category: category.into(),
            creator: String::new(),
            licence: String::new(),
            model: String::new(),
            rotation: Mat3::IDENTITY,
            is_door_or_window: false,
        }
    }

    #[test]
    fn names_become_plain_words() -> Result<(), toml::de::Error> {
        let rules = Rules::read()?;
        for (from, to) in [
            ("Armchair", "armchair"),
            ("Armchair 2", "armchair"),
            ("TV stand", "TV stand"),
            ("Hashtray", "ashtray"),
            ("Sofa 2 seats", "two-seat sofa"),
        ] {
            assert_eq!(rules.name(&piece(from, "")), to);
        }
        assert_eq!(rules.phrase("armchair", ""), "an armchair");
        assert_eq!(rules.phrase("armchair", "red"), "a red armchair");
        assert_eq!(rules.phrase("scissors", "blue"), "blue scissors");
        assert_eq!(rules.phrase("bus", ""), "a bus");
        assert_eq!(rules.phrase("bread", ""), "bread");
        Ok(())
    }

    #[test]
    fn people_decals_and_doors_are_left_out() -> Result<(), toml::de::Error> {
        let rules = Rules::read()?;
        assert!(
            rules
                .objection(&piece("Sitting female", "Characters"))
                .is_some()
        );
        assert!(rules.objection(&piece("Rabbit", "Characters")).is_none());
        assert!(
            rules
                .objection(&piece("Door", "Doors and windows"))
                .is_some()
        );
        assert!(
            rules
                .objection(&piece("Square type G plug", "Miscellaneous"))
                .is_some()
        );
        assert!(rules.objection(&piece("Sofa", "Living room")).is_none());
        let armchair = rules.any_color("armchair", "Living room");
        assert!(armchair && !rules.any_color("bread", "Kitchen"));
        Ok(())
    }

    #[test]
    fn flat_meshes_and_twins_are_found() -> Result<(), Box<dyn std::error::Error>> {
        let rules = Rules::read()?;
        let tent = |height: f32| -> Result<Mesh, MeshError> {
            MeshParts {
                verts: vec![
                    [0.0; 3],
                    [1.0, 0.0, 0.0],
                    [0.0, 0.0, 1.0],
                    [0.5, height, 0.5],
                ],
                faces: vec![[0, 1, 3], [1, 2, 3], [2, 0, 3]],
                ..MeshParts::default()
            }
            .build()
        };
        let mut known = Known::default();
        let mut judge = |name: &str, height| -> Result<Option<&str>, MeshError> {
            Ok(rules.objection_to_shape(name, &Shape::of(&tent(height)?), &mut known))
        };
        assert_eq!(judge("tent", 0.001)?, Some("flat"));
        assert_eq!(judge("tent", 0.5)?, None);
        assert_eq!(judge("tent", 0.5001)?, Some("a twin of another model"));
        assert_eq!(judge("tent", 0.8)?, None);
        assert_eq!(judge("hat", 0.5)?, None);
        Ok(())
    }
}
