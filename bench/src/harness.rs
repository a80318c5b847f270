//! Runs benchmarks one after the other, prints their figures and writes them to a file.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::figure::Figure;
use crate::{checkpoint_size, checkpoint_time, comparisons, csv, footprint, nexmark, pause, recovery};

/// How benchmarks are run.
pub struct Context {
    /// Rounds over which the two sides of a comparison are interleaved.
    pub rounds: usize,
    /// Multiplies sizes and times; 1 is what the bars are meant for.
    pub scale: f64,
}

type Benchmark = fn(&Context) -> Result<Vec<Figure>>;

const BENCHMARKS: &[(&str, Benchmark)] = &[
    ("pass-through", comparisons::pass_through),
    ("exchange", comparisons::exchange),
    ("keyed-count-cached", comparisons::keyed_count_cached),
    ("keyed-count-large", comparisons::keyed_count_large),
    ("checkpoint-pause", pause::run),
    ("footprint", footprint::run),
    ("nexmark", nexmark::run),
    ("csv", csv::run),
    ("recovery", recovery::run),
    ("checkpoint-time", checkpoint_time::run),
    ("checkpoint-size", checkpoint_size::run),
];

/// Runs the named benchmarks, or all.
///
/// # Errors
/// When a name is unknown, a benchmark cannot be run, or an output is not what it must be.
pub fn run(names: &[String], json: Option<&Path>, ctx: &Context) -> Result<()> {
    let known: Vec<&str> = BENCHMARKS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no benchmark {unknown}; there are: {}", known.join(", "));
    }
    let mut file = json
        .map(|path| std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display())))
        .transpose()?;
    let mut wrong = Vec::new();
    for (name, benchmark) in BENCHMARKS {
        if !names.is_empty() && !names.iter().any(|chosen| chosen == name) {
            continue;
        }
        match benchmark(ctx) {
            Ok(figures) => {
                for mut figure in figures {
                    figure.scale = ctx.scale;
                    println!("{}", figure.line());
                    if let Some(file) = &mut file {
                        writeln!(file, "{}", serde_json::to_string(&figure)?)?;
                    }
                    if !figure.verified {
                        wrong.push(format!("{name} {}", figure.case));
                    }
                }
            }
            // The others can still be measured.
            Err(error) => {
                eprintln!("{name}: {error:#}");
                wrong.push((*name).to_owned());
            }
        }
    }
    if !wrong.is_empty() {
        bail!("not measured, or the output is not what it must be: {}", wrong.join(", "));
    }
    Ok(())
}
