//! Breadth-first exploration of all interleavings.

#![expect(clippy::disallowed_types, reason = "only membership of the visited set is asked, its order leaks nowhere")]

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;

use weir_protocol::defects::Defects;
use weir_protocol::journal::machine::{CreateOutcome, ReadOutcome};

use crate::actor::{Actor, Call, Stage};
use crate::world::World;

/// How much is explored.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub actors: u8,
    /// Checkpoints triggered, over all coordinators.
    pub epochs: u8,
    /// Processes that begin again, after a crash or after they were fenced, over all coordinators.
    pub restarts: u8,
    /// Coordinators also re-validate their reign without appending.
    pub validate: bool,
    /// A create that was repeated with success may arrive once more, much later.
    pub late_duplicates: bool,
}

/// What was found.
pub struct Report {
    pub states: usize,
    pub transitions: u64,
    /// Most checkpoints published in one history.
    pub published: usize,
    /// Somebody won an emptied slot.
    pub junk: bool,
    pub trimmed: bool,
    /// A shortest path to a violation.
    pub violation: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, {} transitions", self.states, self.transitions)
    }
}

#[derive(Clone, Hash)]
struct State {
    world: World,
    actors: Vec<Actor>,
    restarts: u8,
}

struct Node {
    parent: usize,
    step: String,
}

type Next = (String, Result<State, String>);

/// Explores everything within `bounds`.
pub fn explore(bounds: Bounds, defects: Defects) -> Report {
    let start = |index| {
        let mut actor = Actor::new(char::from(b'A' + index), defects);
        actor.start();
        actor
    };
    let world = World { late_duplicates: bounds.late_duplicates, ..World::default() };
    let first = State { world, actors: (0..bounds.actors).map(start).collect(), restarts: 0 };
    let mut report = Report { states: 1, transitions: 0, published: 0, junk: false, trimmed: false, violation: None };
    let mut visited: HashSet<u128> = HashSet::from([fingerprint(&first)]);
    let mut nodes = vec![Node { parent: 0, step: String::new() }];
    let mut queue = VecDeque::from([(0, first)]);
    while let Some((index, state)) = queue.pop_front() {
        for (step, next) in successors(&state, bounds) {
            report.transitions += 1;
            let next = match next.and_then(|next| next.world.check().map(|()| next)) {
                Ok(next) => next,
                Err(violation) => {
                    report.violation = Some(trace(&nodes, index, &step, &violation));
                    return report;
                }
            };
            if visited.insert(fingerprint(&next)) {
                report.observe(&next);
                nodes.push(Node { parent: index, step });
                queue.push_back((nodes.len() - 1, next));
            }
        }
    }
    report
}

impl Report {
    fn observe(&mut self, state: &State) {
        self.states += 1;
        self.junk |= state.world.has_junk();
        self.trimmed |= state.world.history.len() > 2 && state.world.journal.len() <= 2;
        let published = state.world.history.iter().filter(|landed| landed.entry.kind.name() == "checkpoint").count();
        self.published = self.published.max(published);
    }
}

fn fingerprint(state: &State) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    state.hash(&mut hasher);
    hasher.digest128()
}

fn trace(nodes: &[Node], index: usize, step: &str, violation: &str) -> String {
    let mut steps = vec![step];
    let mut index = index;
    while index != 0 {
        steps.push(&nodes[index].step);
        index = nodes[index].parent;
    }
    steps.reverse();
    format!("{violation}\n  {}", steps.join("\n  "))
}

fn successors(state: &State, bounds: Bounds) -> Vec<Next> {
    let mut out = Vec::new();
    for index in 0..state.actors.len() {
        let mut steps = Steps { state, index, bounds, out: &mut out };
        steps.restart();
        steps.call();
        steps.checkpoint();
        steps.trim();
    }
    // One that finds its slot taken changes nothing; it is as if it came after the slot was emptied, or never.
    for (sequence, blob) in
        state.world.in_transit.iter().filter(|(sequence, _)| !state.world.journal.contains_key(sequence))
    {
        let mut next = state.clone();
        next.world.in_transit.remove(&(*sequence, blob.clone()));
        let landed = next.world.land(*sequence, blob);
        out.push((format!("a lost create of {sequence} arrives"), landed.map(|_| next)));
    }
    out
}

struct Steps<'a> {
    state: &'a State,
    index: usize,
    bounds: Bounds,
    out: &'a mut Vec<Next>,
}

impl Steps<'_> {
    fn actor(&self) -> &Actor {
        &self.state.actors[self.index]
    }

    fn push(&mut self, step: &str, change: impl FnOnce(&mut Actor, &mut World) -> Result<(), String>) {
        let mut next = self.state.clone();
        let result = change(&mut next.actors[self.index], &mut next.world);
        self.out.push((format!("{}: {step}", self.actor().writer()), result.map(|()| next)));
    }

    /// A crash and a new process in one: the new one's first call may come at any time. What the old one had sent may
    /// still arrive.
    fn restart(&mut self) {
        if self.state.restarts == self.bounds.restarts {
            return;
        }
        let mut next = self.state.clone();
        next.restarts += 1;
        let actor = &mut next.actors[self.index];
        if let Some(Call::Create(sequence, blob)) = actor.call.take() {
            next.world.lose(sequence, blob);
        }
        actor.start();
        self.out.push((format!("{}: crashes and begins again", self.actor().writer()), Ok(next)));
    }

    /// The outstanding call of the journal.
    fn call(&mut self) {
        match self.actor().call.clone() {
            None => {}
            Some(Call::List) => self.push("lists", |actor, world| {
                actor.call = None;
                let newest = world.newest();
                let actions = actor.journal().handle_listed(Some(&newest));
                actor.react(actions, world)
            }),
            Some(Call::Read(sequence)) => self.push("reads", |actor, world| {
                actor.call = None;
                let found = world.journal.get(&sequence);
                let outcome = found.map_or(ReadOutcome::Absent, |blob| ReadOutcome::Found(blob.bytes.to_vec()));
                let actions = actor.journal().handle_read(sequence, outcome);
                actor.react(actions, world)
            }),
            Some(Call::Create(sequence, blob)) => {
                let sent = blob.clone();
                self.push("creates", |actor, world| {
                    actor.call = None;
                    let landed = world.land(sequence, &sent)?;
                    let outcome = if landed { CreateOutcome::Done } else { CreateOutcome::Exists };
                    let actions = actor.journal().handle_created(sequence, outcome);
                    actor.react(actions, world)
                });
                self.push("creates, known to be without effect", |actor, world| {
                    actor.call = None;
                    let actions = actor.journal().handle_created(sequence, CreateOutcome::NotDone);
                    actor.react(actions, world)
                });
                // Whether, and when, it arrives is a step of its own.
                self.push("creates, no answer", |actor, world| {
                    actor.call = None;
                    world.lose(sequence, blob);
                    let actions = actor.journal().handle_created(sequence, CreateOutcome::Unknown);
                    actor.react(actions, world)
                });
            }
        }
        // A failed list or read is asked for again: the state does not change.
    }

    /// A checkpoint up to the append, or its abort. What lies between trigger and append touches nothing that others see, so it is
    /// one step; a manifest that cannot be stored is an abort.
    fn checkpoint(&mut self) {
        let may_trigger = self.state.world.triggered < self.bounds.epochs;
        if let Some(checkpoint) = self.actor().wants_checkpoint(may_trigger) {
            let triggers = u8::from(self.actor().stage == Stage::Running);
            self.push("stores a manifest and appends", |actor, world| {
                world.triggered += triggers;
                actor.publish(checkpoint, world)
            });
            self.push("aborts a checkpoint", |actor, world| {
                world.triggered += triggers;
                actor.abort(checkpoint, world)
            });
        }
        if self.bounds.validate && self.actor().clone().validate() {
            self.push("validates", |actor, _| {
                actor.validate();
                Ok(())
            });
        }
    }

    fn trim(&mut self) {
        let Some(sequence) = self.actor().trim else { return };
        // One that is not done is as if it came later, or never.
        for (step, gone) in [("trims", true), ("trims, no answer", false)] {
            self.push(step, |actor, world| {
                actor.trim = None;
                world.journal.remove(&sequence);
                let actions = actor.journal().handle_deleted(sequence, gone);
                actor.react(actions, world)
            });
        }
    }
}
