//! Fields as they are seen, against closed forms; their slopes against differences; and learning on a tiny scene.

mod closed_forms;
mod extracted;
mod known_field;
mod learning;
mod slopes;
mod tiny_scene;
