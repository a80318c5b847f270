//! Interleaves legs over rounds, takes medians, compares.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::usage::Measured;

/// How a benchmark's sides are compared.
enum Bar {
    /// Throughput per CPU-second of the leg over that of the baseline, at least this.
    RatioAtLeast(f64),
    /// CPU nanoseconds per record beyond those of the baseline, at most this.
    OverheadAtMost(f64),
}

struct Comparison {
    name: &'static str,
    leg: &'static str,
    baseline: &'static str,
    bar: Bar,
}

const COMPARISONS: &[Comparison] = &[
    Comparison {
        name: "pass-through",
        leg: "pass-through/weir",
        baseline: "pass-through/loop",
        bar: Bar::RatioAtLeast(0.8),
    },
    Comparison { name: "exchange", leg: "exchange/weir", baseline: "exchange/loop", bar: Bar::OverheadAtMost(60.0) },
    Comparison {
        name: "keyed-count-cached",
        leg: "keyed-count-cached/weir-10s",
        baseline: "keyed-count-cached/loop",
        bar: Bar::RatioAtLeast(0.35),
    },
    Comparison {
        name: "keyed-count-cached",
        leg: "keyed-count-cached/weir-1s",
        baseline: "keyed-count-cached/loop",
        bar: Bar::RatioAtLeast(0.15),
    },
];

/// Runs the named benchmarks, or all.
///
/// # Errors
/// When a name is unknown, a leg fails, or output differs.
pub fn run(names: &[String], json: Option<&Path>, rounds: usize, scale: f64) -> Result<()> {
    let known: Vec<&str> = COMPARISONS.iter().map(|comparison| comparison.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no benchmark {unknown}; there are: {}", known.join(", "));
    }
    let chosen: Vec<&Comparison> = COMPARISONS
        .iter()
        .filter(|comparison| names.is_empty() || names.iter().any(|name| name == comparison.name))
        .collect();
    let mut legs: Vec<&str> = chosen.iter().flat_map(|comparison| [comparison.baseline, comparison.leg]).collect();
    legs.sort_unstable();
    legs.dedup();
    let mut measured: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
    for round in 1..=rounds.max(1) {
        for leg in &legs {
            eprint!("round {round}/{rounds}: {leg} … ");
            let one = run_leg(leg, scale)?;
            eprintln!("{:.2} M records per CPU-second, {:.1} s", one.per_cpu_second() / 1e6, one.wall_s);
            measured.entry(leg).or_default().push(one);
        }
    }
    let mut objects = Vec::new();
    for comparison in chosen {
        objects.push(compare(comparison, &measured));
    }
    let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
    if let Some(file) = json {
        std::fs::write(file, &lines).with_context(|| format!("write {}", file.display()))?;
    }
    if objects.iter().any(|object| object["verified"] != true) {
        bail!("the output of a benchmark differs from its baseline's");
    }
    Ok(())
}

fn run_leg(leg: &str, scale: f64) -> Result<Measured> {
    let program = std::env::current_exe()?;
    let output = Command::new(program)
        .args(["--leg", leg, "--scale", &scale.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("leg {leg} failed with {}", output.status);
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("leg {leg} printed something else than a measurement"))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn compare(comparison: &Comparison, measured: &BTreeMap<&str, Vec<Measured>>) -> serde_json::Value {
    let (ours, theirs) = (&measured[comparison.leg], &measured[comparison.baseline]);
    let verified =
        ours.iter().chain(theirs).all(|one| one.checksum == theirs[0].checksum && one.records == theirs[0].records);
    let per_record = |side: &[Measured]| median(side.iter().map(|one| one.cpu_s * 1e9 / one.records as f64));
    let (value, baseline) = (per_record(ours), per_record(theirs));
    let (ratio, overhead) = (baseline / value, value - baseline);
    let (bar, met) = match comparison.bar {
        Bar::RatioAtLeast(bar) => (format!("ratio >= {bar}"), ratio >= bar),
        Bar::OverheadAtMost(bar) => (format!("overhead <= {bar} ns"), overhead <= bar),
    };
    println!(
        "{:<32} {value:7.1} ns CPU per record, baseline {baseline:6.1} ns: ratio {ratio:.2}, overhead {overhead:.1} ns; bar: {bar}: {}{}",
        comparison.leg,
        if met { "met" } else { "MISSED" },
        if verified { "" } else { "  OUTPUT DIFFERS" },
    );
    json!({
        "name": comparison.name, "leg": comparison.leg, "value": value, "unit": "ns CPU per record", "baseline": baseline, "ratio": ratio, "overhead_ns": overhead,
        "bar": bar, "met": met, "verified": verified,
        "records_per_second": median(ours.iter().map(|one| one.records as f64 / one.wall_s)),
        "peak_rss_mib": median(ours.iter().map(|one| one.peak_rss_mib)),
    })
}
