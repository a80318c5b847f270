//! Everything that most jobs need: `use weir::prelude::*;`.

pub use std::time::Duration;

pub use crate::args::Args;
pub use crate::jobs::{JobError, Jobs};

pub use weir_engine::error::UserError;
pub use weir_engine::graph::Graph;
pub use weir_engine::keyed::{BroadcastConnected, ConnectedStreams, KeyedStream};
pub use weir_engine::operator::OutputTag;
pub use weir_engine::operators::aggregate::{Aggregate, Count, Reducing};
pub use weir_engine::operators::broadcast::{BroadcastContext, BroadcastProcessFunction};
pub use weir_engine::operators::co_process::CoProcessFunction;
pub use weir_engine::operators::dead_letter::DeadLetter;
pub use weir_engine::operators::process::{
    AggregatingHandle, KeyedProcessFunction, ListState, MapState, ProcessContext, ReducingHandle, States, TimeDomain,
    Timer, ValueState,
};
pub use weir_engine::record::Record;
pub use weir_engine::stream::Stream;
pub use weir_engine::time::WatermarkStrategy;
pub use weir_engine::window::{
    CountWindow, Emit, Session, Sliding, Tumbling, Window, Windowed, WindowedStream, Windows,
};

pub use weir_state::{
    BroadcastHandle, BroadcastTable, Key, ListHandle, MapHandle, StateDescriptor, StateError, Ttl, Value, ValueHandle,
};

pub use weir_connectors::blackhole::Blackhole;
pub use weir_connectors::compression::Compression;
pub use weir_connectors::file_sink::FileSink;
pub use weir_connectors::files::{FileSource, OnError};
pub use weir_connectors::format::{Csv, CsvRows, JsonLines, TextLines};
pub use weir_connectors::nexmark::{NexmarkAuctions, NexmarkBids, NexmarkConfig, NexmarkEvents, NexmarkPeople};
pub use weir_connectors::print::Print;
pub use weir_connectors::sequence::Sequence;
