//! `dreamsmith bench`: how fast the operations and a network run here, beside what this machine can
//! do at most.

mod field;
mod field_training;
mod rows;
mod timing;
mod unet;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use burn::tensor::Device;
use clap::Args;
use dreamsmith_diffusion::Precision;
use dreamsmith_kernels::{Isa, bandwidth, peak};
use serde_json::{Value, json};

use crate::bench::rows::{Row, Work, rows};
use crate::bench::timing::measure;
use crate::bench::unet::Network;
use crate::console::Console;

/// Measure how fast operations and a U-Net run on this CPU
///
/// Prints what this machine can do at most (products from registers alone, reading of memory), then
/// for each operation the median and the best time, GFLOP/s or GB/s, and its share of that limit, in
/// both precisions unless --precision names one. A share of memory may be above 100 % where the values
/// stay in a cache.
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith bench
  dreamsmith bench --filter matmul --precision f32
  dreamsmith bench --filter u-net --seconds 5 --json
  dreamsmith bench --save-unet bench-unet    the measured network, for other programs")]
pub struct Bench {
    /// Only rows with this in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Seconds for each row; each runs three times at least
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    seconds: f64,
    /// Measure the U-Net with the weights in this diffusers folder
    #[arg(long, value_name = "DIR")]
    unet: Option<PathBuf>,
    /// Write the U-Net as a diffusers folder, beside an example of its output, and measure nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["filter", "unet"])]
    save_unet: Option<PathBuf>,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("expected a number above 0, up to 3600".into()),
    }
}

/// The fastest that this machine can be.
struct Limits {
    flops: [f64; 2],
    bytes: f64,
}

impl Limits {
    fn of(&self, work: Work, precision: Precision) -> f64 {
        match (work, precision) {
            (Work::Flops(_), Precision::F32) => self.flops[0],
            (Work::Flops(_), Precision::Bf16) => self.flops[1],
            (Work::Bytes(_), _) => self.bytes,
        }
    }
}

impl Bench {
    pub fn run(
        self,
        device: &Device,
        precision: Option<Precision>,
        console: &Console,
    ) -> anyhow::Result<()> {
        if *device != Device::flex() {
            bail!("bench measures the CPU only; leave out --device");
        }
        if let Some(folder) = &self.save_unet {
            Network::new(None, Precision::F32)?.save(folder)?;
            let words = format!("wrote {}", folder.display());
            console.result(&words, &json!({"command": "bench", "unet": folder}));
            return Ok(());
        }
        let chosen = self.choose()?;
        let limits = Limits {
            flops: [Precision::F32, Precision::Bf16].map(peak),
            bytes: bandwidth(),
        };
        let machine = json!({
            "cpu": cpu_name(),
            "threads": rayon::current_num_threads(),
            "isa": format!("{:?}", Isa::best()),
            "peak_f32_gflop_per_s": limits.flops[0] / 1e9,
            "peak_bf16_gflop_per_s": limits.flops[1] / 1e9,
            "memory_gb_per_s": limits.bytes / 1e9,
        });
        console.row(&format!(
            "{}, {} threads, {:?}: {:.0} GFLOP/s in f32, {:.0} in bf16; memory {:.1} GB/s",
            machine["cpu"].as_str().unwrap_or("unknown CPU"),
            rayon::current_num_threads(),
            Isa::best(),
            limits.flops[0] / 1e9,
            limits.flops[1] / 1e9,
            limits.bytes / 1e9,
        ));
        console.row(&format!(
            "{:40} {:>4} {:>10} {:>10} {:>15} {:>6}",
            "", "", "median ms", "best ms", "", "limit"
        ));
        let runs: Vec<(&Row, Precision)> = chosen
            .iter()
            .flat_map(|row| row.precisions(precision).into_iter().map(move |p| (row, p)))
            .collect();
        let alone = runs.len() == 1;
        let mut measured = vec![];
        for (row, precision) in runs {
            let mut result = match row.wants_own_process && !alone {
                true => self.in_own_process(row, precision)?,
                false => self.measure(row, precision)?,
            };
            let limit = limits.of(row.work, precision);
            result["share"] = json!(row.work.amount() / seconds(&result) / limit);
            console.row(&line(row, precision, &result));
            measured.push(result);
        }
        let words = format!("{} rows measured", measured.len());
        let value = json!({
            "command": "bench",
            "version": env!("CARGO_PKG_VERSION"),
            "machine": machine,
            "rows": measured,
        });
        console.result(&words, &value);
        Ok(())
    }

    /// The rows that the filter leaves.
    fn choose(&self) -> anyhow::Result<Vec<Row>> {
        let wanted = self.filter.to_lowercase();
        let (chosen, others): (Vec<Row>, Vec<Row>) = rows(self.unet.as_deref())?
            .into_iter()
            .partition(|row| row.name.to_lowercase().contains(&wanted));
        if chosen.is_empty() {
            let names: Vec<String> = others.into_iter().map(|row| row.name).collect();
            bail!(
                "no row has `{}` in its name; there are: {}",
                self.filter,
                names.join(", ")
            );
        }
        Ok(chosen)
    }

    fn measure(&self, row: &Row, precision: Precision) -> anyhow::Result<Value> {
        let memory = timing::MemoryMark::set();
        let mut work = (row.prepare)(precision)?;
        let times = measure(self.seconds, &mut work);
        let mut result = json!({
            "name": row.name,
            "precision": precision,
            "runs": times.runs,
            "median_ms": times.median * 1e3,
            "best_ms": times.best * 1e3,
            row.work.unit(): row.work.amount() / times.median / 1e9,
        });
        if let Some(samples) = row.samples {
            result["samples_per_s"] = json!(samples as f64 / times.median);
        }
        if row.wants_own_process {
            result["memory_mb"] = json!(memory.and_then(|mark| mark.growth_mb()));
        }
        Ok(result)
    }

    /// As [`Self::measure`] in a fresh process, whose memory is the row's own.
    fn in_own_process(&self, row: &Row, precision: Precision) -> anyhow::Result<Value> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "--json", "--quiet", "--filter", &row.name]);
        command.args(["--precision", &precision.to_string()]);
        command.args(["--seconds", &self.seconds.to_string()]);
        command.args(["--threads", &rayon::current_num_threads().to_string()]);
        if let Some(folder) = &self.unet {
            command.arg("--unet").arg(folder);
        }
        let output = command.output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("{}", words.trim().trim_start_matches("error: ").to_owned());
        }
        let mut said: Value = serde_json::from_slice(&output.stdout)?;
        Ok(said["rows"][0].take())
    }
}

fn seconds(result: &Value) -> f64 {
    result["median_ms"].as_f64().unwrap_or(f64::NAN) / 1e3
}

/// A row of the table.
fn line(row: &Row, precision: Precision, result: &Value) -> String {
    let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
    let rate = number(row.work.unit());
    let unit = row.work.unit_in_words();
    let samples = match result["samples_per_s"].as_f64() {
        Some(samples) => format!("  {:.1} M samples/s", samples / 1e6),
        None => String::new(),
    };
    let memory = match result["memory_mb"].as_f64() {
        Some(mb) => format!("  {mb:.0} MB at most"),
        None => String::new(),
    };
    format!(
        "{:40} {:>4} {:>10.3} {:>10.3} {rate:>8.1} {unit:>7} {:>4.0} %{samples}{memory}",
        row.name,
        precision.to_string(),
        number("median_ms"),
        number("best_ms"),
        number("share") * 1e2,
    )
}

/// What Linux calls the processor.
fn cpu_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
