//! Word count over text files: the final counts of files that end, or running counts of a directory that is followed.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_connectors::files::FileSource;
use weir_connectors::format::TextLines;
use weir_engine::error::UserError;
use weir_engine::graph::Graph;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext, States, TimeDomain, Timer};
use weir_engine::time::WatermarkStrategy;
use weir_state::ValueHandle;

use super::Output;
use crate::args::Args;
use crate::jobs::JobError;

/// A timer that is due when the input has ended, and never before.
const END_OF_INPUT: i64 = i64::MAX - 1;

/// How often a word was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    word: String,
    count: u64,
}

/// Counts the words of one key: says so at the end, or each time.
struct CountWords {
    count: ValueHandle<u64>,
    each_time: bool,
}

impl KeyedProcessFunction<String, String> for CountWords {
    type Out = Counted;

    fn process(&mut self, word: &String, ctx: &mut ProcessContext<'_, '_, String, Counted>) -> Result<(), UserError> {
        let count = ctx.value(self.count).entry()?.get_or_insert(0);
        *count += 1;
        let count = *count;
        if self.each_time {
            return ctx.emit(Counted { word: word.clone(), count });
        }
        if count == 1 {
            ctx.set_timer(TimeDomain::Event, END_OF_INPUT)?;
        }
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, ctx: &mut ProcessContext<'_, '_, String, Counted>) -> Result<(), UserError> {
        let count = ctx.value(self.count).get()?.copied().unwrap_or(0);
        let word = ctx.key().clone();
        ctx.emit(Counted { word, count })
    }
}

pub(super) fn count(args: &mut Args) -> Result<Graph, JobError> {
    let input = args.required::<PathBuf>("input", "text file, or directory of text files; plain, gzip or zstd");
    let follow = args.optional::<Duration>(
        "follow",
        "how often to look for new files; the job then never ends and shows running counts",
    );
    let output = Output::from_args(args);

    let each_time = follow.is_some();
    let files = FileSource::new(input, TextLines);
    let files = match follow {
        Some(interval) => files.follow(interval),
        None => files,
    };
    let graph = Graph::new();
    let counts = graph
        .source("lines", files, WatermarkStrategy::none())
        .flat_map(|line, emit| words_of(&line).for_each(emit))
        .key_by(String::clone)
        .process("count", move |states: &mut States<'_, String>| {
            Ok(CountWords { count: states.value("count")?, each_time })
        });
    output.end(&counts, "out");
    Ok(graph)
}

/// Runs of letters and digits, in lower case.
fn words_of(line: &str) -> impl Iterator<Item = String> {
    line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}
