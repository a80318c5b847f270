//! Three jobs over bids in CSV files, as `nexmark-events` writes them: pass through, count, count in windows. Each takes the columns that
//! it needs and goes past the others.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_connectors::files::FileSource;
use weir_connectors::format::{CsvRow, CsvRows, FormatError, FromCsvRow};
use weir_connectors::nexmark::Bid;
use weir_engine::graph::Graph;
use weir_engine::operators::aggregate::Count;
use weir_engine::record::Record;
use weir_engine::stream::Stream;
use weir_engine::time::WatermarkStrategy;
use weir_engine::window::Tumbling;

use super::Output;
use crate::args::Args;
use crate::jobs::JobError;

/// Bytes of a split if nothing else is said; lets a few large files keep many subtasks busy.
const SPLIT_BYTES: u64 = 64 << 20;

/// A bid's auction and price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Priced {
    auction: u64,
    price: u64,
}

impl FromCsvRow for Priced {
    const COLUMNS: &'static [&'static str] = Bid::COLUMNS;

    #[inline]
    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        let auction = row.u64()?;
        row.skip(1)?;
        let price = row.u64()?;
        row.skip(4)?;
        Ok(Self { auction, price })
    }
}

/// A bid's auction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Auctioned(u64);

impl FromCsvRow for Auctioned {
    const COLUMNS: &'static [&'static str] = Bid::COLUMNS;

    #[inline]
    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        let auction = row.u64()?;
        row.skip(6)?;
        Ok(Self(auction))
    }
}

/// A bid's bidder and time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Timed {
    bidder: u64,
    date_time: i64,
}

impl FromCsvRow for Timed {
    const COLUMNS: &'static [&'static str] = Bid::COLUMNS;

    #[inline]
    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        row.skip(1)?;
        let bidder = row.u64()?;
        row.skip(3)?;
        let date_time = row.i64()?;
        row.skip(1)?;
        Ok(Self { bidder, date_time })
    }
}

/// The bids of an auction so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    auction: u64,
    bids: u64,
}

/// The bids of a bidder within a window; times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InWindow {
    bidder: u64,
    window_start: i64,
    window_end: i64,
    bids: u64,
}

/// Asks for `input` and `splitBytes`.
fn source<T: Record + FromCsvRow>(args: &mut Args) -> FileSource<T> {
    let input = args.required::<PathBuf>("input", "CSV file of bids, or directory of such files; no header");
    let split =
        args.get("splitBytes", SPLIT_BYTES, "bytes of a file that one subtask reads; fixed once the job has state");
    FileSource::new(input, CsvRows::new()).range_bytes(split)
}

fn untimed<T: Record + FromCsvRow>(args: &mut Args, graph: &Graph) -> Stream<T> {
    graph.source("bids", source(args), WatermarkStrategy::none())
}

pub(super) fn pass_through(args: &mut Args) -> Result<Graph, JobError> {
    let graph = Graph::new();
    let prices: Stream<Priced> = untimed(args, &graph);
    Output::from_args(args).end(&prices, "out");
    Ok(graph)
}

pub(super) fn count(args: &mut Args) -> Result<Graph, JobError> {
    let graph = Graph::new();
    let counts = untimed(args, &graph)
        .map(|bid: Auctioned| bid.0)
        .key_by(|&auction| auction)
        .aggregate("count", Count::new())
        .map(|(auction, bids)| Counted { auction, bids });
    Output::from_args(args).end(&counts, "out");
    Ok(graph)
}

pub(super) fn window(args: &mut Args) -> Result<Graph, JobError> {
    let source = source(args);
    let size = args.get("window", Duration::from_secs(10), "size of the windows, in event time");
    let disorder = args.get("disorder", Duration::from_secs(5), "how far out of order bids may be within a file");
    let graph = Graph::new();
    let counts = graph
        .source("bids", source, WatermarkStrategy::bounded(|bid: &Timed| bid.date_time, disorder))
        .map(|bid| bid.bidder)
        .key_by(|&bidder| bidder)
        .window(Tumbling::of(size))
        .aggregate("count", Count::new())
        .map(|counted| InWindow {
            bidder: counted.key,
            window_start: counted.window.start,
            window_end: counted.window.end,
            bids: counted.value,
        });
    Output::from_args(args).end(&counts, "out");
    Ok(graph)
}
