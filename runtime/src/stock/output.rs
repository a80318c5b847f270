//! Where a stock graph's results go: three sinks behind the same two arguments.

use std::path::PathBuf;

use serde::Serialize;
use weir_connectors::blackhole::Blackhole;
use weir_connectors::file_sink::FileSink;
use weir_connectors::print::Print;
use weir_engine::record::Record;
use weir_engine::stream::Stream;

use crate::args::Args;

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output, one JSON object per line. Shown again after a failure.
    Print,
    /// Nowhere.
    Blackhole,
    /// JSON Lines in this directory, exactly once.
    Files(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Print,
    Blackhole,
    Files,
}

impl Output {
    /// Asks for `sink` and `output`.
    pub fn from_args(args: &mut Args) -> Self {
        // Naming a directory says enough.
        let default = if args.is_given("output") { "files" } else { "print" };
        let choices = [("print", Kind::Print), ("blackhole", Kind::Blackhole), ("files", Kind::Files)];
        let kind = args.choice("sink", &choices, default, "where results go; files if output is given");
        let directory = args.optional::<PathBuf>("output", "directory for the sink files, created if it is missing");
        match (kind, directory) {
            (Kind::Print, None) => Self::Print,
            (Kind::Blackhole, None) => Self::Blackhole,
            (Kind::Files, Some(directory)) => Self::Files(directory),
            (Kind::Files, None) => {
                if !args.is_given("output") {
                    args.refuse("output", "nothing beside the sink files", "a directory", "add it");
                }
                Self::Print
            }
            (Kind::Print | Kind::Blackhole, Some(_)) => {
                args.refuse(
                    "output",
                    "a directory beside another sink",
                    "a directory beside the sink files",
                    "remove one of them",
                );
                Self::Print
            }
        }
    }

    /// Ends `stream` there, in a sink named `id`.
    pub fn end<T: Record + Serialize>(self, stream: &Stream<T>, id: &str) {
        match self {
            Self::Print => stream.sink(id, Print::new()),
            Self::Blackhole => stream.sink(id, Blackhole::new()),
            Self::Files(directory) => stream.sink(id, FileSink::json_lines(directory)),
        }
    }
}
