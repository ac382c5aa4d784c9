//! The program `dreamsmith`: arguments to a spec, a spec to a call, a call to what a person sees.
//! The only crate that prints, exits, or knows clap.

mod average;
mod bench;
mod chart;
mod console;
mod data;
mod device;
mod dream;
mod eval;
mod eval_camera;
mod eval_compass;
mod eval_dream;
mod export;
mod forward;
mod furniture;
mod imagine;
mod info;
mod output;
mod reconstruct;
mod reconstruct_mesh;
mod render;
mod train;
mod train_compass;
mod train_tower;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dreamsmith_diffusion::Precision;

use crate::console::Console;
use crate::device::DeviceName;

/// Words into pictures into 3D objects.
#[derive(Parser)]
#[command(name = "dreamsmith", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Keeps them apart from a command's own.
const EVERYWHERE: &str = "Options of every command";

/// What every command accepts.
#[derive(clap::Args, Clone)]
struct Global {
    /// Print one JSON line on stdout when done; progress stays on stderr
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    /// Print nothing but errors (and the line of --json)
    #[arg(long, short, global = true, help_heading = EVERYWHERE)]
    quiet: bool,
    /// Where to compute: cpu, vulkan[:N], wgpu[:N], metal[:N], cuda[:N]
    #[arg(long, global = true, help_heading = EVERYWHERE, default_value = "cpu")]
    device: DeviceName,
    /// Threads on the CPU; all cores if not given. Results do not depend on it
    #[arg(long, global = true, help_heading = EVERYWHERE, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How networks multiply: f32, or bf16 (twice as fast where the CPU has it). What the spec says
    /// if not given, else f32
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    precision: Option<Precision>,
}

#[derive(Subcommand)]
enum Command {
    Imagine(imagine::Imagine),
    Dream(dream::Dream),
    Train(train::Train),
    TrainTower(train_tower::TrainTower),
    TrainCompass(train_compass::TrainCompass),
    Average(average::Average),
    Export(export::Export),
    Eval(eval::Eval),
    EvalCamera(eval_camera::EvalCamera),
    EvalCompass(eval_compass::EvalCompass),
    EvalDream(eval_dream::EvalDream),
    Forward(forward::Forward),
    Reconstruct(reconstruct::Reconstruct),
    Render(render::Render),
    #[command(subcommand)]
    Data(data::Data),
    Info(info::Info),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    dreamsmith_kernels::keep_freed_memory();
    let Cli { command, global } = Cli::parse();
    let console = Console::new(global.json, global.quiet);
    match run(command, &global, &console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, global: &Global, console: &Console) -> anyhow::Result<()> {
    if let Some(threads) = global.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(threads))
            .build_global()?;
    }
    let device = || global.device.open();
    match command {
        Command::Imagine(args) => {
            args.run(&device()?, global.precision.unwrap_or_default(), console)
        }
        Command::Dream(args) => args.run(&device()?, global.precision, console),
        Command::Train(args) => args.run(&device()?, global.precision, console),
        Command::TrainTower(args) => args.run(&device()?, console),
        Command::TrainCompass(args) => args.run(&device()?, console),
        Command::Eval(args) => args.run(&device()?, global.precision.unwrap_or_default(), console),
        Command::EvalCamera(args) => {
            args.run(&device()?, global.precision.unwrap_or_default(), console)
        }
        Command::EvalCompass(args) => args.run(&device()?, console),
        Command::EvalDream(args) => args.run(&device()?, console),
        Command::Export(args) => args.run(&device()?, console),
        Command::Average(args) => args.run(&device()?, console),
        Command::Forward(args) => args.run(console),
        Command::Reconstruct(args) => args.run(global.precision, console),
        Command::Render(args) => args.run(console),
        Command::Data(args) => args.run(console),
        Command::Info(args) => args.run(console),
        Command::Bench(args) => args.run(&device()?, global.precision, console),
    }
}
