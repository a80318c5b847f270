//! Random operations, barriers, aborts, restores and rescales, compared with the reference after every step.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use weir_protocol::RunKind;
use weir_state::{BackendKind, Defects, MemoryBudget, RestoreChain, hash_key};

use crate::cluster::{Cluster, Setup, Worker, planted};
use crate::model::{Model, Random};

/// What a scenario does.
#[derive(Clone, Copy)]
pub struct Plan {
    pub backend: BackendKind,
    pub memory: MemoryBudget,
    pub steps: u64,
    pub keys: u64,
    /// Keys that one step in eight changes together; 0 for steps of one key only.
    pub burst: u64,
    pub defects: Defects,
}

/// Small for thousands of keys: changes are spilled before the barrier, though not before the tables of two subtasks have some
/// thousand entries; clean holds a fraction of them.
const SMALL: MemoryBudget = MemoryBudget { total: 9 << 20, write: 8 << 20, builders: 1 << 20 };

pub const TINY: MemoryBudget = MemoryBudget { total: 30 << 10, write: 24 << 10, builders: 1 << 20 };

struct Run {
    cluster: Cluster,
    setup: Setup,
    model: Model,
    random: Random,
    epoch: u64,
    generation: u64,
    /// The last acknowledged checkpoint.
    saved: (RestoreChain, Model),
    keys: u64,
    burst: u64,
    seen: Seen,
}

/// What happened, for tests that would be worth nothing without it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls of maintenance that moved a slice of a layer and left the rest.
    pub slices: u64,
    /// Checkpoints of which an epoch has more than one run per worker.
    pub early_runs: u64,
    /// State was ingested into RocksDB.
    pub ingested: bool,
    pub restores: u64,
}

type Checked = Result<(), String>;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, key: &dyn std::fmt::Debug, found: T, expected: T) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{what} of {key:?}: found {found:?}, expected {expected:?}")) }
}

/// Runs a scenario; says what differs from the reference.
pub fn run(plan: Plan, seed: u64) -> Result<Seen, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(seed);
    let mut setup = Setup::new(plan.backend, dir.path());
    setup.memory = plan.memory;
    setup.defects = plan.defects;
    setup.base_max_runs = 2 + random.below(6) as usize;
    setup.base_min_bytes = 1 << 30;
    // Not drawn, so that a seed that was noted repeats what it did. Three in four divide the key groups.
    setup.base_parts = 1 + (seed % 4) as usize;
    setup.base_part_bytes = 0;
    setup.max_file_bytes = if random.chance(50) { 4 << 10 } else { 256 << 20 };
    let cluster = Cluster::deploy(&setup, 1, 1, 2, None).unwrap();
    let mut run = Run {
        cluster,
        setup,
        model: Model::default(),
        random,
        epoch: 0,
        generation: 1,
        saved: Default::default(),
        keys: plan.keys,
        burst: plan.burst,
        seen: Seen::default(),
    };
    for step in 0..plan.steps {
        run.step().map_err(|what| format!("step {step}: {what}"))?;
    }
    run.compare_all()?;
    run.cluster.kill();
    Ok(run.seen)
}

impl Run {
    fn key(&mut self) -> String {
        // Few keys, of lengths on both sides of what is hashed on the stack; one with bytes that need escaping.
        let number = self.random.below(self.keys);
        match number % 5 {
            0 => format!("k\0{number}\u{1}"),
            1 => format!("{}-{number}", "long".repeat(20)),
            _ => format!("key{number}"),
        }
    }

    fn step(&mut self) -> Checked {
        if self.burst > 0 && self.random.chance(12) {
            return self.change_many();
        }
        match self.random.below(1000) {
            0..=239 => self.value(),
            240..=389 => self.text(),
            390..=619 => self.map(),
            620..=739 => self.list(),
            740..=849 => self.timer(),
            850..=889 => self.rule(),
            890..=919 => {
                self.maintain();
                Ok(())
            }
            920..=934 => self.prefetch(),
            935..=974 => self.checkpoint(),
            975..=984 => self.aborted_checkpoint(),
            985..=991 => self.restore(),
            _ => self.compare_all(),
        }
    }

    fn maintain(&mut self) {
        for worker in &mut self.cluster.workers {
            for subtask in &mut worker.subtasks {
                self.seen.slices += u64::from(subtask.backend.maintain());
            }
            self.seen.ingested |= worker.store.stats().ingesting;
        }
    }

    /// Changes values, maps, lists and timers of thousands of keys, in batches as an operator does.
    fn change_many(&mut self) -> Checked {
        let removes = self.random.chance(20);
        let keys: Vec<String> = (0..self.burst).map(|_| self.key()).collect();
        for batch in keys.chunks(500) {
            self.wait_for_room();
            for key in batch {
                let held = self.model.values.get(key).copied();
                let at = (self.random.below(50)) as i64;
                let (subtask, hash) = self.cluster.subtask(key);
                let value = subtask.backend.value_mut(subtask.value).entry(hash, key).unwrap();
                same("value", key, *value, held)?;
                *value = (!removes).then(|| held.unwrap_or(0) + 1);
                match *value {
                    Some(value) => drop(self.model.values.insert(key.clone(), value)),
                    None => drop(self.model.values.remove(key)),
                }
                let list = self.model.lists.entry(key.clone()).or_default();
                let map = self.model.maps.entry(key.clone()).or_default();
                if removes {
                    subtask.backend.list_mut(subtask.list).clear(hash, key).unwrap();
                    list.clear();
                    subtask.backend.map_mut(subtask.map).remove(hash, key, &at).unwrap();
                    map.remove(&at);
                    subtask.backend.timers_mut(subtask.timers).delete(at, hash, key).unwrap();
                    self.model.timers.remove(&(at, key.clone()));
                } else {
                    subtask.backend.list_mut(subtask.list).push(hash, key, at as u32).unwrap();
                    list.push(at as u32);
                    subtask.backend.map_mut(subtask.map).insert(hash, key, at, "burst".into()).unwrap();
                    map.insert(at, "burst".into());
                    subtask.backend.timers_mut(subtask.timers).register(at, hash, key).unwrap();
                    self.model.timers.insert((at, key.clone()));
                }
            }
        }
        Ok(())
    }

    /// Maintains until no subtask must pause, as the engine does between batches.
    fn wait_for_room(&mut self) {
        crate::cluster::wait_until("there is room", || {
            self.maintain();
            !self.cluster.all().any(|subtask| subtask.backend.must_pause())
        });
    }

    fn value(&mut self) -> Checked {
        let key = self.key();
        let number = self.random.next() >> self.random.below(64);
        let choice = self.random.below(6);
        let held = self.model.values.get(&key).copied();
        let (subtask, hash) = self.cluster.subtask(&key);
        let table = subtask.backend.value_mut(subtask.value);
        match choice {
            0 => {
                table.set(hash, &key, number).unwrap();
                self.model.values.insert(key, number);
            }
            1 => {
                table.remove(hash, &key).unwrap();
                self.model.values.remove(&key);
            }
            2 => {
                let value = table.entry(hash, &key).unwrap();
                same("value", &key, *value, held)?;
                *value = None;
                self.model.values.remove(&key);
            }
            3 => {
                let value = table.entry(hash, &key).unwrap();
                same("value", &key, *value, held)?;
                *value = Some(held.unwrap_or(0).wrapping_add(1));
                self.model.values.insert(key, held.unwrap_or(0).wrapping_add(1));
            }
            _ => same("value", &key, table.get(hash, &key).unwrap().copied(), held)?,
        }
        Ok(())
    }

    fn text(&mut self) -> Checked {
        let key = self.key();
        let length = self.random.below(100) as usize;
        let choice = self.random.below(5);
        let held = self.model.texts.get(&key).cloned();
        let (subtask, hash) = self.cluster.subtask(&key);
        let table = subtask.backend.value_mut(subtask.text);
        match choice {
            0 | 1 => {
                let value = table.entry(hash, &key).unwrap();
                same("text", &key, value.clone(), held)?;
                *value = Some("t".repeat(length));
                self.model.texts.insert(key, "t".repeat(length));
            }
            2 => {
                table.remove(hash, &key).unwrap();
                self.model.texts.remove(&key);
            }
            _ => same("text", &key, table.get(hash, &key).unwrap().cloned(), held)?,
        }
        Ok(())
    }

    fn map(&mut self) -> Checked {
        let key = self.key();
        let user_key = self.random.below(40) as i64 - 20;
        let other = self.random.below(40) as i64 - 20;
        let choice = self.random.below(16);
        let (subtask, hash) = self.cluster.subtask(&key);
        let table = subtask.backend.map_mut(subtask.map);
        let held = self.model.maps.entry(key.clone()).or_default();
        match choice {
            0..=5 => {
                table.insert(hash, &key, user_key, format!("v{other}")).unwrap();
                held.insert(user_key, format!("v{other}"));
            }
            6 | 7 => {
                table.remove(hash, &key, &user_key).unwrap();
                held.remove(&user_key);
            }
            8 => {
                let value = table.entry(hash, &key, &user_key).unwrap();
                same("map entry", &key, value.clone(), held.get(&user_key).cloned())?;
                *value = (other > 0).then(|| "e".to_owned());
                match value {
                    Some(value) => drop(held.insert(user_key, value.clone())),
                    None => drop(held.remove(&user_key)),
                }
            }
            9 => {
                table.clear(hash, &key).unwrap();
                held.clear();
            }
            10 => same("map", &key, table.get(hash, &key, &user_key).unwrap().cloned(), held.get(&user_key).cloned())?,
            11 => same("is_empty", &key, table.is_empty(hash, &key).unwrap(), held.is_empty())?,
            12 => {
                let first = held.first_key_value().map(|(user_key, value)| (*user_key, value.clone()));
                let last = held.last_key_value().map(|(user_key, value)| (*user_key, value.clone()));
                same("first", &key, table.first(hash, &key).unwrap(), first)?;
                same("last", &key, table.last(hash, &key).unwrap(), last)?;
            }
            13 => {
                let expected: Vec<_> = held.iter().filter(|(k, _)| (user_key..other).contains(*k)).collect();
                let expected = expected.into_iter().map(|(k, v)| (*k, v.clone())).collect();
                same("range", &key, table.range(hash, &key, user_key..other).unwrap(), expected)?;
            }
            14 => {
                let mut found = Vec::new();
                table
                    .visit_range_descending(hash, &key, user_key.., |user_key, _| {
                        found.push(*user_key);
                        if found.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                    })
                    .unwrap();
                let expected: Vec<_> = held.range(user_key..).rev().take(3).map(|(user_key, _)| *user_key).collect();
                same("descending", &key, found, expected)?;
            }
            _ => {
                let expected = held.iter().map(|(k, v)| (*k, v.clone())).collect();
                same("all", &key, table.range(hash, &key, ..).unwrap(), expected)?;
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Checked {
        let key = self.key();
        let number = self.random.next() as u32;
        let choice = self.random.below(12);
        let (subtask, hash) = self.cluster.subtask(&key);
        let table = subtask.backend.list_mut(subtask.list);
        let held = self.model.lists.entry(key.clone()).or_default();
        match choice {
            0..=5 => {
                table.push(hash, &key, number).unwrap();
                held.push(number);
            }
            6 => {
                table.extend(hash, &key, [number, 1, 2]).unwrap();
                held.extend([number, 1, 2]);
            }
            7 => {
                table.clear(hash, &key).unwrap();
                held.clear();
            }
            8 => {
                table.replace(hash, &key, [7, number]).unwrap();
                *held = vec![7, number];
            }
            9 => same("list is_empty", &key, table.is_empty(hash, &key).unwrap(), held.is_empty())?,
            _ => same("list", &key, table.get(hash, &key).unwrap(), held.clone())?,
        }
        Ok(())
    }

    fn timer(&mut self) -> Checked {
        let key = self.key();
        let at = self.random.below(30) as i64;
        let choice = self.random.below(10);
        if choice == 9 {
            return self.fire(at / 4);
        }
        let (subtask, hash) = self.cluster.subtask(&key);
        let table = subtask.backend.timers_mut(subtask.timers);
        if choice < 7 {
            table.register(at, hash, &key).unwrap();
            self.model.timers.insert((at, key));
        } else {
            table.delete(at, hash, &key).unwrap();
            self.model.timers.remove(&(at, key));
        }
        Ok(())
    }

    fn fire(&mut self, up_to: i64) -> Checked {
        let mut fired = Vec::new();
        for subtask in self.cluster.all() {
            let table = subtask.backend.timers_mut(subtask.timers);
            let mut last = None;
            while let Some(timer) = table.pop_due(up_to) {
                if last.as_ref().is_some_and(|last| *last >= timer) {
                    return Err(format!("{timer:?} fired after {last:?}"));
                }
                last = Some(timer.clone());
                fired.push(timer);
            }
        }
        fired.sort();
        let later = self.model.timers.split_off(&(up_to + 1, String::new()));
        let expected = std::mem::replace(&mut self.model.timers, later).into_iter().collect();
        same("timers up to", &up_to, fired, expected)
    }

    fn rule(&mut self) -> Checked {
        let rule = self.random.below(20) as u16;
        let insert = self.random.chance(70);
        let text = format!("rule {}", self.random.below(1000));
        for subtask in self.cluster.all() {
            let table = subtask.backend.broadcast_mut(subtask.rules);
            if insert {
                table.insert(rule, text.clone());
            } else {
                table.remove(&rule);
            }
        }
        if insert {
            self.model.rules.insert(rule, text)
        } else {
            self.model.rules.remove(&rule)
        };
        Ok(())
    }

    fn prefetch(&mut self) -> Checked {
        let keys: Vec<String> = (0..10).map(|_| self.key()).collect();
        for key in keys {
            let (subtask, hash) = self.cluster.subtask(&key);
            subtask.backend.value_mut(subtask.value).prefetch([(hash, &key), (hash, &key)].into_iter()).unwrap();
            subtask.backend.map_mut(subtask.map).prefetch([(hash, &key, &3), (hash, &key, &4)].into_iter()).unwrap();
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Checked {
        self.epoch += 1;
        let checkpoint = self.cluster.checkpoint(self.epoch).map_err(|error| error.to_string())?;
        let runs = |epoch| checkpoint.chain.iter().filter(|run| run.kind == RunKind::Run && run.epoch == epoch).count();
        self.seen.early_runs += u64::from(runs(checkpoint.epoch) > self.cluster.workers.len());
        self.saved = (checkpoint, self.model.clone());
        self.cluster.acknowledge(self.epoch);
        Ok(())
    }

    fn aborted_checkpoint(&mut self) -> Checked {
        self.epoch += 1;
        let results = self.cluster.begin(self.epoch);
        // Some subtasks see the barrier, some only after the abort, some never.
        let choices: Vec<u64> = (0..self.cluster.parallelism).map(|_| self.random.below(3)).collect();
        let epoch = self.epoch;
        self.cluster.seal(epoch, |subtask| choices[subtask as usize] == 0);
        self.cluster.abort(epoch);
        self.cluster.seal(epoch, |subtask| choices[subtask as usize] == 1);
        drop(results);
        Ok(())
    }

    fn restore(&mut self) -> Checked {
        let parallelism = 1 + self.random.below(6) as u32;
        let workers = 1 + self.random.below(u64::from(parallelism.min(3))) as u32;
        if self.random.chance(20) {
            self.setup.backend = match self.setup.backend {
                BackendKind::RocksDb => BackendKind::Memory,
                BackendKind::Memory => BackendKind::RocksDb,
            };
        }
        self.generation += 1;
        let (chain, model) = self.saved.clone();
        self.epoch += 1;
        let restore = (chain.epoch.0 > 0).then_some(chain);
        // Mostly the old processes are gone when the new ones start; sometimes they live on for a while.
        let zombies = self.random.chance(30);
        if !zombies {
            std::mem::take(&mut self.cluster.workers).into_iter().for_each(Worker::kill);
        }
        if self.random.chance(30) {
            // The disk is lost, or as much of it as a process that is still writing lets go.
            let _ = std::fs::remove_dir_all(&self.setup.dir);
        }
        let next = Cluster::deploy(&self.setup, self.generation, workers, parallelism, restore)
            .map_err(|error| format!("restore: {error}: {:?}", std::error::Error::source(&error)))?;
        std::mem::replace(&mut self.cluster, next).kill();
        self.model = model;
        self.seen.restores += 1;
        self.compare_all()
    }

    fn compare_all(&mut self) -> Checked {
        let Model { values, texts, maps, lists, timers, rules } = &self.model;
        let mut keys: Vec<&String> = values.keys().chain(texts.keys()).chain(maps.keys()).chain(lists.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let (subtask, hash) = self.cluster.subtask(key);
            let backend = &mut subtask.backend;
            same("value", key, backend.value_mut(subtask.value).get(hash, key).unwrap(), values.get(key))?;
            same("text", key, backend.value_mut(subtask.text).get(hash, key).unwrap(), texts.get(key))?;
            let expected: BTreeMap<_, _> = maps.get(key).cloned().unwrap_or_default();
            let found = backend.map_mut(subtask.map).range(hash, key, ..).unwrap().into_iter().collect();
            same("map", key, found, expected)?;
            let expected = lists.get(key).cloned().unwrap_or_default();
            same("list", key, backend.list_mut(subtask.list).get(hash, key).unwrap(), expected)?;
        }
        let mut count = 0;
        for subtask in self.cluster.all() {
            let broadcast = subtask.backend.broadcast_mut(subtask.rules);
            let found: BTreeMap<_, _> = broadcast.iter().map(|(rule, text)| (*rule, text.clone())).collect();
            same("broadcast", &"rules", &found, rules)?;
            count += subtask.backend.timers_mut(subtask.timers).len();
        }
        same("number of timers", &"", count, timers.len())?;
        debug_assert_eq!(hash_key("a", &mut Vec::new()), hash_key(&"a".to_owned(), &mut Vec::new()));
        Ok(())
    }
}

/// Runs a plan under several seeds, or under the one that `WEIR_SEED` names, and prints the one that fails: by a difference, or because
/// what is `expected` to happen did not.
pub fn check(name: &str, plan: Plan, seeds: u64, expected: impl Fn(&Seen) -> bool) {
    let chosen = std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = chosen.map_or(0..seeds, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let repeat = format!("repeat with WEIR_SEED={seed} cargo test --release -p weir-state --test state {name}");
        match std::panic::catch_unwind(|| run(plan, seed)) {
            Ok(Ok(seen)) => assert!(expected(&seen), "{seen:?}\n{repeat}"),
            Ok(Err(what)) => panic!("{what}\n{repeat}"),
            Err(panic) => {
                eprintln!("{repeat}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn plan(backend: BackendKind, memory: MemoryBudget, keys: u64) -> Plan {
    Plan { backend, memory, steps: 2500, keys, burst: 0, defects: planted() }
}

/// Thousands of keys: tables in shards, layers handed over in slices.
fn large(backend: BackendKind) -> Plan {
    Plan { backend, memory: SMALL, steps: 150, keys: 10_000, burst: 8000, defects: planted() }
}

#[test]
fn random_operations_match_the_model_with_everything_in_memory() {
    let plan = plan(BackendKind::RocksDb, MemoryBudget::default(), 60);
    check("random_operations_match_the_model_with_everything_in_memory", plan, 4, |_| true);
}

#[test]
fn random_operations_match_the_model_while_state_outgrows_memory() {
    let plan = plan(BackendKind::RocksDb, TINY, 200);
    check("random_operations_match_the_model_while_state_outgrows_memory", plan, 6, |_| true);
}

#[test]
fn random_operations_match_the_model_on_the_memory_backend() {
    let plan = plan(BackendKind::Memory, TINY, 60);
    check("random_operations_match_the_model_on_the_memory_backend", plan, 3, |_| true);
}

#[test]
fn thousands_of_keys_match_the_model_while_state_outgrows_memory() {
    let name = "thousands_of_keys_match_the_model_while_state_outgrows_memory";
    check(name, large(BackendKind::RocksDb), 1, |seen| {
        seen.slices > 0 && seen.early_runs > 0 && seen.ingested && seen.restores > 0
    });
}

#[test]
fn thousands_of_keys_match_the_model_on_the_memory_backend() {
    let name = "thousands_of_keys_match_the_model_on_the_memory_backend";
    check(name, large(BackendKind::Memory), 1, |seen| seen.slices > 0 && seen.early_runs > 0 && seen.restores > 0);
}
