//! What a process of the runtime says by its exit code. The Weir operator decides by these, so they never change.
//!
//! | code | meaning | what helps |
//! |---|---|---|
//! | 0 | done: the job is stopped or finished durably, or the process was asked to go (SIGTERM) | nothing needs to: a restarted container serves status and deploys nothing once the job has settled |
//! | 1 | a failure that may pass | starting again |
//! | 2 | refused for what the user gave: the resolved job, the image, the storage's contents | a change by the user |
//! | 3 | fenced: another process has taken the job over | a new pod, if this was the one that should run |

/// The job is stopped or finished durably, or the process was asked to go.
pub const DONE: u8 = 0;
/// A failure that may pass: starting again may help.
pub const FAILED: u8 = 1;
/// Refused for what the user gave: starting again does not help.
pub const REFUSED: u8 = 2;
/// Another process has taken the job over.
pub const FENCED: u8 = 3;
