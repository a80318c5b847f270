//! Preflight: a pod of the new revision says whether it could run, before a running job is stopped for it.

use std::time::Duration;

use super::back_off::{millis, since};
use super::decide::Step;
use super::plan::{Action, Removal};
use super::pod_view::TaskView;
use super::pods::REFUSED;
use super::world::Wanted;
use crate::names::Component;

/// Least time between two preflight pods of one revision.
pub(super) const PREFLIGHT_PAUSE: Duration = Duration::from_secs(30);

pub(super) enum Preflight {
    Passed,
    Waits(String),
    Refused(String),
    Failed(TaskView, String),
    /// Its name is taken.
    Taken,
}

impl Step<'_> {
    pub(super) fn preflight(&mut self, resolved: &weir_api::ResolvedJob, config: &str, wanted: &Wanted) -> Preflight {
        let world = self.world;
        for old in world.checks.iter().filter(|check| check.config != config && !check.deleting) {
            self.actions.push(remove(old));
        }
        let check = world.checks.iter().find(|check| check.config == config && !check.deleting);
        if check.is_none() && world.conflict == Some(format!("Pod {}", world.job.check_pod(config))) {
            return Preflight::Taken;
        }
        let Some(check) = check else {
            let (resolved, spec) = (Box::new(resolved.clone()), wanted.spec.clone());
            self.actions.push(Action::CreateTask { component: Component::Check, resolved, spec });
            self.tell("Preflight", format!("of revision {}", resolved_name(config)));
            return Preflight::Waits("a pod of the new revision checks whether it can run".to_owned());
        };
        match &check.ended {
            Some((0, _)) => Preflight::Passed,
            Some((REFUSED, said)) => Preflight::Refused(refusal(said)),
            // Storage that does not answer, an eviction, a kill: that says nothing about the spec.
            Some((code, said)) => {
                let words = refusal(said);
                let words = if words.is_empty() { format!("exit code {code}") } else { words };
                Preflight::Failed(check.clone(), format!("the preflight could not be carried out: {words}"))
            }
            None if since(world.now, check.created) > millis(self.upgrade_wishes().deadline) => {
                let why = check.stuck.clone().unwrap_or_else(|| "it does not end".to_owned());
                Preflight::Refused(format!("the preflight pod did not answer in time: {why}"))
            }
            None => {
                let why = check.stuck.clone();
                Preflight::Waits(
                    why.unwrap_or_else(|| "a pod of the new revision checks whether it can run".to_owned()),
                )
            }
        }
    }

    /// Preflight pods that are not needed any more.
    pub(super) fn drop_checks(&mut self) {
        for check in self.world.checks.iter().filter(|check| !check.deleting) {
            self.actions.push(remove(check));
        }
    }
}

pub(super) fn remove(task: &TaskView) -> Action {
    Action::DeletePod { name: task.name.clone(), uid: task.uid.clone(), how: Removal::Graceful }
}

fn resolved_name(config: &str) -> &str {
    config.rsplit('-').next().unwrap_or_default()
}

/// The words of a preflight: JSON with fields and messages, or whatever it said.
pub(super) fn refusal(said: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(said.trim()).ok();
    let errors = parsed.as_ref().and_then(|value| value.get("errors")).and_then(serde_json::Value::as_array);
    let words = errors.into_iter().flatten().map(|error| {
        let text = |name: &str| error.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        match text("field") {
            "" => text("message").to_owned(),
            field => format!("{field}: {}", text("message")),
        }
    });
    let words = words.collect::<Vec<_>>().join("; ");
    if words.is_empty() { said.trim().to_owned() } else { words }
}
