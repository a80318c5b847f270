//! The worker: keeps one deployment's store and subtasks, and tells the coordinator what becomes of them.
//!
//! It takes orders one at a time, so that a deployment is never prepared before the one before it is gone, and refuses
//! those of generations older than the one it has. It never reads or writes the journal, and knows no other worker.

mod acks;
mod deployment;
mod failure;
mod memory;
mod sample;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use weir_engine::task::TaskEvent;
use weir_protocol::coordinator::{Barrier, DeclineCause, TaskId};
use weir_protocol::{CheckpointId, Generation};
use weir_state::{EpochResult, StateError};

use crate::message::{DeployFailure, Order, Report, TaskFailure};
use crate::options::RunOptions;
use crate::retry::chain;
use deployment::Current;
use memory::Governor;

/// How long a subtask that ended because its neighbour went away waits for the neighbour's own report.
const CAUSE_GRACE: Duration = Duration::from_millis(500);

/// What the store says about an epoch.
type EpochEnd = (Generation, CheckpointId, Result<EpochResult, StateError>);

/// A worker process's part of a job.
pub(crate) struct Worker {
    options: RunOptions,
    reports: mpsc::UnboundedSender<Report>,
    epochs_tx: mpsc::UnboundedSender<EpochEnd>,
    epochs: mpsc::UnboundedReceiver<EpochEnd>,
    current: Option<Current>,
    governor: Governor,
    /// Whether the allocator was told to give back what is freed.
    gives_back: bool,
    /// A failure that is only a consequence, and when it is taken for the cause.
    consequence: Option<(Instant, Generation, TaskFailure)>,
}

impl Worker {
    pub(crate) fn new(options: RunOptions, reports: mpsc::UnboundedSender<Report>) -> Self {
        let (epochs_tx, epochs) = mpsc::unbounded_channel();
        let governor = Governor::new(options.job.memory_bytes);
        Self { options, reports, epochs_tx, epochs, current: None, governor, gives_back: false, consequence: None }
    }

    /// Works until the coordinator is gone.
    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut ticker = tokio::time::interval(self.options.sample_interval);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(memory::LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.handle_order(order).await,
                    None => break,
                },
                event = next_event(&mut self.current) => self.handle_event(event),
                Some((generation, epoch, end)) = self.epochs.recv() => self.handle_epoch(generation, epoch, end),
                _ = ticker.tick() => self.handle_tick(),
                _ = looks.tick(), if self.options.memory.is_some() => self.govern_memory(),
            }
        }
        self.end().await;
    }

    fn report(&self, report: Report) {
        // The coordinator outlives the worker, except while both are being dropped.
        let _ = self.reports.send(report);
    }

    async fn handle_order(&mut self, order: Order) {
        match order {
            Order::Prepare(order, reply) => {
                let prepared = if self.refuses(order.generation) {
                    let have = self.current.as_ref().map(|current| current.generation).unwrap_or_default();
                    let reason = format!("generation {} is older than {have}", order.generation);
                    Err(DeployFailure::Failed(reason))
                } else {
                    self.end().await;
                    Current::prepare(&self.options, *order).await.map(|current| self.current = Some(current))
                };
                // Who asked may have been cancelled; the cancellation is the next order.
                let _ = reply.send(prepared);
            }
            Order::Start(generation, reply) => {
                let started = match self.current.as_mut().filter(|current| current.generation == generation) {
                    Some(current) => current.start(&self.options).await,
                    None => Err(DeployFailure::Failed(format!("generation {generation} is not prepared"))),
                };
                let _ = reply.send(started);
            }
            Order::Cancel(generation) if !self.refuses(generation) => self.end().await,
            Order::Trigger(barrier) => self.trigger(&barrier),
            Order::Abort(generation, checkpoint) => {
                if let Some(current) = self.current_of(generation) {
                    current.store.abort_epoch(checkpoint);
                    let acks = current.acks.flush(checkpoint);
                    acks.into_iter().for_each(|ack| self.report(Report::TaskAck(ack)));
                }
            }
            Order::Acknowledge(generation, checkpoint) => self.acknowledge(generation, checkpoint),
            Order::Cancel(_) => {}
        }
    }

    /// True for orders of generations older than the one this worker has.
    fn refuses(&self, generation: Generation) -> bool {
        self.current.as_ref().is_some_and(|current| generation < current.generation)
    }

    fn current_of(&mut self, generation: Generation) -> Option<&mut Current> {
        self.current.as_mut().filter(|current| current.generation == generation)
    }

    fn trigger(&mut self, barrier: &Barrier) {
        let epochs = self.epochs_tx.clone();
        let Some(current) = self.current_of(barrier.generation) else { return };
        let (generation, checkpoint) = (barrier.generation, barrier.checkpoint);
        current.acks.begin(checkpoint);
        let done = Box::new(move |end| {
            // A worker that is gone awaits nothing.
            let _ = epochs.send((generation, checkpoint, end));
        });
        current.store.begin_epoch(checkpoint, current.stateful_subtasks, done);
        current.inject(barrier);
    }

    fn acknowledge(&mut self, generation: Generation, checkpoint: CheckpointId) {
        let Some(current) = self.current_of(generation) else { return };
        current.acks.forget(checkpoint);
        current.store.acknowledge(checkpoint);
        current.completed(checkpoint);
        let disowned: Vec<String> = current.store.take_disowned().into_iter().map(|object| object.key).collect();
        if !disowned.is_empty() {
            self.report(Report::Disowned(generation, deployment::WORKER, disowned));
        }
    }

    fn handle_event(&mut self, event: TaskEvent) {
        let Some(current) = &mut self.current else { return };
        let generation = current.generation;
        match event {
            TaskEvent::Ack(ack) => {
                let report = current.take_ack(ack);
                self.report(report);
            }
            TaskEvent::SourceEnded { operator, subtask } => {
                self.report(Report::InputEnded(generation, TaskId::new(operator, subtask)));
            }
            TaskEvent::Failed(error) => {
                let failure = failure::describe(&error);
                if failure::is_consequence(&error) {
                    let due = Instant::now() + CAUSE_GRACE;
                    self.consequence.get_or_insert((due, generation, failure));
                } else {
                    self.report(Report::Failed(generation, failure));
                }
            }
        }
    }

    fn handle_epoch(&mut self, generation: Generation, epoch: CheckpointId, end: Result<EpochResult, StateError>) {
        let Some(current) = self.current_of(generation) else { return };
        let reports: Vec<Report> = match end {
            Ok(result) => {
                let (acks, store) = current.acks.finish(generation, epoch, result);
                acks.into_iter().map(Report::TaskAck).chain([Report::StoreAck(store)]).collect()
            }
            Err(StateError::Aborted { .. } | StateError::ShutDown) => Vec::new(),
            Err(error) => {
                let cause = match &error {
                    StateError::Upload { .. } => DeclineCause::Storage(chain(&error)),
                    _ => DeclineCause::Other(chain(&error)),
                };
                let acks = current.acks.flush(epoch).into_iter().map(Report::TaskAck);
                acks.chain([Report::Declined(generation, epoch, cause)]).collect()
            }
        };
        reports.into_iter().for_each(|report| self.report(report));
    }

    fn handle_tick(&mut self) {
        if let Some((_, generation, failure)) = self.consequence.take_if(|(due, ..)| *due <= Instant::now()) {
            self.report(Report::Failed(generation, failure));
        }
        if let Some(sample) = self.current.as_ref().and_then(Current::sample) {
            self.report(Report::Sample(Box::new(sample)));
        }
    }

    fn govern_memory(&mut self) {
        let Some(memory) = &self.options.memory else { return };
        let Some(used) = memory.used() else { return };
        let imminent = self.current.as_ref().map_or(0, |current| current.store.imminent_bytes() as u64);
        let before = self.governor.squeeze();
        let squeeze = self.governor.judge(used + imminent);
        if let Some(current) = &self.current {
            current.store.squeeze(squeeze);
        }
        // What shrinks frees memory that is of no use within the process.
        let shrinks = squeeze.clean < before.clean;
        if shrinks != self.gives_back {
            self.gives_back = shrinks;
            memory.give_back(shrinks);
        }
    }

    /// Ends the deployment there is: its subtasks first, then its store.
    async fn end(&mut self) {
        self.consequence = None;
        if let Some(current) = self.current.take() {
            if let Some(sample) = current.sample() {
                self.report(Report::Sample(Box::new(sample)));
            }
            current.end().await;
        }
    }
}

/// What the subtasks report next; never, while none run.
async fn next_event(current: &mut Option<Current>) -> TaskEvent {
    match current.as_mut().and_then(|current| current.running.as_mut()) {
        Some(running) => match running.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
