//! Random orders, outcomes, failures and crashes. The simulation checks every commit and deletion; here: ids are unique,
//! the history is linear, no committed output is lost, and once everything answers the job gets on.
//! A failing case prints its seed; proptest repeats the recorded ones first.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::sim::*;
use crate::coordinator::*;
use crate::ids::Millis;
use crate::journal::JournalAction;
use crate::journal::machine::{CreateOutcome, ReadOutcome};

/// A step: what to do, and which of the things at hand to do it to.
type Step = (u8, u16);

struct Random {
    sim: Sim,
    pending: Vec<Action>,
    triggered: BTreeSet<u64>,
}

impl Random {
    fn handle(&mut self, event: Event) {
        let actions = {
            let before = self.sim.log.len();
            self.sim.hold = Hold {
                deploy: true,
                acks: true,
                manifest: true,
                creates: true,
                commits: true,
                copies: true,
                loads: true,
                lists: true,
            };
            self.sim.send(event);
            self.sim.log[before..].to_vec()
        };
        for action in actions {
            if let Action::Trigger(barrier) = &action {
                assert!(self.triggered.insert(barrier.checkpoint.0), "id {} is used twice", barrier.checkpoint);
            }
        }
        self.pending.append(&mut self.sim.held);
    }

    fn step(&mut self, (what, which): Step) {
        match what {
            0..=9 if !self.pending.is_empty() => {
                let action = self.pending.remove(usize::from(which) % self.pending.len());
                let events = if what < 7 { self.sim.answer(action) } else { self.answer_badly(action, what) };
                for event in events {
                    self.handle(event);
                }
            }
            0..=9 => self.handle(Event::Tick),
            10..=12 => {
                self.sim.now += i64::from(which % 200);
                self.handle(Event::Tick);
            }
            13 => {
                if let Some(generation) = self.sim.coordinator.generation() {
                    self.handle(Event::Failed { generation, reason: "boom".into(), random: 0.5 });
                }
            }
            14 if which % 4 == 0 => {
                self.pending.clear();
                self.sim.now += i64::from(which % 5_000);
                self.sim.processes += 1;
                let attempts = crate::journal::Attempts::new(format!("p{}", self.sim.processes));
                self.sim.coordinator = Coordinator::new(self.sim.config.clone(), self.sim.request.clone(), attempts);
                self.handle(Event::Start);
            }
            14 => self.handle(Event::CheckpointRequest(RequestId(u64::from(which)))),
            _ => self.handle(Event::SavepointRequest(RequestId(u64::from(which)), format!("s{}", which % 3))),
        }
    }

    /// An answer that says that it failed, whether it did or not.
    fn answer_badly(&mut self, action: Action, what: u8) -> Vec<Event> {
        let done = what == 8;
        match action {
            Action::Journal(JournalAction::Create { sequence, bytes }) => {
                if done {
                    self.sim.land(sequence, &bytes);
                }
                let outcome = if what == 9 { CreateOutcome::NotDone } else { CreateOutcome::Unknown };
                vec![Event::JournalCreated(sequence, outcome)]
            }
            Action::Journal(JournalAction::List) => vec![Event::JournalListed(None)],
            Action::Journal(JournalAction::Read { sequence }) => {
                vec![Event::JournalRead(sequence, ReadOutcome::Failed)]
            }
            Action::PutManifest { checkpoint, guarded: true, .. } if what == 7 => {
                vec![Event::ManifestWithdrawn(checkpoint)]
            }
            Action::PutManifest { checkpoint, key, bytes, .. } => {
                if done {
                    self.sim.outside.objects.insert(key, bytes);
                }
                vec![Event::ManifestStored(checkpoint, false)]
            }
            Action::Trigger(barrier) => {
                let cause = DeclineCause::Other("no".into());
                vec![Event::Declined { generation: barrier.generation, checkpoint: barrier.checkpoint, cause }]
            }
            other => self.sim.answer(other),
        }
    }

    /// Answers everything well for a while.
    fn calm(&mut self) {
        for _ in 0..100 {
            self.sim.now += 50;
            self.handle(Event::Tick);
            for action in std::mem::take(&mut self.pending) {
                for event in self.sim.answer(action) {
                    self.handle(event);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_history_is_linear_and_the_job_gets_on(steps in prop::collection::vec((0u8..16, any::<u16>()), 1..250)) {
        let sim = Sim::new(CoordinatorConfig { tolerable_failures: 2, ..config() });
        let mut random = Random { sim, pending: Vec::new(), triggered: BTreeSet::new() };
        random.handle(Event::Start);
        for step in steps {
            random.step(step);
            prop_assert!(random.sim.coordinator.next_wakeup(Millis(random.sim.now)).0 > random.sim.now);
        }
        random.calm();
        random.calm();
        let before = random.sim.coordinator.stats().completed;
        random.calm();
        let sim = &random.sim;
        prop_assert_eq!(sim.coordinator.status(), Status::Running);
        prop_assert!(sim.coordinator.stats().completed > before, "checkpoints go on");
        let head = sim.head();
        prop_assert!(head.checkpoints.len() <= sim.config.retained + 1, "{} are retained", head.checkpoints.len());
        prop_assert!(head.pending_commits.len() <= 1, "{:?} are not committed", &head.pending_commits);
        prop_assert_eq!(&head.savepoints[..], &[][..]);
        prop_assert!(sim.outside.journal.len() <= sim.config.journal_keep as usize + 1);
        let newest = head.newest().unwrap().id;
        let unnamed = sim.outside.objects.keys().filter(|key| key.starts_with("manifests/")).count();
        prop_assert!(unnamed <= head.checkpoints.len() + 1, "{unnamed} manifests are left at {newest}");
    }
}
