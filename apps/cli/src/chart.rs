//! Pictures with words in them: curves, and text under images.

use std::path::Path;
use std::sync::Once;

use anyhow::{anyhow, bail};
use dreamsmith_base::{Image, write_png};
use dreamsmith_diffusion::run::Metrics;
use plotters::prelude::*;
use plotters::style::FontStyle;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;
/// The smoothed curve averages over this share of the run to either side.
const SMOOTHING: f64 = 0.02;

/// Draws the loss over steps, as measured and smoothed, with a logarithmic loss axis.
pub fn draw_loss_curve(history: &[Metrics], path: &Path) -> anyhow::Result<()> {
    let points: Vec<(f64, f64)> = history
        .iter()
        .filter(|line| line.loss > 0.0)
        .map(|line| (line.step as f64, line.loss))
        .collect();
    let Some(&(last, _)) = points.last() else {
        return Ok(());
    };
    let low = 0.9 * points.iter().map(|p| p.1).fold(f64::MAX, f64::min);
    let high = 1.1 * points.iter().map(|p| p.1).fold(f64::MIN, f64::max);
    let smooth = smoothed(&points);
    let image = with_canvas(WIDTH, HEIGHT, |area| {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .caption("training loss", ("sans-serif", 20))
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(
                0.0..last,
                (low..high).log_scale().with_key_points(marks(low, high)),
            )?;
        chart
            .configure_mesh()
            .x_desc("step")
            .label_style(("sans-serif", 14))
            .bold_line_style(RGBColor(225, 225, 225))
            .max_light_lines(0)
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|loss| loss.to_string())
            .draw()?;
        chart.draw_series(LineSeries::new(points, &RGBColor(190, 205, 230)))?;
        let line = RGBColor(30, 80, 180).stroke_width(2);
        chart.draw_series(LineSeries::new(smooth, line))?;
        Ok(())
    })?;
    Ok(write_png(path, &image, &[])?)
}

/// What a model reaches at one strength of guidance.
pub struct GuidancePoint {
    pub scale: f64,
    /// Share of pictures nearest to their own prompt: the low end of its interval, the share, the high end.
    pub recall: [f64; 3],
    /// Distance from real pictures, if there were any.
    pub frechet: Option<f64>,
}

/// Draws R@1 with its intervals, and beside it FD if it is known, over the strength: a line for each named curve,
/// whose points are in order.
pub fn draw_guidance(curves: &[(String, Vec<GuidancePoint>)], path: &Path) -> anyhow::Result<()> {
    const COLORS: [RGBColor; 4] = [
        RGBColor(30, 80, 180),
        RGBColor(200, 80, 20),
        RGBColor(40, 130, 60),
        RGBColor(120, 50, 140),
    ];
    let points = || curves.iter().flat_map(|(_, points)| points);
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(low, high), x| {
            (low.min(x), high.max(x))
        })
    };
    let (first, last) = ends(&mut points().map(|point| point.scale));
    let (first, last) = (first - 0.2, last + 0.2);
    let farthest = ends(&mut points().filter_map(|point| point.frechet)).1;
    let known = farthest.is_finite() && farthest > 0.0;
    let recall = |p: &GuidancePoint| Some(p.recall[1]);
    let frechet = |p: &GuidancePoint| p.frechet;
    type Value<'a> = &'a dyn Fn(&GuidancePoint) -> Option<f64>;
    let mut panels: Vec<(&str, f64, Value<'_>)> = vec![("R@1", 1.0, &recall)];
    if known {
        panels.push(("FD", 1.1 * farthest, &frechet));
    }
    let image = with_canvas(WIDTH, HEIGHT, |area| {
        area.fill(&WHITE)?;
        let parts = area.split_evenly((1, panels.len()));
        for (part, (title, high, value)) in parts.iter().zip(&panels) {
            let mut chart = ChartBuilder::on(part)
                .margin(12)
                .caption(title, ("sans-serif", 20))
                .x_label_area_size(36)
                .y_label_area_size(56)
                .build_cartesian_2d(first..last, 0.0..*high)?;
            chart
                .configure_mesh()
                .x_desc("guidance scale")
                .label_style(("sans-serif", 14))
                .bold_line_style(RGBColor(225, 225, 225))
                .max_light_lines(0)
                .draw()?;
            for ((name, points), color) in curves.iter().zip(COLORS.iter().cycle()) {
                let line = points.iter().filter_map(|p| Some((p.scale, value(p)?)));
                let line: Vec<(f64, f64)> = line.collect();
                chart.draw_series(line.iter().map(|at| Circle::new(*at, 3, color.filled())))?;
                if *title == "R@1" {
                    let bars = points.iter().map(|p| {
                        let [low, _, high] = p.recall;
                        let ends = [(p.scale, low), (p.scale, high)];
                        PathElement::new(ends, color.mix(0.5).stroke_width(2))
                    });
                    chart.draw_series(bars)?;
                }
                chart
                    .draw_series(LineSeries::new(line, color.stroke_width(2)))?
                    .label(name)
                    .legend(|(x, y)| {
                        PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                    });
            }
            chart
                .configure_series_labels()
                .label_font(("sans-serif", 14))
                .background_style(WHITE.mix(0.8))
                .border_style(RGBColor(225, 225, 225))
                .position(SeriesLabelPosition::LowerRight)
                .draw()?;
        }
        Ok(())
    })?;
    Ok(write_png(path, &image, &[])?)
}

/// Round values from `low` to `high` for a logarithmic axis, the closer the shorter it is.
fn marks(low: f64, high: f64) -> Vec<f64> {
    let steps: &[u32] = match (high / low).log10() {
        decades if decades > 3.0 => &[10],
        decades if decades > 1.0 => &[10, 20, 50],
        _ => &[10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90],
    };
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    decades
        // Parsing gives the nearest number, which then prints as short as it was written.
        .flat_map(|decade| {
            steps
                .iter()
                .map(move |step| format!("{step}e{}", decade - 1))
        })
        .filter_map(|mark| mark.parse().ok())
        .filter(|mark| (low..high).contains(mark))
        .collect()
}

/// Geometric means over a window around each point, narrower at both ends so that the curve does not lag.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let widest = (points.len() as f64 * SMOOTHING).ceil() as usize;
    (0..points.len())
        .map(|i| {
            let reach = widest.min(i).min(points.len() - 1 - i);
            let window = &points[i - reach..=i + reach];
            let logs: f64 = window.iter().map(|(_, loss)| loss.ln()).sum();
            (points[i].0, (logs / window.len() as f64).exp())
        })
        .collect()
}

/// Pictures side by side, each over a few lines of text.
pub fn captioned_row(pictures: &[(Image, Vec<String>)]) -> anyhow::Result<Image> {
    const GAP: u32 = 6;
    const LINE: u32 = 16;
    let width: u32 = pictures
        .iter()
        .map(|(image, _)| image.width() + GAP)
        .sum::<u32>()
        + GAP;
    let tallest = pictures
        .iter()
        .map(|(image, _)| image.height())
        .max()
        .unwrap_or(0);
    let lines = pictures
        .iter()
        .map(|(_, text)| text.len())
        .max()
        .unwrap_or(0) as u32;
    let height = tallest + 2 * GAP + lines * LINE;
    let mut left = GAP;
    let mut places = vec![];
    for (image, text) in pictures {
        places.push((left, image, text));
        left += image.width() + GAP;
    }
    let mut sheet = with_canvas(width, height, |area| {
        area.fill(&WHITE)?;
        for (left, _, text) in &places {
            for (i, line) in text.iter().enumerate() {
                let top = tallest + GAP + 4 + i as u32 * LINE;
                let style = ("sans-serif", 13).into_font().color(&BLACK);
                area.draw(&Text::new(line.clone(), (*left as i32, top as i32), style))?;
            }
        }
        Ok(())
    })?;
    for (left, image, _) in places {
        sheet.paste(image, (left, GAP));
    }
    Ok(sheet)
}

/// Pictures row by row in a square, on white, each over its line of text. Cells are as large as the largest
/// picture, and as wide as the longest line.
pub fn labelled_grid(pictures: &[Image], labels: &[String]) -> anyhow::Result<Image> {
    const GAP: u32 = 4;
    const LINE: u32 = 16;
    /// Of a character, at the most.
    const ADVANCE: u32 = 8;
    /// As for a sheet without text: 3 GB of bytes.
    const MAX_PIXELS: u64 = 1 << 30;
    let widest = labels.iter().map(|label| label.chars().count() as u32);
    let widths = pictures.iter().map(Image::width);
    let cell_width = widths.chain(widest.map(|n| n * ADVANCE)).max().unwrap_or(0) + GAP;
    let tallest = pictures.iter().map(Image::height).max().unwrap_or(0);
    let cell_height = tallest + LINE + GAP;
    let columns = (pictures.len() as f64).sqrt().ceil() as u32;
    let rows = (pictures.len() as u32).div_ceil(columns.max(1));
    let pixels = u64::from(columns * cell_width) * u64::from(rows * cell_height);
    if pixels > MAX_PIXELS {
        bail!(
            "a sheet of {pixels} pixels, expected {MAX_PIXELS} at the most; draw fewer or smaller pictures"
        );
    }
    let place = |i: usize| {
        let (column, row) = (i as u32 % columns, i as u32 / columns);
        (column * cell_width + GAP, row * cell_height + GAP)
    };
    let sides = (columns * cell_width + GAP, rows * cell_height + GAP);
    let mut sheet = with_canvas(sides.0, sides.1, |area| {
        area.fill(&WHITE)?;
        for (i, label) in labels.iter().enumerate() {
            let (left, top) = place(i);
            let style = ("sans-serif", 13).into_font().color(&BLACK);
            let corner = (left as i32, (top + tallest + 2) as i32);
            area.draw(&Text::new(label.clone(), corner, style))?;
        }
        Ok(())
    })?;
    for (i, picture) in pictures.iter().enumerate() {
        sheet.paste(picture, place(i));
    }
    Ok(sheet)
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

/// A picture that `paint` has drawn on.
fn with_canvas(
    width: u32,
    height: u32,
    paint: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn std::error::Error>>,
) -> anyhow::Result<Image> {
    register_font();
    let mut pixels = vec![0; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        paint(&area)
            .and_then(|()| Ok(area.present()?))
            .map_err(|e| anyhow!("cannot draw: {e}"))?;
    }
    Ok(Image::new(width, height, pixels)?)
}

/// The program brings its own font: machines without any draw the same.
fn register_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It only fails on a font that cannot be parsed, and this one never changes; text would be missing.
        let _ = plotters::style::register_font(
            "sans-serif",
            FontStyle::Normal,
            epaint_default_fonts::UBUNTU_LIGHT,
        );
    });
}
