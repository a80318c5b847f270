//! Counting restarts: each once, with its reason, whoever restarted what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_api::status::FailureStatus;

use super::decide::Step;
use super::deployment::Mode;
use super::plan::Notice;
use super::pod_view::PodView;
use super::pods::resolve_crash;
use super::reason::Reason;
use super::report::Report;
use super::status::time;

/// Up to where restarts are counted. Kept in the status, beside the counters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// The pod's uid.
    pub pod: String,
    /// The ConfigMap the pod was made for.
    pub config: String,
    /// Restarts of its container.
    pub container: u32,
    /// Restarts of the job within that container's process, by kind.
    pub kinds: BTreeMap<String, u64>,
}

impl Step<'_> {
    /// Counts what happened since the mark in the status.
    pub(super) fn count_restarts(&mut self) {
        let Some(pod) = self.world.pods.iter().find(|pod| pod.deleting.is_none()) else { return };
        let old: Option<Mark> =
            self.world.status.restarts_mark.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let redeploys = self.world.deployed.as_ref().is_some_and(|d| d.notes.mode == Mode::Redeploy);
        let new_pod = old.as_ref().filter(|old| old.pod != pod.uid);
        if let Some(old) = new_pod
            && (old.config == pod.config || redeploys)
        {
            let removed = self.memory.removed.as_ref().filter(|(uid, _)| *uid == old.pod);
            let reason = removed.map_or(Reason::PodDeleted.as_str(), |(_, reason)| reason.as_str()).to_owned();
            self.count(&reason, 1, "its pod was replaced");
        }
        let same_pod = old.filter(|old| old.pod == pod.uid);
        let counted = same_pod.as_ref().map_or(0, |old| old.container);
        if pod.restarts > counted {
            let crash = pod.last_terminated.as_ref().or(pod.terminated.as_ref()).map(resolve_crash);
            let reason = crash.as_ref().map_or(Reason::Crashed, |crash| crash.reason);
            let message = crash.map(|crash| format!("exit code {}: {}", crash.exit_code, crash.message));
            self.count(reason.as_str(), u64::from(pod.restarts - counted), &message.unwrap_or_default());
        }
        let same_process = same_pod.filter(|old| old.container == pod.restarts);
        let mut kinds = same_process.map(|old| old.kinds).unwrap_or_default();
        if let Some(report) = self.report() {
            for (kind, count) in &report.restarts {
                let before = kinds.get(kind).copied().unwrap_or_default();
                if *count > before {
                    self.count(kind, count - before, &report.reason);
                    kinds.insert(kind.clone(), *count);
                }
            }
        }
        let mark = Mark { pod: pod.uid.clone(), config: pod.config.clone(), container: pod.restarts, kinds };
        self.status.restarts_mark = Some(serde_json::to_string(&mark).expect("a mark is JSON"));
        self.status.restarts.get_or_insert(0);
        self.last_failure(pod);
    }

    fn count(&mut self, reason: &str, count: u64, message: &str) {
        let more = i64::try_from(count).unwrap_or(i64::MAX);
        let restarts = self.status.restarts.get_or_insert(0);
        *restarts = restarts.saturating_add(more);
        let by_reason = self.status.restarts_by_reason.entry(reason.to_owned()).or_default();
        *by_reason = by_reason.saturating_add(more);
        *self.restarted.entry(reason.to_owned()).or_default() += count;
        let note = if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
        // The mark in the status, which is written in any case, says that it was counted.
        self.notices.push(Notice { warning: true, happened: true, reason: "Restarted".to_owned(), note });
    }

    fn last_failure(&mut self, pod: &PodView) {
        let ended = pod.terminated.as_ref().or(pod.last_terminated.as_ref());
        let of_pod = ended.map(|ended| {
            (ended.at, {
                let crash = resolve_crash(ended);
                FailureStatus {
                    reason: crash.reason.as_str().to_owned(),
                    pod: Some(pod.name.clone()),
                    exit_code: Some(crash.exit_code),
                    message: Some(crash.message),
                    at: Some(time(ended.at)),
                }
            })
        });
        let of_job = self.report().and_then(|report: &Report| report.last_failure.clone()).map(|(at, kind, words)| {
            let pod = Some(pod.name.clone());
            (at, FailureStatus { reason: kind, pod, exit_code: None, message: Some(words), at: Some(time(at)) })
        });
        let newest = [of_pod, of_job].into_iter().flatten().max_by_key(|(at, _)| *at);
        if let Some((at, failure)) = newest {
            let known = self.status.last_failure.as_ref().and_then(|failure| failure.at.as_ref()).map(|at| at.0);
            if known.is_none_or(|known| at > known) {
                self.status.last_failure = Some(failure);
            }
        }
    }
}
