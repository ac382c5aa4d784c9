//! Figures of a short benchmark, for people and for machines, and what it refuses.

use std::fs;

use serde_json::Value;

use crate::lab::{Ended, Lab, Outcome};

/// The program's answer to `bench` with one `filter` and more `arguments`.
fn bench(lab: &Lab, filter: &str, arguments: &str) -> Outcome<Ended> {
    let mut command = lab.command(&format!("bench --seconds 0.05 {arguments}"));
    let ended = Ended::from(command.args(["--filter", filter]).output()?);
    assert_eq!(ended.code, Some(0), "{filter}: {}", ended.err);
    Ok(ended)
}

#[test]
fn a_row_is_measured_in_both_precisions() -> Outcome {
    let lab = Lab::new()?;
    let ended = bench(&lab, "MatMul 512", "--json")?;
    assert_eq!(ended.out.lines().count(), 1, "{}", ended.out);
    assert_eq!(ended.err.matches("matmul 512").count(), 2, "{}", ended.err);
    let said: Value = serde_json::from_str(&ended.out)?;
    assert!(said["machine"]["threads"].as_u64() >= Some(1), "{said}");
    let rows = said["rows"].as_array().ok_or("rows")?;
    assert_eq!(rows.len(), 2);
    for (row, precision) in rows.iter().zip(["f32", "bf16"]) {
        let number = |key: &str| row[key].as_f64().ok_or_else(|| format!("{key}: {row}"));
        assert_eq!(
            (&row["name"], &row["precision"]),
            (&"matmul 512".into(), &precision.into())
        );
        assert!(number("runs")? >= 3.0 && number("share")? > 0.0, "{row}");
        let (best, median) = (number("best_ms")?, number("median_ms")?);
        assert!(0.0 < best && best <= median, "{row}");
        // 2 n^3 operations in so many milliseconds; both are the same number, divided twice.
        let rate = 2.0 * 512.0_f64.powi(3) / median / 1e6;
        assert!((rate / number("gflop_per_s")? - 1.0).abs() < 1e-9, "{row}");
    }

    let ended = bench(&lab, "matmul 512", "--precision f32")?;
    assert_eq!(ended.out.matches("matmul 512").count(), 1, "{}", ended.out);
    assert_eq!(ended.err, "");
    Ok(())
}

#[test]
fn the_measured_network_is_a_diffusers_folder() -> Outcome {
    let lab = Lab::new()?;
    lab.succeeds("bench --save-unet new/unet")?;
    let config = fs::read_to_string(lab.path("new/unet/config.json"))?;
    assert!(config.contains("UNet2DConditionModel"), "{config}");
    for name in ["diffusion_pytorch_model", "example"] {
        let file = format!("new/unet/{name}.safetensors");
        assert!(lab.path(&file).is_file(), "{file}");
    }
    let row = "U-Net forward batch 1";
    let ended = bench(&lab, row, "--unet new/unet --precision f32")?;
    assert!(ended.out.contains(row), "{}", ended.out);
    Ok(())
}

#[test]
fn benches_that_cannot_be() -> Outcome {
    let lab = Lab::new()?;
    let rows = ["`teleport`", "matmul 512", "U-Net forward batch 1"];
    lab.fails("bench --filter teleport", 1, &rows)?;
    for seconds in ["0", "NaN", "-1", "inf", "soon"] {
        let arguments = format!("bench --seconds={seconds}");
        lab.fails(&arguments, 2, &["--seconds", "above 0"])?;
    }
    let lost = "bench --filter training --precision f32 --unet nowhere";
    lab.fails(lost, 1, &["nowhere"])
}
