//! The subtask of a source: reads its splits in turn, gives records event times, emits watermarks and barriers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use weir_protocol::SplitPosition;
use weir_protocol::watermark::BoundedDisorder;

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError, SourceTaskParts, typed_stages};
use crate::element::{MAX_WATERMARK, MIN_WATERMARK};
use crate::error::{FailureKind, TaskError};
use crate::graph::{Outputs, SourceFactory};
use crate::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};
use crate::stage::{Advance, Control, Cx, OperatorContext, Output};
use crate::task::{
    Alignment, BATCHES_PER_TURN, TaskControl, TaskEnv, TaskEvent, advance, flush, new_cx, seal, wait_for_room,
};
use crate::time::WatermarkStrategy;

/// Bytes of inline record data that one read aims at: small enough for the second-level cache.
const READ_BYTES: usize = 128 << 10;
/// Rows of one read, at least and at most.
const READ_ROWS: (usize, usize) = (256, 4096);
/// Shortest time between two watermarks of a busy source, in milliseconds.
const WATERMARK_INTERVAL_MS: i64 = 20;
/// Longest sleep of a source that has nothing to read.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A source's subtask, its record type erased.
pub trait SourceTask: Send {
    /// Runs until it fails or the deployment ends.
    fn run(self: Box<Self>, env: TaskEnv) -> Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>;
}

/// A source with its watermark strategy, as a node of the graph.
pub(crate) struct TypedSource<S: Source> {
    pub source: Arc<S>,
    pub watermarks: WatermarkStrategy<S::Item>,
}

impl<S: Source> SourceFactory for TypedSource<S> {
    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        self.source.discover()
    }

    fn is_bounded(&self) -> bool {
        self.source.is_bounded()
    }

    fn task(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        outputs: Outputs,
    ) -> Result<SourceTaskParts, BuildError> {
        let refused = |source| BuildError::Connector { operator: ctx.operator.clone(), source };
        let mut known: BTreeMap<SplitId, Option<SplitPosition>> = build
            .restored
            .splits
            .iter()
            .filter(|((operator, _), _)| *operator == ctx.operator)
            .map(|((_, split), position)| (SplitId(split.clone()), Some(position.clone())))
            .collect();
        let first_start = build.restored.epoch == 0;
        let mut pending = Vec::new();
        for split in self.source.discover().map_err(refused)? {
            if split.subtask(ctx.parallelism) == ctx.subtask && !known.contains_key(&split) {
                if first_start {
                    known.insert(split, None);
                } else {
                    pending.push(split);
                }
            }
        }
        let mut splits = Vec::new();
        for (id, position) in known.into_iter().filter(|(id, _)| id.subtask(ctx.parallelism) == ctx.subtask) {
            splits.push(Split::open(self.source.as_ref(), id, position, self.watermarks.bound_ms).map_err(refused)?);
        }
        let out = Output::new(typed_stages::<S::Item>(outputs.main, &ctx.operator)?);
        let restored_watermark = build.restored_watermark(&ctx);
        Ok(Box::new(Task {
            source: self.source.clone(),
            strategy: self.watermarks.clone(),
            splits,
            pending: pending.into_iter().map(|id| (id, None)).collect(),
            next: 0,
            out,
            batch: Batch::default(),
            emitted_watermark: restored_watermark.unwrap_or(MIN_WATERMARK),
            stored_watermark: restored_watermark,
            is_announced: restored_watermark.is_none(),
            watermark_at: i64::MIN,
            idle: false,
            ended: false,
            ctx,
        }))
    }
}

struct Split<T> {
    id: SplitId,
    /// `None` once the split ended.
    reader: Option<Box<dyn SplitReader<Item = T>>>,
    position: Option<Position>,
    disorder: BoundedDisorder,
    /// Do not read before this time (milliseconds).
    not_before: i64,
    last_record_at: i64,
}

impl<T> Split<T> {
    fn open<S: Source<Item = T>>(
        source: &S,
        id: SplitId,
        stored: Option<SplitPosition>,
        bound_ms: i64,
    ) -> Result<Self, ConnectorError> {
        let (position, watermark, finished) =
            stored.map_or((None, None, false), |s| (s.position, s.watermark, s.finished));
        let reader = if finished { None } else { Some(source.open(&id, position.as_ref())?) };
        let disorder = BoundedDisorder::new(u64::try_from(bound_ms).unwrap_or(0), watermark);
        Ok(Self { id, reader, position, disorder, not_before: i64::MIN, last_record_at: i64::MIN })
    }

    fn watermark(&self) -> i64 {
        self.disorder.current().unwrap_or(MIN_WATERMARK)
    }

    fn stored(&self, ctx: &OperatorContext) -> SplitPosition {
        SplitPosition {
            operator: ctx.operator.clone(),
            split: self.id.0.clone(),
            position: self.reader.as_ref().map(|reader| reader.position()).or_else(|| self.position.clone()),
            watermark: self.disorder.current(),
            finished: self.reader.is_none(),
        }
    }
}

struct Task<S: Source> {
    ctx: OperatorContext,
    source: Arc<S>,
    strategy: WatermarkStrategy<S::Item>,
    splits: Vec<Split<S::Item>>,
    /// Discovered while the job runs, with the checkpoint that first recorded them; read once that one completed.
    pending: Vec<(SplitId, Option<weir_protocol::CheckpointId>)>,
    next: usize,
    out: Output<S::Item>,
    batch: Batch<S::Item>,
    /// The last watermark that went out, in this deployment or the one it was restored from; a floor for the next.
    emitted_watermark: i64,
    /// The same for checkpoints; the end of a bounded input is none, because the input may have grown at a restore.
    stored_watermark: Option<i64>,
    /// False until a restored watermark was sent again: channels start without one.
    is_announced: bool,
    watermark_at: i64,
    idle: bool,
    ended: bool,
}

impl<S: Source> SourceTask for Task<S> {
    fn run(self: Box<Self>, env: TaskEnv) -> Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>> {
        Box::pin(self.run_loop(env))
    }
}

impl<S: Source> Task<S> {
    fn failed(&self, error: ConnectorError) -> TaskError {
        self.ctx.error(FailureKind::Connector, error.message, error.source)
    }

    async fn run_loop(mut self: Box<Self>, mut env: TaskEnv) -> Result<(), TaskError> {
        let mut cx = new_cx();
        let rows = (READ_BYTES / std::mem::size_of::<S::Item>().max(1)).clamp(READ_ROWS.0, READ_ROWS.1);
        let mut turns = 0u32;
        let mut next_discovery =
            self.source.discovery_interval().map(|interval| env.clock.now_ms() + interval.as_millis() as i64);
        loop {
            cx.now = env.clock.now_ms();
            loop {
                match env.control.try_recv() {
                    Ok(order) => self.handle(order, &mut cx, &mut env).await?,
                    Err(tokio::sync::mpsc::error::TryRecvError::Empty) => break,
                    Err(tokio::sync::mpsc::error::TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if env.is_over {
                let Some(order) = env.control.recv().await else { return Ok(()) };
                self.handle(order, &mut cx, &mut env).await?;
                continue;
            }
            if self.out.next_processing_time().is_some_and(|due| due <= cx.now) {
                advance(&mut self.out, &mut cx, Advance::ProcessingTime, &env).await?;
            }
            if self.out.must_pause() {
                wait_for_room(&mut self.out, &mut cx, &env).await?;
            }
            if next_discovery.is_some_and(|due| due <= cx.now) {
                self.discover(&env).await?;
                next_discovery = self.source.discovery_interval().map(|interval| cx.now + interval.as_millis() as i64);
            }
            match self.read(rows, &mut cx)? {
                Read::Records => {
                    flush(&mut self.out, false, &env).await?;
                    self.out.maintain(&mut cx, false)?;
                    if cx.now >= self.watermark_at {
                        self.emit_watermark(&mut cx, &env).await?;
                    }
                }
                Read::Nothing(until) => {
                    self.emit_watermark(&mut cx, &env).await?;
                    self.out.maintain(&mut cx, true)?;
                    flush(&mut self.out, true, &env).await?;
                    // The end has to be told before sleeping: nothing else would wake this loop.
                    if self.ended || !self.all_ended() {
                        self.wait(until, next_discovery, &mut cx, &mut env).await?;
                    }
                }
            }
            if self.all_ended() && !self.ended {
                self.ended = true;
                self.emit_watermark(&mut cx, &env).await?;
                advance(&mut self.out, &mut cx, Advance::End, &env).await?;
                flush(&mut self.out, true, &env).await?;
                env.report(TaskEvent::SourceEnded { operator: self.ctx.operator.clone(), subtask: self.ctx.subtask });
            }
            turns += 1;
            if turns.is_multiple_of(BATCHES_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn all_ended(&self) -> bool {
        self.source.is_bounded() && self.pending.is_empty() && self.splits.iter().all(|split| split.reader.is_none())
    }

    async fn handle(&mut self, order: TaskControl, cx: &mut Cx, env: &mut TaskEnv) -> Result<(), TaskError> {
        match order {
            TaskControl::Barrier(barrier) => {
                let now = env.clock.now_us();
                let mut splits: Vec<SplitPosition> = self.splits.iter().map(|split| split.stored(&self.ctx)).collect();
                for (id, recorded) in &mut self.pending {
                    recorded.get_or_insert(barrier.checkpoint);
                    splits.push(SplitPosition {
                        operator: self.ctx.operator.clone(),
                        split: id.0.clone(),
                        position: None,
                        watermark: None,
                        finished: false,
                    });
                }
                cx.snapshot.watermarks.push((self.ctx.operator.clone(), self.stored_watermark));
                seal(&mut self.out, cx, barrier, splits, Alignment { first_us: now, last_us: now }, env).await
            }
            TaskControl::Completed(checkpoint) => {
                for (id, recorded) in std::mem::take(&mut self.pending) {
                    if recorded.is_some_and(|recorded| recorded <= checkpoint) {
                        let split = Split::open(self.source.as_ref(), id, None, self.strategy.bound_ms)
                            .map_err(|error| self.failed(error))?;
                        self.splits.push(split);
                    } else {
                        self.pending.push((id, recorded));
                    }
                }
                Ok(())
            }
        }
    }

    async fn discover(&mut self, _env: &TaskEnv) -> Result<(), TaskError> {
        let source = self.source.clone();
        let found = tokio::task::spawn_blocking(move || source.discover()).await;
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) if error.transient => {
                tracing::warn!(operator = %self.ctx.operator, error = %error, "looking for new splits failed, trying again later");
                return Ok(());
            }
            Ok(Err(error)) => return Err(self.failed(error)),
            Err(panic) => {
                return Err(self.ctx.error(
                    FailureKind::Connector,
                    "looking for new splits panicked",
                    Some(panic.into()),
                ));
            }
        };
        for id in found {
            let mine = id.subtask(self.ctx.parallelism) == self.ctx.subtask;
            let known = self.splits.iter().any(|split| split.id == id)
                || self.pending.iter().any(|(pending, _)| *pending == id);
            if mine && !known {
                self.pending.push((id, None));
            }
        }
        Ok(())
    }

    /// Reads one batch from the next split that has something, and pushes it down the chain.
    fn read(&mut self, rows: usize, cx: &mut Cx) -> Result<Read, TaskError> {
        let mut earliest = i64::MAX;
        for _ in 0..self.splits.len() {
            let index = self.next;
            self.next = (self.next + 1) % self.splits.len();
            let split = &mut self.splits[index];
            let Some(reader) = &mut split.reader else { continue };
            if split.not_before > cx.now {
                earliest = earliest.min(split.not_before);
                continue;
            }
            self.batch.clear();
            let progress = reader.read(rows, &mut self.batch.records);
            let progress = progress.map_err(|error| {
                let position = format!("split {} at {}", split.id, reader.position());
                let mut failure = self.ctx.error(FailureKind::Connector, error.message, error.source);
                failure.position = Some(position);
                failure
            })?;
            match progress {
                Progress::Ready => {}
                Progress::WaitFor(delay) => {
                    split.not_before =
                        cx.now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX).max(1));
                    earliest = earliest.min(split.not_before);
                }
                Progress::End => {
                    split.position = Some(reader.position());
                    split.reader = None;
                }
            }
            if self.batch.is_empty() {
                if progress == Progress::Ready {
                    earliest = cx.now;
                }
                continue;
            }
            split.last_record_at = cx.now;
            if let Some(assign) = &self.strategy.assign {
                assign(&self.batch.records, &mut self.batch.times);
                if let Some(&highest) = self.batch.times.iter().max() {
                    split.disorder.observe(highest);
                }
            }
            let count = self.batch.len() as u64;
            self.ctx.metrics.records_in.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            let bytes =
                self.batch.records.first().map_or(0, |record| crate::record::estimate_bytes(record) as u64 * count);
            self.ctx.metrics.bytes_in.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            self.ctx.metrics.records_out.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            let pushed = self.out.batch(cx, &mut self.batch);
            return match pushed {
                Ok(()) => Ok(Read::Records),
                Err(mut error) => {
                    let split = &self.splits[index];
                    let end = split
                        .reader
                        .as_ref()
                        .map(|reader| reader.position())
                        .or_else(|| split.position.clone())
                        .unwrap_or_default();
                    error
                        .position
                        .get_or_insert_with(|| format!("split {}, at most {count} records before {end}", split.id));
                    Err(error)
                }
            };
        }
        Ok(Read::Nothing(earliest))
    }

    /// Emits the watermark if it went on; says so when no split has anything to say.
    async fn emit_watermark(&mut self, cx: &mut Cx, env: &TaskEnv) -> Result<(), TaskError> {
        self.watermark_at = cx.now.saturating_add(WATERMARK_INTERVAL_MS);
        if self.strategy.assign.is_none() && !self.all_ended() {
            return Ok(());
        }
        let idle_after = self.strategy.idle_after.map(|timeout| timeout.as_millis() as i64);
        for split in &mut self.splits {
            if split.last_record_at == i64::MIN {
                split.last_record_at = cx.now;
            }
        }
        let said = |split: &&Split<S::Item>| idle_after.is_none_or(|timeout| cx.now - split.last_record_at < timeout);
        let live = self.splits.iter().filter(|split| split.reader.is_some()).filter(said).map(Split::watermark).min();
        let watermark = match live {
            Some(watermark) => Some(watermark),
            None if self.all_ended() => Some(MAX_WATERMARK),
            // Splits may still appear, so time stands where the ended ones left it, and then there is nothing to say.
            None => self.splits.iter().filter(|split| split.reader.is_none()).map(Split::watermark).max(),
        };
        let again = (self.idle && live.is_some()) || !self.is_announced;
        match watermark {
            Some(watermark) if watermark > self.emitted_watermark || again => {
                let watermark = watermark.max(self.emitted_watermark);
                self.emitted_watermark = watermark;
                if watermark != MAX_WATERMARK && watermark != MIN_WATERMARK {
                    self.stored_watermark = Some(watermark);
                }
                self.is_announced = true;
                self.idle = false;
                self.ctx.metrics.watermark.store(watermark, std::sync::atomic::Ordering::Relaxed);
                advance(&mut self.out, cx, Advance::Watermark(watermark), env).await
            }
            _ if live.is_none() && !self.idle && !self.all_ended() => {
                self.idle = true;
                self.out.idle();
                flush(&mut self.out, true, env).await
            }
            _ => Ok(()),
        }
    }

    /// Sleeps until there may be something to do.
    async fn wait(
        &mut self,
        until: i64,
        next_discovery: Option<i64>,
        cx: &mut Cx,
        env: &mut TaskEnv,
    ) -> Result<(), TaskError> {
        let idle_check = self
            .strategy
            .idle_after
            .filter(|_| !self.idle && !self.ended)
            .map(|timeout| cx.now + timeout.as_millis() as i64);
        let due = [Some(until), next_discovery, self.out.next_processing_time(), idle_check]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(i64::MAX);
        let delay =
            Duration::from_millis(u64::try_from(due.saturating_sub(env.clock.now_ms())).unwrap_or(0)).min(LONGEST_WAIT);
        let since = env.clock.now_us();
        let order = tokio::select! {
            biased;
            // `None` when closed: the next turn of the loop sees it and ends.
            order = env.control.recv() => order,
            () = tokio::time::sleep(delay) => None,
        };
        env.load
            .idle_ns
            .fetch_add(env.clock.now_us().saturating_sub(since) * 1000, std::sync::atomic::Ordering::Relaxed);
        cx.now = env.clock.now_ms();
        match order {
            Some(order) => self.handle(order, cx, env).await,
            None => Ok(()),
        }
    }
}

enum Read {
    /// A batch was pushed.
    Records,
    /// Nothing to read before this time (milliseconds).
    Nothing(i64),
}
