//! The real program in a temporary folder: what it prints, writes, and says when the input is bad.

mod bad_input;
mod bench;
mod commands;
mod dream;
mod enlarge;
mod furniture;
mod imagine;
mod judging;
mod lab;
mod reconstruct;
mod render;
mod resume;
mod rooms;
mod text;
