//! The typed API: windows over keyed streams.
//!
//! ```text
//! stream.key_by(..).window(Tumbling::of(10 s)).aggregate("per-user", Count::new())
//!                  .window(Sliding::of(60 s, every 10 s)).allowed_lateness(5 s).late_output(&tag).apply("top", f)
//! ```

use std::time::Duration;

use weir_state::Key;

use crate::keyed::KeyedStream;
use crate::operator::OutputTag;
use crate::operators::aggregate::Aggregate;
use crate::operators::process::TimeDomain;
use crate::operators::window::contents::{Collected, Contents, Folded};
use crate::operators::window::{count::CountWindows, session::SessionWindows, time::TimeWindows};
use crate::record::Record;
use crate::stream::Stream;

/// A span of time, `start` included, `end` excluded, in milliseconds since the Unix epoch. Count windows have the number
/// of the window as `start` and the next number as `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// First millisecond.
    pub start: i64,
    /// One past the last millisecond.
    pub end: i64,
}

impl Window {
    /// The highest event time that belongs to the window; results carry it.
    pub fn max_time(self) -> i64 {
        self.end.saturating_sub(1)
    }
}

/// The result of one window of one key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Windowed<K, V> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
    /// What was computed.
    pub value: V,
}

/// How records are assigned to windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assigner {
    /// Windows of `size` that start every `slide`, shifted by `offset`; all in milliseconds.
    Aligned { size: i64, slide: i64, offset: i64 },
    /// A window ends when nothing came for `gap` milliseconds.
    Session { gap: i64 },
    /// A window is so many records.
    Count { records: u64 },
}

/// A way of cutting a stream into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub(crate) assigner: Assigner,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// Windows of one size, one after the other.
pub struct Tumbling;

impl Tumbling {
    /// Windows of this size, aligned to the Unix epoch. Sizes are whole milliseconds, at least 1.
    pub fn of(size: Duration) -> Windows {
        Self::with_offset(size, Duration::ZERO)
    }

    /// Windows of this size that start `offset` after the Unix epoch (for days of another time zone, say).
    pub fn with_offset(size: Duration, offset: Duration) -> Windows {
        let size = millis(size);
        Windows { assigner: Assigner::Aligned { size, slide: size, offset: offset.as_millis() as i64 % size } }
    }
}

/// Overlapping windows.
pub struct Sliding;

impl Sliding {
    /// Windows of this size, one starting every `slide`.
    pub fn of(size: Duration, slide: Duration) -> Windows {
        Windows { assigner: Assigner::Aligned { size: millis(size), slide: millis(slide), offset: 0 } }
    }
}

/// Windows of activity.
pub struct Session;

impl Session {
    /// A window ends when no record came for `gap`.
    pub fn with_gap(gap: Duration) -> Windows {
        Windows { assigner: Assigner::Session { gap: millis(gap) } }
    }
}

/// Windows of a number of records.
pub struct CountWindow;

impl CountWindow {
    /// A window of so many records of one key.
    pub fn of(records: u64) -> Windows {
        Windows { assigner: Assigner::Count { records: records.max(1) } }
    }
}

/// What window operators need to know besides their contents.
#[derive(Clone)]
pub(crate) struct WindowSpec<T> {
    pub domain: TimeDomain,
    pub lateness: i64,
    pub late: Option<OutputTag<T>>,
}

/// A keyed stream cut into windows.
pub struct WindowedStream<K, T> {
    keyed: KeyedStream<K, T>,
    windows: Windows,
    spec: WindowSpec<T>,
}

impl<K: Key, T: Record> KeyedStream<K, T> {
    /// Cuts the stream into windows, on event time unless [`WindowedStream::processing_time`] says otherwise.
    pub fn window(&self, windows: Windows) -> WindowedStream<K, T> {
        WindowedStream {
            keyed: self.clone(),
            windows,
            spec: WindowSpec { domain: TimeDomain::Event, lateness: 0, late: None },
        }
    }
}

/// What a window function emits through.
pub type Emit<'a, U> = dyn FnMut(U) + 'a;

impl<K: Key, T: Record> WindowedStream<K, T> {
    /// Windows of processing time: records belong to the moment they are processed.
    #[must_use]
    pub fn processing_time(mut self) -> Self {
        self.spec.domain = TimeDomain::Processing;
        self
    }

    /// Keeps windows for this long after the watermark passed their end; a late record fires its window again.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.spec.lateness = lateness.as_millis() as i64;
        self
    }

    /// Sends records that are too late for every window of theirs to a side output of the result. Without it they are
    /// counted and dropped.
    #[must_use]
    pub fn late_output(mut self, tag: &OutputTag<T>) -> Self {
        self.spec.late = Some(tag.clone());
        self
    }

    /// Aggregates each window as its records come; emits one result per window and key.
    pub fn aggregate<A: Aggregate<In = T>>(self, id: &str, aggregate: A) -> Stream<Windowed<K, A::Out>> {
        let finish = aggregate.clone();
        self.run(id, Folded::<K, A>::factory(aggregate), move |key: &K, window, acc: A::Acc, emit: &mut Emit<'_, _>| {
            emit(Windowed { key: key.clone(), window, value: finish.result(&acc) });
        })
    }

    /// Aggregates each window as its records come, and hands each result to a function.
    pub fn aggregate_with<A: Aggregate<In = T>, U: Record>(
        self,
        id: &str,
        aggregate: A,
        f: impl Fn(&K, Window, A::Out, &mut Emit<'_, U>) + Clone + Send + Sync + 'static,
    ) -> Stream<U> {
        let finish = aggregate.clone();
        self.run(id, Folded::<K, A>::factory(aggregate), move |key: &K, window, acc: A::Acc, emit: &mut Emit<'_, U>| {
            f(key, window, finish.result(&acc), emit)
        })
    }

    /// Combines each window's records as they come; emits one record per window and key.
    pub fn reduce(self, id: &str, f: impl Fn(&mut T, T) + Clone + Send + Sync + 'static) -> Stream<Windowed<K, T>> {
        self.aggregate(id, crate::operators::aggregate::Reducing::new(f)).map(|windowed| Windowed {
            key: windowed.key,
            window: windowed.window,
            value: windowed.value.expect("a window has at least one record"),
        })
    }

    /// Keeps each window's records and hands them to a function when the window ends.
    pub fn apply<U: Record>(
        self,
        id: &str,
        f: impl Fn(&K, Window, Vec<T>, &mut Emit<'_, U>) + Clone + Send + Sync + 'static,
    ) -> Stream<U> {
        self.run(id, Collected::<K, T>::factory(), f)
    }

    fn run<C, U, F>(
        self,
        id: &str,
        contents: impl Fn(&mut weir_state::Backend<K>, u64) -> Result<C, weir_state::StateError> + Send + Sync + 'static,
        f: F,
    ) -> Stream<U>
    where
        C: Contents<K, T>,
        U: Record,
        F: Fn(&K, Window, C::Value, &mut Emit<'_, U>) + Clone + Send + Sync + 'static,
    {
        let Self { keyed, windows, spec } = self;
        let (key, edges, stream) = (keyed.key.clone(), keyed.hash_edges(0), keyed.stream);
        match windows.assigner {
            Assigner::Aligned { size, slide, offset } => {
                stream.operator(Some(id), "window", true, edges, move |ctx, build| {
                    TimeWindows::open(
                        ctx,
                        build,
                        key.clone(),
                        (size, slide, offset),
                        spec.clone(),
                        &contents,
                        f.clone(),
                    )
                })
            }
            Assigner::Session { gap } => stream.operator(Some(id), "session-window", true, edges, move |ctx, build| {
                SessionWindows::open(ctx, build, key.clone(), gap, spec.clone(), &contents, f.clone())
            }),
            Assigner::Count { records } => stream.operator(Some(id), "count-window", true, edges, move |ctx, build| {
                CountWindows::open(ctx, build, key.clone(), records, &contents, f.clone())
            }),
        }
    }
}
