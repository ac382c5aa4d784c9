//! A training that is killed, stopped or run on other threads gives the same bytes as any other.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use crate::lab::{Ended, Files, Lab, Outcome};

/// A training in progress, and what it says meanwhile.
pub struct Running {
    child: Child,
    notes: BufReader<ChildStderr>,
}

impl Running {
    pub fn start(lab: &Lab, arguments: &str) -> Outcome<Self> {
        let mut command = lab.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let notes = child
            .stderr
            .take()
            .map(BufReader::new)
            .ok_or("stderr is piped")?;
        Ok(Self { child, notes })
    }

    /// Waits until the program says that `step` is done. Each step is announced before the next begins, and
    /// a checkpoint is written after the announcement of its own step.
    pub fn wait_for_step(&mut self, step: u64) -> Outcome {
        let announcement = format!("step {step} ");
        for line in (&mut self.notes).lines() {
            if line?.starts_with(&announcement) {
                return Ok(());
            }
        }
        Err(format!("the program ended before step {step}").into())
    }

    /// SIGKILL, which must come before the end of the run.
    pub fn kill(mut self) -> Outcome {
        self.child.kill()?;
        assert_eq!(
            self.child.wait()?.code(),
            None,
            "the run was over before it was killed"
        );
        Ok(())
    }

    /// As Ctrl-C does.
    fn interrupt(self) -> Outcome<Ended> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status()?.success());
        // The program must not wait for somebody who reads its notes.
        let reader = std::thread::spawn(|| self.notes.lines().collect::<Result<Vec<_>, _>>());
        let mut ended = Ended::from(self.child.wait_with_output()?);
        ended.err = reader
            .join()
            .map_err(|_| "the reader panicked")??
            .join("\n");
        Ok(ended)
    }
}

/// All of a run but the clock: its files, and its metrics without the speed.
fn traces(lab: &Lab, run: &str) -> Outcome<(Files, Vec<String>)> {
    let mut files = lab.files(run)?;
    let metrics = files
        .remove(&PathBuf::from("metrics.jsonl"))
        .ok_or("no metrics")?;
    let lines = std::str::from_utf8(&metrics)?.lines();
    let timeless = |line: &str| Some(line.split_once(r#","images_per_second":"#)?.0.to_owned());
    let lines: Option<Vec<String>> = lines.map(timeless).collect();
    // What was being written when the program was killed; nobody reads it.
    files.retain(|path, _| !path.to_string_lossy().contains(".dreamsmith-"));
    Ok((files, lines.ok_or("a line without its speed")?))
}

fn assert_same_run(lab: &Lab, one: &str, other: &str) -> Outcome {
    let ((files, metrics), (others, other_metrics)) = (traces(lab, one)?, traces(lab, other)?);
    assert!(
        files.keys().eq(others.keys()),
        "{:?}\n{:?}",
        files.keys(),
        others.keys()
    );
    for (path, content) in &files {
        assert!(content == &others[path], "{} differs", path.display());
    }
    assert_eq!(metrics, other_metrics);
    Ok(())
}

fn state_step(lab: &Lab, run: &str) -> Outcome<u64> {
    let text = std::fs::read(lab.path(run).join("checkpoint/state.json"))?;
    let state: Value = serde_json::from_slice(&text)?;
    Ok(state["step"].as_u64().ok_or("no step")?)
}

#[test]
fn a_killed_run_resumes_to_the_bit() -> Outcome {
    let lab = Lab::new()?;
    lab.succeeds("train spec.toml -o whole")?;
    let (files, metrics) = traces(&lab, "whole")?;
    for (line, step) in metrics.iter().zip(1..=40) {
        assert!(line.starts_with(&format!(r#"{{"step":{step},"#)), "{line}");
    }
    assert_eq!(metrics.len(), 40);
    for name in [
        "weights.safetensors",
        "average.safetensors",
        "optimizer.bpk",
        "state.json",
    ] {
        assert!(
            files.contains_key(&PathBuf::from("checkpoint").join(name)),
            "{name}"
        );
    }

    let mut running = Running::start(&lab, "train spec.toml -o killed")?;
    running.wait_for_step(26)?;
    running.kill()?;
    assert!(state_step(&lab, "killed")? >= 25);
    // Once more, now most likely in the middle of a checkpoint.
    let mut running = Running::start(&lab, "train --resume killed")?;
    running.wait_for_step(35)?;
    running.kill()?;
    assert!((30..40).contains(&state_step(&lab, "killed")?));
    let ended = lab.succeeds("train --resume killed")?;
    assert!(ended.err.contains("resuming at step 3"), "{}", ended.err);
    assert_same_run(&lab, "whole", "killed")
}

#[test]
fn ctrl_c_saves_and_the_run_goes_on_to_the_bit() -> Outcome {
    let lab = Lab::new()?;
    lab.succeeds("train spec.toml -o whole")?;
    let mut running = Running::start(&lab, "train spec.toml -o stopped")?;
    running.wait_for_step(11)?;
    let ended = running.interrupt()?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended.err.contains("stopping after this step"),
        "{}",
        ended.err
    );
    let step = state_step(&lab, "stopped")?;
    let words = format!("saved at step {step}; go on with `dreamsmith train --resume stopped`\n");
    assert_eq!(ended.out, words);
    assert!((11..40).contains(&step), "stopped at step {step}");
    lab.succeeds("train --resume stopped")?;
    assert_same_run(&lab, "whole", "stopped")
}

#[test]
fn threads_change_nothing() -> Outcome {
    let lab = Lab::new()?;
    lab.respec("spec.toml", "steps = 40", "steps = 10")?;
    lab.succeeds("train spec.toml -o one --threads 1")?;
    lab.succeeds("train spec.toml -o two --threads 2")?;
    assert_same_run(&lab, "one", "two")
}
