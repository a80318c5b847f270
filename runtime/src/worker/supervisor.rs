//! The loop around the runs of a process: signals, redeployments, and what comes after a run has ended.
//!
//! ```text
//! run ── settled ──► idle: serve status ── redeploy ──► run
//!  │                   └─ signal, cancel ─► leave
//!  ├─ redeploy: final checkpoint, stop ──► run the other job
//!  ├─ signal: checkpoint within half the grace period ──► leave, without a word in the journal
//!  └─ fenced, refused, failed ──► leave
//! ```
//!
//! A signal is not a stop: the job goes on from that checkpoint wherever its next pod is. Only `Stop` and `Redeploy` write
//! "stopped" into the journal, and the latter is followed by a revision that runs again.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_api::ResolvedJob;
use weir_cluster::{JobCommand, JobState, JobStatus, StopSummary};
use weir_control::{Refusal, v1};

use super::answer;
use super::control::{Ask, Redeploy};
use super::face::Face;
use super::local::LocalDir;
use super::start::{Begun, Ended, Starter};
use crate::run::Signals;

/// How often it is looked whether a redeployment has come up, while somebody waits for it.
const LOOK: Duration = Duration::from_millis(20);

/// Why the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It was asked to, by a signal; says what it leaves behind.
    Terminated(String),
    /// It was asked to, by the control API.
    Cancelled,
    /// Another process has the job.
    Fenced(String),
    /// The user must change something.
    Refused(String),
    /// It did not work.
    Failed(String),
}

/// Who waits for a redeployment.
#[derive(Default)]
struct Waiting {
    replies: Vec<oneshot::Sender<Result<v1::RedeployResponse, Refusal>>>,
    with_final_checkpoint: bool,
}

impl Waiting {
    fn refuse(self, why: &Refusal) {
        for reply in self.replies {
            // Who asked may have gone.
            let _ = reply.send(Err(why.clone()));
        }
    }
}

/// The loop around the runs of a process.
pub(crate) struct Supervisor {
    pub starter: Starter,
    pub local: LocalDir,
    pub faces: Arc<watch::Sender<Arc<Face>>>,
    pub asks: mpsc::Receiver<Ask>,
    pub signals: Signals,
    /// How long a checkpoint may take when the process is asked to go.
    pub patience: Duration,
    /// How long a run may take to end once it was told to.
    pub leave_limit: Duration,
}

/// What a run is being brought to.
#[derive(Default)]
struct Course {
    /// Set by a signal or a cancel.
    leaving: Option<Leaving>,
    /// When the run is left without a checkpoint.
    leave_at: Option<Instant>,
    /// The checkpoint before leaving.
    parting: Option<oneshot::Receiver<Result<weir_cluster::CheckpointSummary, String>>>,
    /// The job that runs next.
    next: Option<Arc<ResolvedJob>>,
    stopping: Option<oneshot::Receiver<Result<StopSummary, String>>>,
    waiting: Waiting,
}

/// What a run's end leads to.
enum Next {
    Run(Arc<ResolvedJob>, Waiting),
    Idle,
    Leave(Leaving),
}

impl Supervisor {
    /// Runs `job` and what it is redeployed with, until the process is to end.
    pub(crate) async fn supervise(mut self, job: Arc<ResolvedJob>) -> Leaving {
        let mut next = Next::Run(job, Waiting::default());
        loop {
            next = match next {
                Next::Run(job, waiting) => self.run(job, waiting).await,
                Next::Idle => self.idle().await,
                Next::Leave(leaving) => return leaving,
            };
        }
    }

    /// The job has settled: the process only serves its status.
    async fn idle(&mut self) -> Next {
        tracing::info!(state = self.status().state.name(), "nothing to run; serving the job's status");
        loop {
            tokio::select! {
                _ = self.signals.next() => {
                    let state = self.status().state.name();
                    return Next::Leave(Leaving::Terminated(format!("the job is {state}")));
                }
                Some(ask) = self.asks.recv() => match ask {
                    Ask::Cancel => return Next::Leave(Leaving::Cancelled),
                    Ask::Redeploy(Redeploy { job, timeout: _, reply }) => {
                        let told = self.faces.borrow().told.clone();
                        if let Some(refusal) = refuse_beside(&job, &told) {
                            let _ = reply.send(Err(refusal));
                            continue;
                        }
                        if job.revision_number == told.revision_number {
                            let _ = reply.send(self.running_already(&job, true));
                            continue;
                        }
                        self.keep(&job);
                        let waiting = Waiting { replies: vec![reply], with_final_checkpoint: true };
                        return Next::Run(job, waiting);
                    }
                },
            }
        }
    }

    /// One run, to its end.
    async fn run(&mut self, job: Arc<ResolvedJob>, waiting: Waiting) -> Next {
        let before = Arc::new(self.faces.borrow().status());
        let mut course = Course { waiting, ..Course::default() };
        let mut run = self.begin(job.clone(), before);
        let ended = loop {
            tokio::select! {
                ended = &mut run => break ended.unwrap_or_else(of_panic),
                _ = self.signals.next() => if self.handle_signal(&mut course) { run.abort() },
                Some(ask) = self.asks.recv() => self.handle_ask(ask, &job, &mut course),
                taken = answer_of(&mut course.parting) => self.handle_parting(taken, &mut course),
                stopped = answer_of(&mut course.stopping) => self.handle_stopped(stopped, &mut course),
                () = tokio::time::sleep(LOOK), if !course.waiting.replies.is_empty() => self.answer_redeployed(&mut course),
                () = at(course.leave_at) => {
                    if course.parting.take().is_some() {
                        tracing::warn!("no checkpoint was complete in time");
                        course.leaving = Some(Leaving::Terminated("no checkpoint was complete in time".to_owned()));
                        self.cancel(&mut course);
                    } else {
                        run.abort();
                    }
                }
            }
        };
        self.conclude(ended, course)
    }

    fn begin(&self, job: Arc<ResolvedJob>, before: Arc<JobStatus>) -> JoinHandle<Ended> {
        // At once, not when the run has its threads: until then the run before would answer for this one.
        self.faces.send_replace(Arc::new(Face { before: before.clone(), ..first_face(&job) }));
        let (faces, shown) = (self.faces.clone(), job.clone());
        let show = move |begun: Begun| {
            let Begun { commands, status, metrics, waits } = begun;
            let (runs, before) = (shown.clone(), before.clone());
            faces.send_modify(|face| {
                // Another job may have been asked for since the attempt before this one.
                let told = face.told.clone();
                *face = Arc::new(Face { told, runs, commands, status, before, waits, metrics });
            });
        };
        tracing::info!(job = %job.name, graph = job.job, revision = job.revision_number, slots = job.slots, "starting");
        tokio::spawn(self.starter.clone().run(job, show))
    }

    /// True if the run is to be left at once.
    fn handle_signal(&self, course: &mut Course) -> bool {
        if course.leaving.is_some() {
            return true;
        }
        course.leaving = Some(Leaving::Terminated("the job goes on from its latest checkpoint".to_owned()));
        course.leave_at = Some(Instant::now() + self.patience);
        if course.stopping.is_some() {
            tracing::info!("asked to go: the final checkpoint is under way");
            return false;
        }
        let face = self.faces.borrow().clone();
        let state = face.status.borrow().state.clone();
        match state {
            JobState::Running => {
                tracing::info!("asked to go: taking a checkpoint first");
                let (reply, answered) = oneshot::channel();
                course.parting = Some(answered);
                face.commands.try_send(JobCommand::Checkpoint { reply }).is_err()
            }
            // The final checkpoint is under way; the run ends by itself.
            JobState::Ending => false,
            JobState::Starting | JobState::Deploying | JobState::Restarting { .. } => {
                tracing::info!("asked to go");
                self.cancel(course);
                matches!(state, JobState::Starting)
            }
            JobState::Stopped | JobState::Finished | JobState::Failed { .. } | JobState::Left { .. } => false,
        }
    }

    fn handle_parting(&self, taken: Result<weir_cluster::CheckpointSummary, String>, course: &mut Course) {
        match taken {
            Ok(checkpoint) => {
                tracing::info!(checkpoint = checkpoint.id.0, "leaving with this checkpoint");
                course.leaving = Some(Leaving::Terminated(format!("left with checkpoint {}", checkpoint.id)));
            }
            Err(reason) => tracing::warn!(reason, "leaving without a checkpoint of its own"),
        }
        self.cancel(course);
    }

    /// Has the run end at once.
    fn cancel(&self, course: &mut Course) {
        course.parting = None;
        course.leave_at = Some(Instant::now() + self.leave_limit);
        // A run that takes no command is aborted when its time is over.
        let _ = self.faces.borrow().commands.try_send(JobCommand::Cancel);
    }

    fn handle_ask(&mut self, ask: Ask, runs: &Arc<ResolvedJob>, course: &mut Course) {
        match ask {
            Ask::Cancel => {
                tracing::info!("asked to go at once");
                course.leaving = Some(Leaving::Cancelled);
                self.cancel(course);
            }
            Ask::Redeploy(redeploy) if course.leaving.is_some() => {
                let _ = redeploy.reply.send(Err(Refusal::Unavailable("the process is ending".to_owned())));
            }
            Ask::Redeploy(Redeploy { job, timeout, reply }) => {
                let told = course.next.as_ref().unwrap_or(runs);
                if let Some(refusal) = refuse_beside(&job, told) {
                    let _ = reply.send(Err(refusal));
                } else if job.revision_number == told.revision_number {
                    let is_up = course.next.is_none() && course.waiting.replies.is_empty();
                    match is_up && self.has_come_up() {
                        true => _ = reply.send(self.running_already(&job, true)),
                        false => course.waiting.replies.push(reply),
                    }
                } else {
                    self.redeploy(job, timeout, reply, course);
                }
            }
        }
    }

    fn redeploy(
        &mut self,
        job: Arc<ResolvedJob>,
        timeout: Option<Duration>,
        reply: oneshot::Sender<Result<v1::RedeployResponse, Refusal>>,
        course: &mut Course,
    ) {
        tracing::info!(revision = job.revision_number, slots = job.slots, "redeploying with a final checkpoint");
        let superseded = Refusal::Precondition(format!("revision {} was asked for meanwhile", job.revision_number));
        std::mem::take(&mut course.waiting).refuse(&superseded);
        course.waiting.replies.push(reply);
        self.keep(&job);
        // In one step: an attempt to start may show itself at this moment.
        self.faces.send_modify(|face| *face = Arc::new(Face { told: job.clone(), ..(**face).clone() }));
        let face = self.faces.borrow().clone();
        course.next = Some(job);
        let (stopped, answered) = oneshot::channel();
        course.stopping = Some(answered);
        // A run that takes no command yet has nothing to checkpoint: it is left, and the next one begins where it would have.
        let asked = face.commands.try_send(JobCommand::Stop { savepoint: None, timeout, reply: stopped });
        if asked.is_err() || face.waits.is_some() {
            course.stopping = None;
            self.cancel(course);
        }
    }

    fn handle_stopped(&self, stopped: Result<StopSummary, String>, course: &mut Course) {
        match stopped {
            Ok(stopped) => course.waiting.with_final_checkpoint = stopped.with_final_checkpoint,
            Err(reason) => {
                tracing::warn!(reason, "the job did not stop as it should; its latest checkpoint is taken");
                self.cancel(course);
            }
        }
    }

    /// Answers who waits for the redeployment, once it runs.
    fn answer_redeployed(&self, course: &mut Course) {
        // Who asks again and again must not pile up.
        course.waiting.replies.retain(|reply| !reply.is_closed());
        if course.next.is_some() || !self.has_come_up() {
            return;
        }
        let with_final_checkpoint = course.waiting.with_final_checkpoint;
        let runs = self.faces.borrow().runs.clone();
        for reply in course.waiting.replies.drain(..) {
            let _ = reply.send(self.running_already(&runs, with_final_checkpoint));
        }
    }

    fn has_come_up(&self) -> bool {
        match self.faces.borrow().status.borrow().state {
            JobState::Running | JobState::Ending | JobState::Stopped | JobState::Finished => true,
            JobState::Starting
            | JobState::Deploying
            | JobState::Restarting { .. }
            | JobState::Failed { .. }
            | JobState::Left { .. } => false,
        }
    }

    fn running_already(&self, job: &ResolvedJob, with_final_checkpoint: bool) -> Result<v1::RedeployResponse, Refusal> {
        let status = self.status();
        if let JobState::Failed { reason } | JobState::Left { reason } = status.state {
            return Err(Refusal::Failed(reason));
        }
        Ok(v1::RedeployResponse {
            revision: Some(answer::revision(job)),
            generation: status.generation.map_or(0, |generation| generation.0),
            restored_from: status.restored_from.map(|id| id.0),
            with_final_checkpoint,
        })
    }

    /// What follows from a run's end.
    fn conclude(&mut self, ended: Ended, mut course: Course) -> Next {
        if let Ended::Fenced { for_good: true, .. } = &ended {
            // Also if it was asked to go: a container whose probe failed begins again in this very pod.
            self.local.mark_fenced();
        }
        if course.leaving.is_some() {
            course.waiting.refuse(&Refusal::Unavailable("the process is ending".to_owned()));
            // Whatever the run said last, the process was asked to go.
            return Next::Leave(course.leaving.unwrap_or(Leaving::Cancelled));
        }
        if let Some(Ok(Ok(stopped))) = course.stopping.take().map(|mut stopping| stopping.try_recv()) {
            course.waiting.with_final_checkpoint = stopped.with_final_checkpoint;
        }
        match (ended, course.next) {
            (Ended::Settled | Ended::Cancelled, Some(job)) => Next::Run(job, course.waiting),
            (Ended::Settled, None) => {
                let answers: Vec<_> = course.waiting.replies.drain(..).collect();
                let runs = self.faces.borrow().runs.clone();
                for reply in answers {
                    let _ = reply.send(self.running_already(&runs, course.waiting.with_final_checkpoint));
                }
                Next::Idle
            }
            (Ended::Cancelled, None) => Next::Leave(Leaving::Cancelled),
            (Ended::Fenced { why, for_good: _ }, _) => {
                course.waiting.refuse(&Refusal::Failed(why.clone()));
                Next::Leave(Leaving::Fenced(why))
            }
            (Ended::Refused(why), _) => {
                course.waiting.refuse(&Refusal::Invalid(why.clone()));
                Next::Leave(Leaving::Refused(why))
            }
            (Ended::Failed(why), _) => {
                course.waiting.refuse(&Refusal::Failed(why.clone()));
                Next::Leave(Leaving::Failed(why))
            }
        }
    }

    /// Keeps a job for a restart of this container.
    fn keep(&self, job: &ResolvedJob) {
        if let Err(error) = self.local.keep(job) {
            tracing::warn!(%error, "the redeployed job cannot be kept: a restarted container is refused until its pod is replaced");
        }
    }

    fn status(&self) -> JobStatus {
        self.faces.borrow().status()
    }
}

/// Why `job` can neither follow `told` nor be the same: calls that were allowed one by one may have raced each other.
fn refuse_beside(job: &ResolvedJob, told: &ResolvedJob) -> Option<Refusal> {
    let number = told.revision_number;
    if job.revision_number < number {
        return Some(Refusal::Precondition(format!("revision {number} was asked for meanwhile")));
    }
    let is_other = job.revision_number == number && job.revision() != told.revision();
    is_other
        .then(|| Refusal::Precondition(format!("another job is revision {number} already: give this one a higher one")))
}

/// The first status of a process that has not begun anything.
pub(crate) fn first_face(job: &Arc<ResolvedJob>) -> Face {
    let (commands, _) = mpsc::channel(1);
    let (_, status) = watch::channel(Arc::new(JobStatus::default()));
    let before = Arc::new(JobStatus::default());
    let metrics = crate::run::registry();
    Face { told: job.clone(), runs: job.clone(), commands, status, before, waits: None, metrics }
}

/// The answer to a request; waits for ever if there was none.
async fn answer_of<T>(asked: &mut Option<oneshot::Receiver<Result<T, String>>>) -> Result<T, String> {
    let Some(answered) = asked else { return pending().await };
    let answer = answered.await.unwrap_or_else(|_| Err("the run has ended".to_owned()));
    *asked = None;
    answer
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => pending().await,
    }
}

fn of_panic(error: tokio::task::JoinError) -> Ended {
    match error.is_cancelled() {
        true => Ended::Cancelled,
        false => Ended::Failed(format!("weir itself failed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Jobs;
    use crate::worker::tests::job;

    struct Scene {
        supervisor: Supervisor,
        local: LocalDir,
        _directory: tempfile::TempDir,
    }

    /// A supervisor of pod-1 that was told to run `job`.
    fn scene(job: &Arc<ResolvedJob>) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalDir::new(directory.path(), "pod-1");
        let (faces, _) = watch::channel(Arc::new(first_face(job)));
        let (_, asks) = mpsc::channel(1);
        let (jobs, work_dir) = (Jobs::default(), directory.path().to_owned());
        let supervisor = Supervisor {
            starter: Starter { jobs, work_dir, pod_uid: "pod-1".to_owned() },
            local: local.clone(),
            faces: Arc::new(faces),
            asks,
            signals: Signals::new().unwrap(),
            patience: Duration::from_secs(60),
            leave_limit: Duration::from_secs(5),
        };
        Scene { supervisor, local, _directory: directory }
    }

    fn numbered(revision_number: u64, slots: u32) -> ResolvedJob {
        ResolvedJob { revision_number, slots, parallelism: slots, ..job() }
    }

    #[test]
    fn what_follows_has_a_higher_number_and_what_repeats_is_the_same() {
        let told = numbered(4, 1);
        for (job, fits) in
            [(numbered(6, 2), true), (numbered(4, 1), true), (numbered(4, 2), false), (numbered(2, 1), false)]
        {
            let refused = refuse_beside(&job, &told);
            assert_eq!(refused.is_none(), fits, "{} with {}: {refused:?}", job.revision_number, job.slots);
        }
    }

    #[tokio::test]
    async fn a_pod_that_is_asked_to_go_while_it_is_fenced_stays_fenced() {
        for (for_good, leaving) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut scene = scene(&Arc::new(job()));
            let leaving = leaving.then_some(Leaving::Cancelled);
            let ended = Ended::Fenced { why: "x".to_owned(), for_good };
            let next = scene.supervisor.conclude(ended, Course { leaving: leaving.clone(), ..Course::default() });
            assert_eq!(scene.local.is_fenced(), for_good, "leaving: {leaving:?}");
            let expected = leaving.unwrap_or(Leaving::Fenced("x".to_owned()));
            assert!(matches!(next, Next::Leave(left) if left == expected));
        }
    }

    #[tokio::test]
    async fn a_signal_lets_the_final_checkpoint_of_a_redeployment_finish() {
        let scene = scene(&Arc::new(job()));
        let (_stopped, answered) = oneshot::channel();
        let mut course = Course { stopping: Some(answered), next: Some(Arc::new(numbered(6, 2))), ..Course::default() };
        assert!(!scene.supervisor.handle_signal(&mut course), "the run is not left at once");
        assert!(course.parting.is_none() && course.stopping.is_some(), "no other checkpoint is asked for");
        assert!(course.leaving.is_some() && course.leave_at.is_some(), "and it does not take for ever");
        assert!(scene.supervisor.handle_signal(&mut course), "a second signal ends at once");
    }

    #[tokio::test]
    async fn who_asks_for_the_same_number_again_waits_with_the_first_and_nobody_is_redeployed_by_one_that_ends() {
        let told = Arc::new(numbered(4, 1));
        let mut scene = scene(&told);
        let ask = |job: ResolvedJob| {
            let (reply, answer) = oneshot::channel();
            (Ask::Redeploy(Redeploy { job: Arc::new(job), timeout: None, reply }), answer)
        };
        let mut course = Course::default();
        let (first, _first_answer) = ask(numbered(6, 2));
        scene.supervisor.handle_ask(first, &told, &mut course);
        assert_eq!(course.next.as_ref().map(|next| next.revision_number), Some(6));
        let (second, mut second_answer) = ask(numbered(6, 2));
        scene.supervisor.handle_ask(second, &told, &mut course);
        assert_eq!(course.waiting.replies.len(), 2);
        assert!(second_answer.try_recv().is_err(), "not answered before it runs");
        let (other, mut other_answer) = ask(numbered(6, 1));
        scene.supervisor.handle_ask(other, &told, &mut course);
        assert!(matches!(other_answer.try_recv(), Ok(Err(Refusal::Precondition(_)))));
        course.leaving = Some(Leaving::Cancelled);
        let (late, mut late_answer) = ask(numbered(8, 1));
        scene.supervisor.handle_ask(late, &told, &mut course);
        assert!(matches!(late_answer.try_recv(), Ok(Err(Refusal::Unavailable(_)))));
        assert_eq!(course.next.as_ref().map(|next| next.revision_number), Some(6));
    }
}
