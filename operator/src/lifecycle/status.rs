//! The status that a plan says: state, health, conditions, and what the journal's head held.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use weir_api::ResolvedJob;
use weir_api::status::{CheckpointStatus, Health, JobState};

use super::back_off::{millis, since};
use super::decide::Step;
use super::report::Report;
use super::world::Deployed;

/// Most characters of a message: conditions and events have bounds, and an error can be a page.
const MOST: usize = 1000;

/// What a plan has to say.
#[derive(Debug, Default)]
pub(super) struct Said {
    state: Option<JobState>,
    progressing: Option<(String, String)>,
    not_ready: Option<(String, String)>,
    pub degraded: Option<(String, String)>,
    checkpoints: Option<(bool, String, String)>,
    pub update: Option<String>,
    pub health_unknown: bool,
}

impl Said {
    /// The last word counts.
    pub fn state(&mut self, state: JobState) {
        self.state = Some(state);
    }

    /// Whether the job was found to run.
    pub fn is_running(&self) -> bool {
        self.state == Some(JobState::Running)
    }

    /// The first word counts: it is nearest to the cause.
    pub fn progressing(&mut self, reason: &str, message: impl Into<String>) {
        self.progressing.get_or_insert((reason.to_owned(), message.into()));
    }

    /// As [`progressing`](Self::progressing).
    pub fn not_ready(&mut self, reason: &str, message: impl Into<String>) {
        self.not_ready.get_or_insert((reason.to_owned(), message.into()));
    }

    /// Something keeps the job from running, and a person should look.
    pub fn held_back(&mut self, reason: &str, message: String) {
        self.not_ready(reason, message.clone());
        self.degraded(reason, message);
    }

    /// As [`progressing`](Self::progressing).
    pub fn degraded(&mut self, reason: &str, message: String) {
        self.degraded.get_or_insert((reason.to_owned(), message));
    }
}

/// A point in time, as conditions have it: seconds.
pub(super) fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

impl Step<'_> {
    pub(super) fn status_of_deployed(&mut self, deployed: &Deployed) {
        let status = &mut self.status;
        status.revision = deployed.resolved.as_ref().map(ResolvedJob::revision).or(status.revision.take());
        status.image = deployed.resolved.as_ref().and_then(|resolved| resolved.image.clone()).or(status.image.take());
        status.ready_workers = Some(deployed.ready);
    }

    /// What the journal's head held.
    pub(super) fn observe(&mut self, report: &Report) {
        let status = &mut self.status;
        status.observed_at = Some(time(self.world.now));
        if !report.job_id.is_empty() {
            status.job_id = Some(report.job_id.clone());
        }
        if report.checkpoints.is_empty() {
            return;
        }
        let whole = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        status.checkpoints = report
            .checkpoints
            .iter()
            .map(|checkpoint| CheckpointStatus {
                id: whole(checkpoint.id),
                completed_at: Some(time(checkpoint.completed_at)),
                duration_millis: i64::try_from(checkpoint.duration.as_millis()).ok(),
                bytes_full: Some(whole(checkpoint.bytes_full)),
                bytes_incremental: Some(whole(checkpoint.bytes_incremental)),
            })
            .collect();
        status.last_checkpoint = status.checkpoints.first().cloned();
    }

    /// Whether checkpoints come as often as they should.
    pub(super) fn checkpoint_health(&mut self, resolved: &ResolvedJob, report: &Report) {
        if let Some((_, message)) = &report.storage_trouble {
            // Without a duration: each look would be another status.
            let words = format!("the object store does not answer: {message}; the job waits for it");
            self.said.checkpoints = Some((false, "StorageUnavailable".to_owned(), words.clone()));
            self.said.degraded("StorageUnavailable", words);
            return;
        }
        let Some(newest) = report.checkpoints.first() else { return };
        let patience = (millis(resolved.checkpoint.interval) + millis(resolved.checkpoint.min_pause)) * 3
            + Duration::from_secs(10);
        let is_old = since(self.world.now, newest.completed_at) > patience;
        self.said.checkpoints = Some(if is_old {
            let words = format!("checkpoint {} is the newest, more than three intervals old", newest.id);
            self.said.degraded("CheckpointsLate", format!("{words}: look at the job's checkpoint metrics"));
            (false, "Late".to_owned(), words)
        } else {
            (true, "InTime".to_owned(), "checkpoints complete in time".to_owned())
        });
    }

    pub(super) fn write_status(&mut self) {
        let world = self.world;
        let said = std::mem::take(&mut self.said);
        let status = &mut self.status;
        let state = said.state.or(status.state).unwrap_or(JobState::Pending);
        let works = matches!(state, JobState::Running);
        status.observed_generation = Some(world.generation);
        status.state = Some(state);
        status.workers = Some(i32::try_from(world.pods.len()).unwrap_or(i32::MAX));
        status.ready_workers.get_or_insert(0);
        status.restarts.get_or_insert(0);
        status.selector = Some(world.job.worker_selector_text());
        status.health = Some(match (&said.degraded, said.health_unknown) {
            (_, true) => Health::Unknown,
            (Some(_), false) => Health::Degraded,
            (None, false) => Health::Healthy,
        });
        let no = |(reason, message): (String, String)| ("False", reason, message);
        let yes = |(reason, message): (String, String)| ("True", reason, message);
        let pair = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
        let ready = match (said.not_ready, works) {
            (Some(why), _) => no(why),
            (None, true) => yes(pair("Running", "the job runs")),
            (None, false) => no(said.progressing.clone().unwrap_or_else(|| pair("NotRunning", "the job does not run"))),
        };
        let progressing = said.progressing.map_or_else(|| no(pair("Settled", "nothing is under way")), yes);
        let degraded = said.degraded.map_or_else(|| no(pair("AsExpected", "nothing to look at")), yes);
        let checkpoints = match said.checkpoints {
            Some((true, reason, message)) => ("True", reason, message),
            Some((false, reason, message)) => ("False", reason, message),
            None => ("Unknown", "NotRunning".to_owned(), "no checkpoint is expected now".to_owned()),
        };
        let update = said.update.map_or_else(
            || no(pair("UpToDate", "the job runs what this operator would deploy")),
            |words| yes(("NewerImage".to_owned(), words)),
        );
        let all = [
            ("Ready", ready),
            ("Progressing", progressing),
            ("Degraded", degraded),
            ("CheckpointHealthy", checkpoints),
            ("UpdateAvailable", update),
        ];
        let old = std::mem::take(&mut status.conditions);
        status.conditions = all
            .into_iter()
            .map(|(kind, (truth, reason, message))| {
                let before = old.iter().find(|condition| condition.type_ == kind && condition.status == truth);
                Condition {
                    type_: kind.to_owned(),
                    status: truth.to_owned(),
                    reason,
                    message: bounded(&message),
                    observed_generation: Some(world.generation),
                    last_transition_time: before
                        .map_or_else(|| time(world.now), |old| old.last_transition_time.clone()),
                }
            })
            .collect();
        for notice in &mut self.notices {
            notice.note = bounded(&notice.note);
        }
    }
}

fn bounded(text: &str) -> String {
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let head: String = text.chars().take(MOST).collect();
    format!("{head}…")
}
