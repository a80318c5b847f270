use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::*;

/// Notes what is committed; the first `failing` commits fail in a way that passes.
#[derive(Default)]
struct Notes {
    committed: Mutex<Vec<String>>,
    failing: AtomicU32,
}

struct Committer(Arc<Notes>);

impl SinkCommitter for Committer {
    fn commit(&self, handle: &Handle) -> Result<(), ConnectorError> {
        let failing = self.0.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if failing.is_ok() {
            return Err(ConnectorError::transient("not now"));
        }
        if handle.is_null() {
            return Err(ConnectorError::permanent("neither hidden nor visible"));
        }
        self.0.committed.lock().push(handle.to_string());
        Ok(())
    }

    fn abort_except(&self, _ctx: &SinkContext, _keep: &[Handle]) -> Result<(), ConnectorError> {
        Ok(())
    }
}

fn handle(payload: impl Into<Handle>) -> SinkHandle {
    let (operator, subtask, epoch) = ("out".into(), weir_protocol::SubtaskIndex(0), CheckpointId(1));
    SinkHandle { operator, subtask, epoch, payload: payload.into() }
}

fn committers(notes: &Arc<Notes>) -> Committers {
    let committer: Arc<dyn SinkCommitter> = Arc::new(Committer(Arc::clone(notes)));
    Committers(BTreeMap::from([("out".into(), committer)]))
}

#[tokio::test]
async fn checkpoints_are_committed_in_order_and_transient_failures_are_repeated() {
    let notes = Arc::new(Notes { failing: AtomicU32::new(5), ..Notes::default() });
    let (events_tx, mut events) = mpsc::unbounded_channel();
    let (lane, work) = CommitLane::new(events_tx);
    let working = tokio::spawn(work);
    lane.install(committers(&notes));
    lane.commit(Generation(1), CheckpointId(1), vec![handle(1), handle(2)]);
    lane.commit(Generation(1), CheckpointId(2), vec![handle(3)]);
    lane.replay(CheckpointId(2), vec![handle(3)]).await.unwrap();
    assert_eq!(*notes.committed.lock(), ["1", "2", "3", "3"]);
    assert_eq!(events.recv().await, Some(Event::Committed(CheckpointId(1))));
    assert_eq!(events.recv().await, Some(Event::Committed(CheckpointId(2))));
    drop(lane);
    working.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_committed_fails_the_deployment_with_sink_and_reason() {
    let notes = Arc::new(Notes::default());
    let (events_tx, mut events) = mpsc::unbounded_channel();
    let (lane, work) = CommitLane::new(events_tx);
    tokio::spawn(work);
    lane.install(committers(&notes));
    lane.commit(Generation(7), CheckpointId(3), vec![handle(1), handle(Handle::Null)]);
    let Some(Event::Failed { generation: Generation(7), reason, .. }) = events.recv().await else { panic!() };
    assert_eq!(reason, "output of checkpoint 3 in sink out cannot be committed: neither hidden nor visible");
    let error = lane.replay(CheckpointId(3), vec![SinkHandle { operator: "gone".into(), ..handle(1) }]).await;
    assert!(error.unwrap_err().to_string().contains("sink gone"));
}
