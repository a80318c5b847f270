//! The typed API: keyed streams, their state and their timers.

use std::marker::PhantomData;
use std::sync::Arc;

use weir_protocol::{MaxParallelism, key_group, subtask_of};
use weir_state::{Key, Value, hash_key};

use crate::build::BuildContext;
use crate::error::UserError;
use crate::exchange::Partitioner;
use crate::graph::Edge;
use crate::operators::aggregate::{Aggregate, RunningAggregate};
use crate::operators::broadcast::{BroadcastProcess, BroadcastProcessFunction};
use crate::operators::co_process::{CoProcess, CoProcessFunction};
use crate::operators::process::{KeyedProcess, KeyedProcessFunction, States};
use crate::operators::reduce::Reduce;
use crate::record::Record;
use crate::stage::OperatorContext;
use crate::stream::Stream;

/// Appends one key per record: a loop over a batch with the user's key function inlined.
pub(crate) type KeySelector<K, T> = Arc<dyn Fn(&[T], &mut Vec<K>) + Send + Sync>;

/// A stream partitioned by key. What follows runs once per key, with state and timers of that key.
pub struct KeyedStream<K, T> {
    pub(crate) stream: Stream<T>,
    pub(crate) key: KeySelector<K, T>,
}

impl<K, T> Clone for KeyedStream<K, T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), key: self.key.clone() }
    }
}

/// Routes records by the key group of their key.
struct KeyPartitioner<K, T> {
    key: KeySelector<K, T>,
    keys: Vec<K>,
    scratch: Vec<u8>,
    max: MaxParallelism,
    parallelism: u32,
}

impl<K: Key, T: Record> Partitioner<T> for KeyPartitioner<K, T> {
    fn route(&mut self, records: &[T], targets: &mut Vec<u32>) {
        self.keys.clear();
        (self.key)(records, &mut self.keys);
        for key in &self.keys {
            let hash = hash_key(key, &mut self.scratch);
            targets.push(subtask_of(key_group(hash, self.max), self.max, self.parallelism));
        }
    }
}

impl<K: Key, T: Record> KeyedStream<K, T> {
    pub(crate) fn new(stream: Stream<T>, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        Self { stream, key: Arc::new(move |records, keys| keys.extend(records.iter().map(&key))) }
    }

    /// The stream, still partitioned by key: the next operator has no state, but sees all records of a key in one subtask.
    pub fn partitioned(&self) -> Stream<T> {
        let key = self.key.clone();
        self.stream.hashed(Arc::new(move |max, parallelism| -> Box<dyn Partitioner<T>> {
            Box::new(KeyPartitioner { key: key.clone(), keys: Vec::new(), scratch: Vec::new(), max, parallelism })
        }))
    }

    pub(crate) fn hash_edges(&self, port: usize) -> Vec<Edge> {
        self.partitioned().plain_edges(port)
    }

    /// Runs a function with state and timers per key. `open` declares the states and makes the function; it runs once per
    /// subtask, before any record.
    pub fn process<P, O>(&self, id: &str, open: O) -> Stream<P::Out>
    where
        P: KeyedProcessFunction<K, T>,
        O: Fn(&mut States<'_, K>) -> Result<P, UserError> + Send + Sync + 'static,
    {
        let key = self.key.clone();
        self.stream.operator(Some(id), "process", true, self.hash_edges(0), move |ctx, build| {
            KeyedProcess::open(ctx, build, key.clone(), &open)
        })
    }

    /// Combines all records of a key so far, and emits the combination after every record.
    pub fn reduce(&self, id: &str, f: impl Fn(&mut T, T) + Clone + Send + Sync + 'static) -> Stream<T> {
        let key = self.key.clone();
        self.stream.operator(Some(id), "reduce", true, self.hash_edges(0), move |ctx, build| {
            Reduce::open(ctx, build, key.clone(), f.clone())
        })
    }

    /// Aggregates all records of a key so far, and emits key and result after every record.
    pub fn aggregate<A: Aggregate<In = T>>(&self, id: &str, aggregate: A) -> Stream<(K, A::Out)> {
        let key = self.key.clone();
        self.stream.operator(Some(id), "aggregate", true, self.hash_edges(0), move |ctx, build| {
            RunningAggregate::open(ctx, build, key.clone(), aggregate.clone())
        })
    }

    /// Runs a function over this stream and one that every subtask sees in full.
    pub fn connect_broadcast<B: Record>(&self, broadcast: &Stream<B>) -> BroadcastConnected<K, T, B> {
        BroadcastConnected { keyed: self.clone(), broadcast: broadcast.clone() }
    }

    /// Runs a function over two streams with the same key, which share state and timers.
    pub fn connect<U: Record>(&self, other: &KeyedStream<K, U>) -> ConnectedStreams<K, T, U> {
        ConnectedStreams { left: self.clone(), right: other.clone(), marker: PhantomData }
    }
}

/// A keyed stream and a stream that every subtask sees in full.
pub struct BroadcastConnected<K, T, B> {
    keyed: KeyedStream<K, T>,
    broadcast: Stream<B>,
}

impl<K: Key, T: Record, B: Record> BroadcastConnected<K, T, B> {
    /// Runs a function with state and timers per key, and broadcast state.
    pub fn process<P, O>(&self, id: &str, open: O) -> Stream<P::Out>
    where
        P: BroadcastProcessFunction<K, T, B>,
        O: Fn(&mut States<'_, K>) -> Result<P, UserError> + Send + Sync + 'static,
    {
        let key = self.keyed.key.clone();
        let mut inputs = self.keyed.hash_edges(0);
        inputs.extend(self.broadcast.broadcast().plain_edges(1));
        let make = move |ctx: &OperatorContext, build: &BuildContext<'_>| {
            BroadcastProcess::open(ctx, build, key.clone(), &open)
        };
        self.keyed.stream.two_input_node::<B, _, _>(id, "broadcast-process", inputs, make)
    }
}

/// Two streams with the same key type.
pub struct ConnectedStreams<K, A, B> {
    pub(crate) left: KeyedStream<K, A>,
    pub(crate) right: KeyedStream<K, B>,
    marker: PhantomData<fn() -> K>,
}

impl<K: Key, A: Record, B: Record> ConnectedStreams<K, A, B> {
    /// Runs a function with state and timers per key, shared by both inputs.
    pub fn process<P, O>(&self, id: &str, open: O) -> Stream<P::Out>
    where
        P: CoProcessFunction<K, A, B>,
        O: Fn(&mut States<'_, K>) -> Result<P, UserError> + Send + Sync + 'static,
    {
        let (left, right) = (self.left.key.clone(), self.right.key.clone());
        self.two_input(id, "co-process", move |ctx: &_, build: &_| {
            CoProcess::open(ctx, build, left.clone(), right.clone(), &open)
        })
    }

    pub(crate) fn two_input<O, F>(&self, id: &str, label: &'static str, make: F) -> Stream<O::Out>
    where
        O: crate::operator::TwoInput<A, B>,
        F: Fn(&crate::stage::OperatorContext, &crate::build::BuildContext<'_>) -> Result<O, crate::build::BuildError>
            + Send
            + Sync
            + 'static,
    {
        let mut inputs = self.left.hash_edges(0);
        inputs.extend(self.right.hash_edges(1));
        self.left.stream.two_input_node::<B, _, _>(id, label, inputs, make)
    }
}

/// Keys and hashes of one batch, computed once.
pub(crate) struct BatchKeys<K> {
    pub keys: Vec<K>,
    pub hashes: Vec<u64>,
    scratch: Vec<u8>,
}

impl<K: Key> BatchKeys<K> {
    pub fn new() -> Self {
        Self { keys: Vec::new(), hashes: Vec::new(), scratch: Vec::new() }
    }

    /// Fills in the keys of `records`.
    pub fn fill<T>(&mut self, selector: &KeySelector<K, T>, records: &[T]) {
        self.keys.clear();
        self.hashes.clear();
        selector(records, &mut self.keys);
        let scratch = &mut self.scratch;
        self.hashes.extend(self.keys.iter().map(|key| hash_key(key, scratch)));
    }

    /// Pairs of hash and key.
    pub fn pairs(&self) -> impl Iterator<Item = (u64, &K)> {
        self.hashes.iter().copied().zip(&self.keys)
    }
}

/// Values that keyed state can hold; re-exported bound.
pub trait StateValue: Value {}
impl<V: Value> StateValue for V {}
