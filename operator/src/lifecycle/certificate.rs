//! When a job's certificate is replaced, and the pods with it.

use jiff::Timestamp;
use weir_api::ResolvedJob;
use weir_api::status::JobState;

use super::decide::{SOON, Step, renumbered};
use super::deployment::{Mode, Notes};
use super::world::Deployed;

/// When a certificate is replaced. It is valid for a year; see DESIGN 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// More than half of its time is left.
    Keep,
    /// Replaced when pods are replaced anyway.
    WithPods,
    /// Pods are replaced for it.
    Now,
}

impl Certificate {
    /// Validity of a leaf, in seconds.
    const VALID: i64 = 365 * 86_400;

    /// What is due for a certificate issued at `issued`.
    pub fn due(issued: Option<Timestamp>, now: Timestamp) -> Certificate {
        let Some(issued) = issued else { return Certificate::WithPods };
        let left = Self::VALID - now.duration_since(issued).as_secs();
        if left * 5 < Self::VALID {
            Certificate::Now
        } else if left * 2 < Self::VALID {
            Certificate::WithPods
        } else {
            Certificate::Keep
        }
    }
}

impl Step<'_> {
    /// The stop ladder for the sake of a certificate that is nearly over.
    pub(super) fn renew_certificate(&mut self, deployed: &Deployed, resolved: &ResolvedJob) {
        self.said.state(JobState::Restarting);
        self.said.progressing("RenewingCertificate", "the certificate is nearly over: pods are replaced for a new one");
        self.again = SOON;
        if self.stopped(deployed) {
            let number = self.number(deployed.number);
            // Only a new pod reads the new certificate, however the deployment before came to its pods.
            let notes = Notes { mode: Mode::Replace, ..deployed.notes.clone() };
            self.deploy(renumbered(resolved, number), deployed.serial, 1, notes);
        }
    }
}
