//! Runs the tests in order and speaks like Rust's own test harness, so that whoever reads one reads both.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::cluster::{Cluster, Unavailable};

/// A test: a name and what it does in the cluster.
pub struct Test {
    name: &'static str,
    run: fn(&Cluster),
    long: Option<&'static str>,
}

impl Test {
    /// One that every run has: `module::what_holds`, and what panics when it does not hold.
    pub const fn short(name: &'static str, run: fn(&Cluster)) -> Self {
        Self { name, run, long: None }
    }

    /// One that takes too long for every run: this variable asks for it.
    pub const fn long(name: &'static str, run: fn(&Cluster), variable: &'static str) -> Self {
        Self { name, run, long: Some(variable) }
    }
}

/// Runs those whose name contains one of the program's arguments, or all.
pub fn main(tests: &[Test]) -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let list = std::env::args().any(|argument| argument == "--list");
    let chosen: Vec<&Test> =
        tests.iter().filter(|test| filters.is_empty() || filters.iter().any(|f| test.name.contains(f))).collect();
    if list {
        chosen.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    if chosen.is_empty() {
        return summarise(0, 0, 0);
    }
    let cluster = match Cluster::up() {
        Ok(cluster) => cluster,
        Err(Unavailable::Machine(reason)) => {
            chosen.iter().for_each(|test| println!("test {} ... ignored, {reason}", test.name));
            return summarise(0, 0, chosen.len());
        }
        Err(Unavailable::Broken(reason)) => {
            chosen.iter().for_each(|test| println!("test {} ... FAILED", test.name));
            println!("\n{reason}");
            return summarise(0, chosen.len(), 0);
        }
    };
    let (mut failed, mut left_out) = (Vec::new(), 0);
    for test in &chosen {
        if out_of_time() {
            println!("test {} ... ignored, the time that ./dev test may take is over", test.name);
            left_out += 1;
            continue;
        }
        if let Some(variable) = test.long.filter(|variable| std::env::var_os(variable).is_none()) {
            println!("test {} ... ignored, {variable} asks for it, long form", test.name);
            left_out += 1;
            continue;
        }
        let started = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| (test.run)(&cluster))).is_ok();
        println!("test {} ... {}", test.name, if passed { "ok" } else { "FAILED" });
        println!("  {:.1} s", started.elapsed().as_secs_f64());
        if !passed {
            cluster.keep_evidence(test.name);
            cluster.clear();
            failed.push(test.name);
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:");
        failed.iter().for_each(|name| println!("    {name}"));
        println!("logs of every component: {}", cluster.logs().display());
    }
    drop(cluster);
    summarise(chosen.len() - failed.len() - left_out, failed.len(), left_out)
}

/// True once `WEIR_TEST_UNTIL`, seconds since the Unix epoch, has passed: a run that is cut off from outside would show nothing.
fn out_of_time() -> bool {
    let until = std::env::var("WEIR_TEST_UNTIL").ok().and_then(|until| until.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    until.is_some_and(|until| now > until)
}

fn summarise(passed: usize, failed: usize, ignored: usize) -> ExitCode {
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
