//! The generator's events as files, one directory per kind, in the form that other systems read too.

use std::path::PathBuf;

use serde::Serialize;
use weir_connectors::file_sink::FileSink;
use weir_connectors::nexmark::{Event, NexmarkConfig, NexmarkEvents};
use weir_engine::graph::Graph;
use weir_engine::record::Record;
use weir_engine::stream::Stream;
use weir_engine::time::WatermarkStrategy;

use super::{nexmark, nexmark_config};
use crate::args::Args;
use crate::jobs::JobError;

#[derive(Clone, Copy)]
enum Format {
    Csv,
    JsonLines,
}

pub(super) fn write(args: &mut Args) -> Result<Graph, JobError> {
    let config = nexmark_config(args);
    let average_bid_bytes = args.get(
        "bidBytes",
        config.average_bid_bytes,
        "average size of a bid as Nexmark counts it: numbers and filler",
    );
    let config = NexmarkConfig { average_bid_bytes, ..config };
    let formats = [("csv", Format::Csv), ("json", Format::JsonLines)];
    let format = args.choice("format", &formats, "csv", "CSV without a header, or JSON Lines");
    let directory = args.required::<PathBuf>("output", "directory for the directories person, auction and bid");

    let graph = Graph::new();
    let events: Stream<Event> = graph.source("events", NexmarkEvents::new(config)?, WatermarkStrategy::none());
    let nexmark::Inputs { bids, auctions, people } = nexmark::Inputs::of(&events);
    end(&people, "person", format, &directory);
    end(&auctions, "auction", format, &directory);
    end(&bids, "bid", format, &directory);
    Ok(graph)
}

fn end<T: Record + Serialize>(stream: &Stream<T>, id: &str, format: Format, directory: &std::path::Path) {
    let directory = directory.join(id);
    stream.sink(
        id,
        match format {
            Format::Csv => FileSink::csv(directory),
            Format::JsonLines => FileSink::json_lines(directory),
        },
    );
}
