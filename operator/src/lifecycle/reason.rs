//! Why a pod or a job failed, in a closed list of words: for status, events and the metric's label.

/// Why a job was restarted, or cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The kernel killed the process: more memory than `worker.memory`.
    OutOfMemory,
    /// The process ended with a failure that may pass.
    Crashed,
    /// A signal ended the process.
    Killed,
    /// The process refused what it was given: starting again does not help.
    Refused,
    /// Another process took the job over.
    Fenced,
    /// The process ended although the job is to run.
    Exited,
    /// The image cannot be pulled.
    Image,
    /// The container cannot be made: a Secret or a key is missing.
    Configuration,
    /// No node takes the pod.
    Unschedulable,
    /// The API server refuses the pod: quota, limits, admission.
    NotAdmitted,
    /// The node wanted its room back.
    Evicted,
    /// The pod's node is gone.
    NodeGone,
    /// No checkpoint although the storage answers.
    NoProgress,
    /// Somebody removed the pod.
    PodDeleted,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 14] = [
        Reason::OutOfMemory,
        Reason::Crashed,
        Reason::Killed,
        Reason::Refused,
        Reason::Fenced,
        Reason::Exited,
        Reason::Image,
        Reason::Configuration,
        Reason::Unschedulable,
        Reason::NotAdmitted,
        Reason::Evicted,
        Reason::NodeGone,
        Reason::NoProgress,
        Reason::PodDeleted,
    ];

    /// The word, in status and in metrics; like the runtime's own reasons, which stand beside it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::OutOfMemory => "out_of_memory",
            Reason::Crashed => "crashed",
            Reason::Killed => "killed",
            Reason::Refused => "refused",
            Reason::Fenced => "fenced",
            Reason::Exited => "exited",
            Reason::Image => "image",
            Reason::Configuration => "configuration",
            Reason::Unschedulable => "unschedulable",
            Reason::NotAdmitted => "not_admitted",
            Reason::Evicted => "evicted",
            Reason::NodeGone => "node_gone",
            Reason::NoProgress => "no_progress",
            Reason::PodDeleted => "pod_deleted",
        }
    }

    /// The word of conditions and events.
    pub fn title(self) -> &'static str {
        match self {
            Reason::OutOfMemory => "OutOfMemory",
            Reason::Crashed => "Crashed",
            Reason::Killed => "Killed",
            Reason::Refused => "Refused",
            Reason::Fenced => "Fenced",
            Reason::Exited => "Exited",
            Reason::Image => "ImageNotPulled",
            Reason::Configuration => "ConfigurationMissing",
            Reason::Unschedulable => "Unschedulable",
            Reason::NotAdmitted => "PodNotAdmitted",
            Reason::Evicted => "Evicted",
            Reason::NodeGone => "NodeGone",
            Reason::NoProgress => "NoCheckpointProgress",
            Reason::PodDeleted => "PodDeleted",
        }
    }

    /// What a person can do about it.
    pub fn way_out(self) -> &'static str {
        match self {
            Reason::OutOfMemory => "raise spec.worker.memory",
            Reason::Crashed | Reason::Exited => "look at the pod's previous log and its termination message",
            Reason::Killed => "look at the pod's events for who killed it",
            Reason::Refused => "mend what the message names in the spec, or in the bucket and change spec.restartNonce",
            Reason::Fenced => "look for another process that runs this job: it holds the journal",
            Reason::Image => "mend spec.image or spec.pod.imagePullSecrets, or the registry",
            Reason::Configuration => "create the Secret and the key that the message names",
            Reason::Unschedulable => {
                "add a node with room, or lower spec.worker, or mend spec.pod.nodeSelector and tolerations"
            }
            Reason::NotAdmitted => "raise the namespace's quota or limits, or lower spec.worker",
            Reason::Evicted => "lower spec.worker.disk or give the node more room",
            Reason::NodeGone => "nothing: the pod runs elsewhere",
            Reason::NoProgress => "look at the job's metrics for backpressure and at spec.checkpoint.timeout",
            Reason::PodDeleted => "nothing: the job goes on from its latest checkpoint",
        }
    }
}
