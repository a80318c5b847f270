//! The typed API: joins of two keyed streams.

use std::time::Duration;

use weir_state::Key;

use crate::keyed::KeyedStream;
use crate::operators::join::{interval::IntervalJoin, window::WindowJoin};
use crate::record::Record;
use crate::stream::Stream;
use crate::window::{Assigner, Emit, Window, Windows};

/// Pairs of records of one key whose event times lie within bounds of each other.
pub struct IntervalJoinBuilder<K, A, B> {
    left: KeyedStream<K, A>,
    right: KeyedStream<K, B>,
    lower: i64,
    upper: i64,
}

/// Pairs of records of one key that fall into the same window.
pub struct WindowJoinBuilder<K, A, B> {
    left: KeyedStream<K, A>,
    right: KeyedStream<K, B>,
    size: i64,
    slide: i64,
    offset: i64,
}

impl<K: Key, A: Record> KeyedStream<K, A> {
    /// Joins each record with the records of `other` whose event time lies between `before` earlier and `after` later,
    /// bounds included. Records at or below the watermark are late: counted and dropped.
    pub fn interval_join<B: Record>(
        &self,
        other: &KeyedStream<K, B>,
        before: Duration,
        after: Duration,
    ) -> IntervalJoinBuilder<K, A, B> {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
        IntervalJoinBuilder { left: self.clone(), right: other.clone(), lower: -millis(before), upper: millis(after) }
    }

    /// Joins each record with the records of `other` in the same tumbling or sliding window of event time.
    ///
    /// # Panics
    /// For session and count windows, which two streams do not share.
    pub fn window_join<B: Record>(&self, other: &KeyedStream<K, B>, windows: Windows) -> WindowJoinBuilder<K, A, B> {
        let Assigner::Aligned { size, slide, offset } = windows.assigner else {
            panic!("a window join takes tumbling or sliding windows");
        };
        WindowJoinBuilder { left: self.clone(), right: other.clone(), size, slide, offset }
    }
}

impl<K: Key, A: Record, B: Record> IntervalJoinBuilder<K, A, B> {
    /// Bounds relative to the left record's time, in milliseconds, where both may lie on one side: right records with
    /// `left + lower <= right <= left + upper`.
    #[must_use]
    pub fn between(mut self, lower: i64, upper: i64) -> Self {
        (self.lower, self.upper) = (lower, upper.max(lower));
        self
    }

    /// Emits what `f` makes of each pair; the event time is the later one's.
    pub fn process<U: Record>(
        self,
        id: &str,
        f: impl Fn(&A, &B, &mut Emit<'_, U>) + Clone + Send + Sync + 'static,
    ) -> Stream<U> {
        let Self { left, right, lower, upper } = self;
        let (left_key, right_key) = (left.key.clone(), right.key.clone());
        left.connect(&right).two_input(id, "interval-join", move |ctx, build| {
            IntervalJoin::open(ctx, build, left_key.clone(), right_key.clone(), (lower, upper), f.clone())
        })
    }
}

impl<K: Key, A: Record, B: Record> WindowJoinBuilder<K, A, B> {
    /// Emits what `f` makes of each pair when the window ends.
    pub fn process<U: Record>(
        self,
        id: &str,
        f: impl Fn(&A, &B, Window, &mut Emit<'_, U>) + Clone + Send + Sync + 'static,
    ) -> Stream<U> {
        let Self { left, right, size, slide, offset } = self;
        let (left_key, right_key) = (left.key.clone(), right.key.clone());
        left.connect(&right).two_input(id, "window-join", move |ctx, build| {
            WindowJoin::open(ctx, build, left_key.clone(), right_key.clone(), (size, slide, offset), f.clone())
        })
    }
}
