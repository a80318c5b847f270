//! One subtask: a tokio task that owns its operators and their state.
//!
//! The loop takes elements from its inputs, keeps barriers aligned and the watermark at the minimum over its inputs, and
//! gives time and small pieces of maintenance to its tree in between. Sources have a [loop of their own](crate::source_task);
//! what both share is here.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use weir_protocol::watermark::WatermarkStep;
use weir_protocol::{CheckpointId, OperatorId, SinkHandle, SplitPosition, SubtaskIndex, SubtaskTimeline};
use weir_state::WorkerStore;

use crate::build::{Head, Input};
use crate::element::{AlignmentMode, Barrier};
use crate::error::{FailureKind, TaskError};
use crate::gate::InputGate;
use crate::sink::Prepare;
use crate::stage::{Advance, Advanced, Control, Cx, Snapshot};
use crate::time::Clock;

/// How long a subtask sleeps before it looks again whether a full bound has room.
const PAUSE: Duration = Duration::from_millis(1);
/// Batches after which a subtask lets others run, even if it never had to wait.
pub(crate) const BATCHES_PER_TURN: u32 = 8;
/// Delay between attempts to prepare sink output after a transient failure; doubles up to [`PREPARE_RETRY_MAX`].
const PREPARE_RETRY: Duration = Duration::from_millis(100);
/// Longest delay between attempts to prepare sink output.
const PREPARE_RETRY_MAX: Duration = Duration::from_secs(10);

/// What the coordinator tells a subtask.
#[derive(Debug, Clone, Copy)]
pub enum TaskControl {
    /// Sources: store positions and emit this barrier.
    Barrier(Barrier),
    /// The checkpoint's journal entry exists.
    Completed(CheckpointId),
}

/// One subtask's part of a checkpoint, durable except for keyed state, which the worker's store reports.
#[derive(Debug, Clone)]
pub struct SubtaskAck {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Head of the chain.
    pub operator: OperatorId,
    /// The subtask.
    pub subtask: u32,
    /// Positions of its splits, for sources.
    pub splits: Vec<SplitPosition>,
    /// Watermark of every operator of the chain.
    pub watermarks: Vec<(OperatorId, Option<i64>)>,
    /// Prepared output, of this epoch and of aborted ones before it.
    pub sinks: Vec<SinkHandle>,
    /// How it went.
    pub timeline: SubtaskTimeline,
}

/// What subtasks report.
#[derive(Debug)]
pub enum TaskEvent {
    /// A checkpoint's part is done.
    Ack(SubtaskAck),
    /// A bounded source's subtask delivered its last record.
    SourceEnded {
        /// The source.
        operator: OperatorId,
        /// Its subtask.
        subtask: u32,
    },
    /// The subtask ended with an error.
    Failed(TaskError),
}

/// What every subtask works with.
pub struct TaskEnv {
    /// Head of the chain.
    pub operator: OperatorId,
    /// Index of the subtask.
    pub subtask: u32,
    /// Orders from the coordinator; closed when the deployment ends.
    pub control: mpsc::UnboundedReceiver<TaskControl>,
    /// Reports.
    pub events: mpsc::UnboundedSender<TaskEvent>,
    /// Processing time.
    pub clock: Arc<dyn Clock>,
    /// Keyed state.
    pub store: Arc<WorkerStore>,
    /// Barrier alignment.
    pub alignment: AlignmentMode,
    /// The checkpoint this deployment was restored from, 0 if none.
    pub restored: CheckpointId,
    /// The watermark of the chain's head in that checkpoint.
    pub watermark: Option<i64>,
    /// Where the time goes.
    pub load: Arc<TaskLoad>,
    /// The final barrier has passed: what would follow it belongs to no checkpoint.
    pub(crate) is_over: bool,
    lane: mpsc::UnboundedSender<LaneItem>,
}

/// Nanoseconds a subtask spent busy, idle and held back by others; for metrics.
#[derive(Debug, Default)]
pub struct TaskLoad {
    /// Waiting for input.
    pub idle_ns: std::sync::atomic::AtomicU64,
    /// Waiting for room downstream or for a bound of its state.
    pub blocked_ns: std::sync::atomic::AtomicU64,
    /// Waiting for barriers of other inputs while records were waiting in aligned ones.
    pub aligning_ns: std::sync::atomic::AtomicU64,
}

/// A barrier's work behind the stream, in epoch order: an acknowledgement implies that all earlier output is durable.
struct LaneItem {
    prepares: Vec<(OperatorId, Box<dyn Prepare>)>,
    ack: SubtaskAck,
}

impl TaskEnv {
    /// An environment, and the future that does the subtask's work behind the stream.
    #[expect(clippy::too_many_arguments, reason = "plain assembly, called once")]
    pub fn new(
        operator: OperatorId,
        subtask: u32,
        control: mpsc::UnboundedReceiver<TaskControl>,
        events: mpsc::UnboundedSender<TaskEvent>,
        clock: Arc<dyn Clock>,
        store: Arc<WorkerStore>,
        alignment: AlignmentMode,
        restored: CheckpointId,
        watermark: Option<i64>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (lane, items) = mpsc::unbounded_channel();
        let lane_future = run_lane(subtask, items, events.clone(), clock.clone());
        (
            Self {
                operator,
                subtask,
                control,
                events,
                clock,
                store,
                alignment,
                restored,
                watermark,
                load: Arc::default(),
                is_over: false,
                lane,
            },
            lane_future,
        )
    }

    /// Hands a sealed epoch over to the background.
    pub(crate) fn submit(
        &self,
        barrier: Barrier,
        snapshot: Snapshot,
        splits: Vec<SplitPosition>,
        timeline: SubtaskTimeline,
    ) {
        let Snapshot { sealed, prepares, watermarks } = snapshot;
        for layer in sealed {
            self.store.submit(barrier.checkpoint, layer);
        }
        let ack = SubtaskAck {
            checkpoint: barrier.checkpoint,
            operator: self.operator.clone(),
            subtask: self.subtask,
            splits,
            watermarks,
            sinks: Vec::new(),
            timeline,
        };
        // The lane ends only with the deployment; then nobody waits for the acknowledgement either.
        let _ = self.lane.send(LaneItem { prepares, ack });
    }

    pub(crate) fn report(&self, event: TaskEvent) {
        let _ = self.events.send(event);
    }
}

async fn run_lane(
    subtask: u32,
    mut items: mpsc::UnboundedReceiver<LaneItem>,
    events: mpsc::UnboundedSender<TaskEvent>,
    clock: Arc<dyn Clock>,
) {
    while let Some(LaneItem { prepares, mut ack }) = items.recv().await {
        let started = clock.now_us();
        for (operator, prepare) in prepares {
            match prepare_durably(prepare).await {
                Ok(handles) => ack.sinks.extend(handles.into_iter().map(|payload| SinkHandle {
                    operator: operator.clone(),
                    subtask: SubtaskIndex(subtask),
                    epoch: ack.checkpoint,
                    payload,
                })),
                Err(error) => {
                    let message =
                        format!("output of epoch {} could not be made durable: {}", ack.checkpoint, error.message);
                    let failure = TaskError {
                        operator,
                        subtask,
                        kind: FailureKind::Connector,
                        message,
                        record: None,
                        position: None,
                        source: error.source,
                    };
                    let _ = events.send(TaskEvent::Failed(failure));
                    return;
                }
            }
        }
        let ended = clock.now_us();
        ack.timeline.async_us += ended.saturating_sub(started);
        ack.timeline.end_us = ended as i64;
        if events.send(TaskEvent::Ack(ack)).is_err() {
            return;
        }
    }
}

/// Prepares, again and again while the failure is transient: output that is not durable may not be dropped.
async fn prepare_durably(
    mut prepare: Box<dyn Prepare>,
) -> Result<Vec<crate::sink::Handle>, crate::source::ConnectorError> {
    let mut delay = PREPARE_RETRY;
    loop {
        let attempt = tokio::task::spawn_blocking(move || {
            let result = prepare.prepare();
            (prepare, result)
        });
        let (returned, result) = attempt
            .await
            .map_err(|panic| crate::source::ConnectorError::permanent(format!("prepare panicked: {panic}")))?;
        match result {
            Err(error) if error.transient => {
                tracing::warn!(error = %error, "sink output is not durable yet, trying again");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(PREPARE_RETRY_MAX);
                prepare = returned;
            }
            other => return other,
        }
    }
}

pub(crate) fn new_cx() -> Cx {
    Cx { now: 0, snapshot: Snapshot::default() }
}

/// Passes on what leaves the subtask; waits while receivers have no room.
pub(crate) async fn flush(root: &mut dyn Control, idle: bool, env: &TaskEnv) -> Result<(), TaskError> {
    let mut waiting_since = None;
    let result = poll_fn(|task| {
        let poll = root.poll_flush(idle, task);
        if poll.is_pending() {
            waiting_since.get_or_insert_with(|| env.clock.now_us());
        }
        poll
    })
    .await;
    if let Some(since) = waiting_since {
        let waited = env.clock.now_us().saturating_sub(since) * 1000;
        env.load.blocked_ns.fetch_add(waited, std::sync::atomic::Ordering::Relaxed);
    }
    result
}

/// When the next processing-time timer is due (milliseconds since the Unix epoch).
pub(crate) fn next_timer(root: &mut dyn Control, env: &TaskEnv) -> Option<i64> {
    if env.is_over { None } else { root.next_processing_time() }
}

/// Carries time forward, draining output whenever firing pauses.
pub(crate) async fn advance(root: &mut dyn Control, cx: &mut Cx, to: Advance, env: &TaskEnv) -> Result<(), TaskError> {
    let mut state = root.advance(cx, to)?;
    loop {
        flush(root, false, env).await?;
        if state == Advanced::Done {
            return Ok(());
        }
        root.maintain(cx, false)?;
        state = root.resume(cx)?;
    }
}

/// When a barrier's phases happened in this subtask, microseconds since the Unix epoch.
pub(crate) struct Alignment {
    pub first_us: u64,
    pub last_us: u64,
}

/// Seals the tree at an aligned barrier and hands the epoch to the background.
pub(crate) async fn seal(
    root: &mut dyn Control,
    cx: &mut Cx,
    barrier: Barrier,
    splits: Vec<SplitPosition>,
    alignment: Alignment,
    env: &mut TaskEnv,
) -> Result<(), TaskError> {
    let started = env.clock.now_us();
    env.is_over |= barrier.is_final;
    root.barrier(cx, barrier)?;
    let snapshot = std::mem::take(&mut cx.snapshot);
    let ended = env.clock.now_us();
    let timeline = SubtaskTimeline {
        operator: env.operator.clone(),
        subtask: SubtaskIndex(env.subtask),
        trigger_at_us: barrier.triggered_at_us as i64,
        alignment_start_us: alignment.first_us as i64,
        alignment_end_us: alignment.last_us as i64,
        sync_us: ended.saturating_sub(started),
        async_us: 0,
        upload_us: 0,
        end_us: ended as i64,
        bytes: 0,
    };
    env.submit(barrier, snapshot, splits, timeline);
    flush(root, true, env).await
}

/// Waits while a bound of the tree's state is full.
pub(crate) async fn wait_for_room(root: &mut dyn Control, cx: &mut Cx, env: &TaskEnv) -> Result<(), TaskError> {
    let since = env.clock.now_us();
    while root.must_pause() {
        flush(root, true, env).await?;
        tokio::time::sleep(PAUSE).await;
        cx.now = env.clock.now_ms();
        root.maintain(cx, true)?;
    }
    let waited = env.clock.now_us().saturating_sub(since) * 1000;
    env.load.blocked_ns.fetch_add(waited, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// Passes on what the inputs' progress means for the subtask's event time.
async fn pass_time(
    root: &mut dyn Control,
    cx: &mut Cx,
    gate: &InputGate,
    step: WatermarkStep,
    env: &TaskEnv,
) -> Result<(), TaskError> {
    let WatermarkStep { advanced, idle } = step;
    // Nothing but a watermark tells those downstream that this subtask holds them back again, even one that is no progress:
    // the records that woke it may go no further than here.
    let woken = (idle == Some(false)).then(|| gate.current_watermark());
    if let Some(watermark) = advanced.or(woken) {
        advance(root, cx, Advance::Watermark(watermark), env).await?;
    }
    if idle == Some(true) {
        root.idle();
        flush(root, true, env).await?;
    }
    Ok(())
}

/// What woke the loop.
enum Turn {
    Input(usize, Input),
    Control(TaskControl),
    Time,
    Cancelled,
}

/// Runs a subtask that reads channels until it fails or the deployment ends.
///
/// # Errors
/// Why it failed.
pub async fn run_operator_task(mut head: Box<dyn Head>, mut env: TaskEnv) -> Result<(), TaskError> {
    let inputs = head.inputs();
    let mut gate = InputGate::new(inputs, env.alignment, env.restored, env.watermark);
    let mut cx = new_cx();
    let mut turns = 0u32;
    loop {
        cx.now = env.clock.now_ms();
        if next_timer(head.root(), &env).is_some_and(|due| due <= cx.now) {
            advance(head.root(), &mut cx, Advance::ProcessingTime, &env).await?;
        }
        if head.root().must_pause() {
            wait_for_room(head.root(), &mut cx, &env).await?;
        }
        match next_turn(head.as_mut(), &mut cx, &mut gate, &mut env).await? {
            Turn::Cancelled => return Ok(()),
            Turn::Time | Turn::Control(TaskControl::Completed(_) | TaskControl::Barrier(_)) => {}
            Turn::Input(input, Input::Processed(_)) => {
                let step = gate.active(input);
                pass_time(head.root(), &mut cx, &gate, step, &env).await?;
                head.root().maintain(&mut cx, false)?;
                flush(head.root(), false, &env).await?;
            }
            Turn::Input(input, Input::Watermark(watermark)) => {
                let step = gate.watermark(input, watermark);
                pass_time(head.root(), &mut cx, &gate, step, &env).await?;
            }
            Turn::Input(input, Input::Idle) => {
                let step = gate.idle(input);
                pass_time(head.root(), &mut cx, &gate, step, &env).await?;
            }
            Turn::Input(input, Input::Barrier(barrier)) => {
                if let Some(alignment) = gate.barrier(input, barrier, env.clock.now_us()) {
                    seal(head.root(), &mut cx, barrier, Vec::new(), alignment, &mut env).await?;
                }
            }
            Turn::Input(input, Input::End) => {
                let (step, all) = gate.end(input);
                pass_time(head.root(), &mut cx, &gate, step, &env).await?;
                if all {
                    advance(head.root(), &mut cx, Advance::End, &env).await?;
                    flush(head.root(), true, &env).await?;
                }
            }
            Turn::Input(_, Input::Closed) => {
                let message = "an upstream subtask is gone".to_owned();
                return Err(TaskError {
                    operator: env.operator.clone(),
                    subtask: env.subtask,
                    kind: FailureKind::Cancelled,
                    message,
                    record: None,
                    position: None,
                    source: None,
                });
            }
        }
        turns += 1;
        if turns.is_multiple_of(BATCHES_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
}

/// Takes the next element of an input that is not held back; when there is none, flushes, maintains and waits.
async fn next_turn(
    head: &mut dyn Head,
    cx: &mut Cx,
    gate: &mut InputGate,
    env: &mut TaskEnv,
) -> Result<Turn, TaskError> {
    if let Some(turn) = poll_fn(|task| Poll::Ready(poll_inputs(head, cx, gate, task).transpose())).await.transpose()? {
        return Ok(turn);
    }
    head.root().maintain(cx, true)?;
    flush(head.root(), true, env).await?;
    let waiting_since = env.clock.now_us();
    let sleep = next_timer(head.root(), env)
        .map(|due| Duration::from_millis(u64::try_from(due - env.clock.now_ms()).unwrap_or(0)));
    let timer = async move {
        match sleep {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
    };
    let (control, clock) = (&mut env.control, &env.clock);
    let turn = tokio::select! {
        biased;
        order = control.recv() => Ok(order.map_or(Turn::Cancelled, Turn::Control)),
        turn = poll_fn(|task| {
            // Time went on while it slept, and a batch is processed in here.
            cx.now = clock.now_ms();
            match poll_inputs(head, cx, gate, task) {
                Ok(Some(turn)) => Poll::Ready(Ok(turn)),
                Ok(None) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        }) => turn,
        () = timer => Ok(Turn::Time),
    };
    let waited = env.clock.now_us().saturating_sub(waiting_since) * 1000;
    let counter = if gate.is_aligning() { &env.load.aligning_ns } else { &env.load.idle_ns };
    counter.fetch_add(waited, std::sync::atomic::Ordering::Relaxed);
    turn
}

fn poll_inputs(
    head: &mut dyn Head,
    cx: &mut Cx,
    gate: &mut InputGate,
    task: &mut std::task::Context<'_>,
) -> Result<Option<Turn>, TaskError> {
    let inputs = head.inputs();
    for _ in 0..inputs {
        let input = gate.next_input();
        if gate.is_blocked(input) {
            continue;
        }
        match head.poll_input(input, cx, task) {
            Poll::Ready(Ok(element)) => return Ok(Some(Turn::Input(input, element))),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {}
        }
    }
    Ok(None)
}
