//! Programs that the tests run, and waiting for what they bring about.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a program has answered.
#[derive(Debug)]
pub struct Answer {
    /// Whether it succeeded.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    fn from(output: &Output) -> Self {
        Self {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a program to its end, with `input` on its standard input.
pub fn run(program: &Path, arguments: &[&str], input: Option<&str>) -> Answer {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // Who does not read its input answers why, and that is what counts.
        let _ = stdin.write_all(input.as_bytes());
    }
    Answer::from(&child.wait_with_output().unwrap_or_else(|error| panic!("{}: {error}", program.display())))
}

/// Looks until `found` has something.
///
/// # Panics
/// When it has nothing within `limit`, with what it said last.
pub fn eventually<T>(what: &str, limit: Duration, mut found: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match found() {
            Ok(found) => return found,
            Err(last) if started.elapsed() > limit => panic!("{what}: not within {limit:?}; at last: {last}"),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}
