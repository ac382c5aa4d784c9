//! The arrows between the crates point down only, as ARCHITECTURE.md draws them.

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::lab::Outcome;

/// What each room may know.
const MAY_KNOW: [(&str, &[&str]); 8] = [
    ("dreamsmith-base", &[]),
    ("dreamsmith-kernels", &["dreamsmith-base"]),
    (
        "dreamsmith-nets",
        &["dreamsmith-base", "dreamsmith-kernels"],
    ),
    ("dreamsmith-data", &["dreamsmith-base"]),
    (
        "dreamsmith-scene",
        &["dreamsmith-base", "dreamsmith-kernels", "dreamsmith-data"],
    ),
    (
        "dreamsmith-diffusion",
        &[
            "dreamsmith-base",
            "dreamsmith-kernels",
            "dreamsmith-nets",
            "dreamsmith-data",
        ],
    ),
    (
        "dreamsmith-lift",
        &[
            "dreamsmith-base",
            "dreamsmith-data",
            "dreamsmith-scene",
            "dreamsmith-diffusion",
        ],
    ),
    (
        "dreamsmith",
        &[
            "dreamsmith-base",
            "dreamsmith-kernels",
            "dreamsmith-nets",
            "dreamsmith-data",
            "dreamsmith-scene",
            "dreamsmith-diffusion",
            "dreamsmith-lift",
        ],
    ),
];

/// Only the program prints, exits and parses arguments.
const OF_THE_PROGRAM: [&str; 3] = ["clap", "indicatif", "anyhow"];

#[test]
fn arrows_point_down_only() -> Outcome {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()?;
    let members = metadata.workspace_packages();
    assert_eq!(
        members.len(),
        MAY_KNOW.len(),
        "a room is missing in the table above"
    );
    for package in members {
        let name = package.name.as_str();
        let (_, allowed) = MAY_KNOW
            .iter()
            .find(|(room, _)| *room == name)
            .ok_or_else(|| format!("`{name}` is not in the table above"))?;
        for edge in &package.dependencies {
            let to = edge.name.as_str();
            let upward = edge.path.is_some() && !allowed.contains(&to);
            assert!(!upward, "{name} must not know {to}");
            let foreign = edge.kind == DependencyKind::Normal && OF_THE_PROGRAM.contains(&to);
            assert!(
                !foreign || name == "dreamsmith",
                "{to} belongs to the program, not to {name}"
            );
        }
    }
    Ok(())
}
