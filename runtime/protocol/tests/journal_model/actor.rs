//! One coordinator: the real journal machine, driven through claims, checkpoints, aborts and deletions.

use std::sync::Arc;

use weir_protocol::defects::Defects;
use weir_protocol::ids::{CheckpointId, JobId, Millis, Sequence};
use weir_protocol::journal::{
    AttemptId, CheckpointEntry, Draft, EntryKind, FencedBy, Head, JournalAction, JournalMachine, Owner, RevisionRule,
    StartDecision, StartRequest, resolve_start,
};
use weir_protocol::{ManifestKind, ObjectRef, layout};

use crate::world::{Blob, World};

/// Entries kept: as few as the protocol allows.
const KEEP: u64 = 2;
/// How often a start whose claim came too late opens the journal again, at most.
const REOPENED: u8 = 1;
/// Checkpoints retained: as few as possible, so that objects are deleted early.
const RETAINED: usize = 1;

/// A call that was sent and is not answered.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Call {
    List,
    Read(Sequence),
    Create(Sequence, Blob),
}

/// What a coordinator is doing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Stage {
    Down,
    Opening,
    Claiming,
    Running,
    /// The manifest is stored, the entry is certainly not.
    Stored(CheckpointId),
    Appending(CheckpointId),
}

/// One coordinator process after another under one name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    pub name: char,
    pub incarnation: u8,
    pub stage: Stage,
    pub call: Option<Call>,
    pub trim: Option<Sequence>,
    journal: JournalMachine,
    /// How often this process opened the journal again.
    reopened: u8,
    used: CheckpointId,
    defects: Defects,
}

impl Actor {
    pub fn new(name: char, defects: Defects) -> Self {
        Self {
            name,
            incarnation: 0,
            stage: Stage::Down,
            call: None,
            trim: None,
            journal: JournalMachine::new(KEEP),
            reopened: 0,
            used: CheckpointId(0),
            defects,
        }
    }

    pub fn writer(&self) -> String {
        format!("{}{}", self.name, self.incarnation)
    }

    /// A process begins; the one before is gone.
    pub fn start(&mut self) {
        *self = Self { incarnation: self.incarnation + 1, ..Self::new(self.name, self.defects) };
        self.journal = JournalMachine::new(KEEP).with_defects(self.defects);
        self.stage = Stage::Opening;
        self.call = Some(Call::List);
        self.journal.open();
    }

    /// The process is gone and stays away.
    fn leave(&mut self) {
        *self = Self { incarnation: self.incarnation, ..Self::new(self.name, self.defects) };
    }

    /// The checkpoint to go on with: a new one, or one whose entry could not be written. None while the journal is busy.
    pub fn wants_checkpoint(&self, may_trigger: bool) -> Option<CheckpointId> {
        match self.stage {
            Stage::Running if may_trigger && self.journal.is_ready() => Some(self.used.next()),
            Stage::Stored(checkpoint) => Some(checkpoint),
            Stage::Down | Stage::Opening | Stage::Claiming | Stage::Running | Stage::Appending(_) => None,
        }
    }

    /// Stores the manifest and begins to append its entry.
    pub fn publish(&mut self, checkpoint: CheckpointId, world: &mut World) -> Result<(), String> {
        self.used = self.used.max(checkpoint);
        let (head, dropped) = self.next_head(checkpoint);
        if self.defects.delete_before_entry {
            world.delete(dropped)?;
        }
        self.stage = Stage::Appending(checkpoint);
        self.append(EntryKind::Checkpoint { checkpoint }, head);
        Ok(())
    }

    /// Gives the checkpoint up.
    pub fn abort(&mut self, checkpoint: CheckpointId, world: &mut World) -> Result<(), String> {
        self.used = self.used.max(checkpoint);
        self.stage = Stage::Running;
        world.abort(checkpoint)
    }

    /// Begins to re-validate its reign if it can.
    pub fn validate(&mut self) -> bool {
        let actions = if self.stage == Stage::Running { self.journal.validate() } else { Vec::new() };
        if !actions.is_empty() {
            self.call = Some(Call::List);
        }
        !actions.is_empty()
    }

    /// Feeds the machine's actions back; checks what it concludes.
    pub fn react(&mut self, actions: Vec<JournalAction>, world: &mut World) -> Result<(), String> {
        for action in actions {
            match action {
                JournalAction::List => self.call = Some(Call::List),
                JournalAction::Read { sequence } => self.call = Some(Call::Read(sequence)),
                JournalAction::Create { sequence, bytes } => self.call = Some(Call::Create(sequence, Blob::new(bytes))),
                JournalAction::Delete { sequence } => self.trim = Some(sequence),
                JournalAction::Opened => self.claim(),
                JournalAction::Appended { sequence } => self.appended(sequence, world)?,
                JournalAction::NotAppended => self.not_appended(),
                JournalAction::Valid => {}
                JournalAction::Fenced(by) => self.fenced(&by, world)?,
                JournalAction::Unreadable { key, reason } => return Err(format!("{key}: {reason}")),
            }
        }
        Ok(())
    }

    pub fn journal(&mut self) -> &mut JournalMachine {
        &mut self.journal
    }

    fn head(&self) -> &Head {
        &self.journal.head().expect("a reigning coordinator has a head").head
    }

    fn claim(&mut self) {
        let found = self.journal.head().map(|entry| &entry.head);
        let request = StartRequest {
            owner: Owner::local(),
            fresh_job_id: JobId::from("job"),
            revision: RevisionRule::OnRequest,
            hash: String::new(),
            restore_from: None,
        };
        let Ok(StartDecision::Claim { kind, head }) = resolve_start(found, &request) else {
            panic!("a running job can be claimed")
        };
        self.used = head.reserved_ids;
        self.stage = Stage::Claiming;
        self.append(kind, *head);
    }

    fn append(&mut self, kind: EntryKind, mut head: Head) {
        // Ahead by all the epochs there can be, so that an id names one checkpoint of one coordinator.
        head.reserved_ids = CheckpointId(self.used.0 + 3);
        // Named by what is attempted, not counted: an append that certainly did not happen leaves no trace in the state.
        let attempt = AttemptId(format!("{}-{}", self.writer(), self.used));
        let draft = Draft { kind, head, attempt, written_at: Millis(0) };
        let actions = self.journal.append(draft).expect("only called when ready");
        let [JournalAction::Create { sequence, bytes }] = &actions[..] else {
            panic!("an append begins with a create")
        };
        self.call = Some(Call::Create(*sequence, Blob::new(Arc::clone(bytes))));
    }

    /// The head with the checkpoint in it, and the objects it stops naming.
    fn next_head(&self, id: CheckpointId) -> (Head, Vec<String>) {
        let mut head = self.head().clone();
        head.complete(CheckpointEntry {
            id,
            generation: head.generation,
            kind: ManifestKind::Checkpoint,
            manifest: ObjectRef::of(layout::manifest_key(id, head.generation), b""),
            triggered_at: Millis(0),
            completed_at: Millis(0),
            bytes_full: 0,
            bytes_incremental: 0,
        });
        head.pending_commits.clear();
        let dropped = head.retire(RETAINED);
        (head, dropped.into_iter().map(|entry| entry.manifest.key).collect())
    }

    fn appended(&mut self, sequence: Sequence, world: &mut World) -> Result<(), String> {
        if !world.counts(sequence, &self.writer()) {
            return Err(format!("{} counts an entry that is not part of the history: {sequence}", self.writer()));
        }
        if let Stage::Appending(_) = self.stage {
            let before = &world.history[usize::try_from(sequence.0 - 2).expect("small")].entry.head;
            let after = self.head();
            let dropped = before.checkpoints.iter().filter(|old| after.checkpoint(old.id).is_none());
            let dropped: Vec<String> = dropped.map(|old| old.manifest.key.clone()).collect();
            world.delete(dropped)?;
        }
        self.stage = Stage::Running;
        Ok(())
    }

    fn not_appended(&mut self) {
        match self.stage {
            Stage::Claiming => self.claim(),
            Stage::Appending(checkpoint) => self.stage = Stage::Stored(checkpoint),
            Stage::Down | Stage::Opening | Stage::Running | Stage::Stored(_) => {}
        }
    }

    fn fenced(&mut self, by: &FencedBy, world: &World) -> Result<(), String> {
        let known = self.journal.head().map(|entry| entry.sequence);
        if !world.has_foreign_after(known, &self.writer()) {
            return Err(format!("{} is fenced by its own write", self.writer()));
        }
        let read = self.journal.head().map(|entry| entry.head.generation);
        if self.stage == Stage::Claiming && read.is_some() && by.generation == read && self.reopened < REOPENED {
            self.reopened += 1;
            self.stage = Stage::Opening;
            self.call = Some(Call::List);
            self.journal.open();
        } else {
            self.leave();
        }
        Ok(())
    }
}
