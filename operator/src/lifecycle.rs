//! What to do next for one job: observed world in, plan out. Pure: no client, no clock, nothing random.
//!
//! Level-triggered: a plan is one small step from what is there towards what is wanted, and the next look decides anew. What
//! must survive the operator is in the objects: the StatefulSet's annotation ([`Deployment`]) says what is deployed, which
//! deployment was stable, what was refused. What only saves time (calls under way, back-off) is [`Memory`]: losing it costs
//! a wait, never a record. No decision reads the StreamJob's status, apart from counters that only status keeps.

mod back_off;
mod change;
mod decide;
mod deletion;
mod deployment;
mod failures;
mod pods;
mod restarts;
mod running;
mod status;
mod upgrade;
mod world;

pub use back_off::BackOff;
pub use change::{Change, resolve_change, spec_hash};
pub use decide::decide;
pub use deployment::{Certificate, Deployment, Ended, Mode, Notes, RecordError, Recorded, Refused, Stable};
pub use failures::Reason;
pub use pods::{Crash, PodHealth, resolve_health};
pub use restarts::Mark;
pub use world::{
    Action, Call, CallKind, CallRecord, Checkpoint, Control, Deployed, Memory, NodeHealth, Notice, Outcome, Plan,
    PodView, Removal, Report, RunState, TaskView, Terminated, Waiting, Wanted, World,
};

#[cfg(test)]
mod tests;
