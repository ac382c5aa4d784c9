//! What a person sees: progress and notes on stderr, the result on stdout.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::Value;

/// How the program talks.
#[derive(Clone, Copy)]
pub struct Console {
    json: bool,
    quiet: bool,
}

impl Console {
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Something worth knowing on the way.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            // A closed terminal is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// A row of a table that grows: a result for people, progress for machines.
    pub fn row(&self, text: &str) {
        if self.json {
            self.note(text);
        } else if !self.quiet {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// The result: `words` for people, `value` for machines.
    pub fn result(&self, words: &str, value: &Value) {
        let mut out = std::io::stdout();
        // As with notes: a closed pipe is no reason to fail.
        let _ = match (self.json, self.quiet) {
            (true, _) => writeln!(out, "{value}"),
            (false, true) => Ok(()),
            (false, false) => writeln!(out, "{words}"),
        };
    }

    /// One line that says why the work failed.
    pub fn error(&self, error: &anyhow::Error) {
        let mut parts: Vec<String> = vec![];
        for cause in error.chain() {
            let text = cause.to_string();
            // Transparent errors repeat their cause.
            if !parts.iter().any(|part| part.contains(&text)) {
                parts.push(text);
            }
        }
        let _ = writeln!(std::io::stderr(), "error: {}", parts.join(": "));
    }

    /// Whether a progress bar is seen: on a terminal, unless quiet.
    pub fn has_bar(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// A bar of `total` steps called `unit`, as images or steps.
    pub fn bar(&self, total: u64, unit: &str) -> ProgressBar {
        let target = match self.quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let template =
            format!("{{bar:20}} {{pos}}/{{len}} {unit} {{speed}}/s ETA {{eta}} {{wide_msg}}");
        let bar = ProgressBar::with_draw_target(Some(total), target);
        match ProgressStyle::with_template(&template) {
            Ok(style) => bar.with_style(style.with_key("speed", write_speed)),
            Err(_) => bar,
        }
    }
}

fn write_speed(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // As with notes; the next drawing of the bar is soon.
    let _ = write!(out, "{:.1}", state.per_sec());
}

/// A flag that the first Ctrl-C sets; the second ends the program at once.
pub fn stop_flag(console: &Console) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let (set, console) = (flag.clone(), *console);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        // A bar ends without a new line.
        let gap = if console.has_bar() { "\n" } else { "" };
        console.note(&format!(
            "{gap}stopping after this step; press Ctrl-C again to stop at once"
        ));
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(flag)
}
