//! What to do next for one job: observed world in, plan out. Pure: no client, no clock, nothing random.
//!
//! Level-triggered: a plan is one small step from what is there towards what is wanted, and the next look decides anew. What
//! must survive the operator is in the objects: the StatefulSet's annotation ([`Deployment`]) says what is deployed, which
//! deployment was stable, what was refused. What only saves time (calls under way, back-off) is [`Memory`]: losing it costs
//! a wait, never a record. No decision reads the StreamJob's status, apart from counters that only status keeps.

// What is seen, and what is answered.
mod call;
mod deployment;
mod memory;
mod plan;
mod pod_view;
mod report;
mod world;

// The decision, from its door inwards.
mod change;
mod decide;
mod deletion;
mod running;
mod suspend;
mod upgrade;

mod back_off;
mod certificate;
mod failing;
mod pods;
mod preflight;
mod reason;
mod requests;
mod rescale;
mod restarts;
mod rollback;
mod status;
mod stop;

pub use back_off::BackOff;
pub use call::{Call, CallKind, CallRecord, Outcome};
pub use certificate::Certificate;
pub use change::{Change, resolve_change, spec_hash};
pub use decide::decide;
pub use deployment::{Deployment, Ended, Mode, Notes, RecordError, Recorded, Refused, Stable};
pub use memory::Memory;
pub use plan::{Action, Notice, Plan, Removal};
pub use pod_view::{PodView, TaskView, Terminated, Waiting};
pub use pods::{Crash, PodHealth, resolve_health};
pub use reason::Reason;
pub use report::{Checkpoint, Control, Report, RunState};
pub use restarts::Mark;
pub use world::{Deployed, NodeHealth, Wanted, World};

#[cfg(test)]
mod tests;
