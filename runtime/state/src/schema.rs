//! Which states a job has: ids that stay the same across restores, and the refusal of incompatible changes.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{OperatorId, StateId, StateInfo, StateKind, key_hash};

use crate::error::{StateError, StateName};

/// Ids from here on are not given out, so that no stored key begins with `ffff ffff`.
const ID_LIMIT: u16 = u16::MAX;

/// A state as a subtask declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub(crate) operator: OperatorId,
    pub(crate) name: String,
    pub(crate) kind: StateKind,
    pub(crate) key_type: String,
    pub(crate) value_type: String,
    pub(crate) user_key_type: Option<String>,
    pub(crate) version: u32,
}

#[derive(Debug)]
struct Entry {
    info: StateInfo,
    restored: bool,
    registered: bool,
}

/// All states of a worker: those that were restored, and those that its subtasks declared.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    entries: BTreeMap<(OperatorId, String), Entry>,
    ids: BTreeSet<StateId>,
}

impl Schema {
    /// The states of a checkpoint.
    pub(crate) fn restored(states: Vec<StateInfo>) -> Self {
        let ids = states.iter().map(|info| info.id).collect();
        let entry = |info: StateInfo| {
            ((info.operator.clone(), info.name.clone()), Entry { info, restored: true, registered: false })
        };
        Self { entries: states.into_iter().map(entry).collect(), ids }
    }

    /// Registers a state; several subtasks of one operator register the same. Returns its id, and whether it was restored.
    pub(crate) fn register(&mut self, declared: Declaration) -> Result<(StateId, bool), StateError> {
        let place = (declared.operator.clone(), declared.name.clone());
        if let Some(entry) = self.entries.get_mut(&place) {
            compare(&entry.info, &declared)?;
            entry.registered = true;
            return Ok((entry.info.id, entry.restored));
        }
        let id = self.free_id(&declared)?;
        let Declaration { operator, name, kind, key_type, value_type, user_key_type, version } = declared;
        let info = StateInfo { id, operator, name, kind, key_type, value_type, user_key_type, version };
        self.ids.insert(id);
        self.entries.insert(place, Entry { info, restored: false, registered: true });
        Ok((id, false))
    }

    /// An id that depends on the state's name alone unless that one is taken: workers that declare states in another order
    /// still agree.
    fn free_id(&self, declared: &Declaration) -> Result<StateId, StateError> {
        let name = format!("{}\0{}", declared.operator, declared.name);
        let wanted = (key_hash(name.as_bytes()) % u64::from(ID_LIMIT)) as u16;
        (wanted..ID_LIMIT).chain(0..wanted).map(StateId).find(|id| !self.ids.contains(id)).ok_or_else(|| {
            let state = StateName { operator: declared.operator.clone(), name: declared.name.clone(), id: None };
            StateError::TooManyStates { state, limit: u32::from(ID_LIMIT) + 1 }
        })
    }

    /// All states, registered or only restored, by operator and name.
    pub(crate) fn states(&self) -> Vec<StateInfo> {
        self.entries.values().map(|entry| entry.info.clone()).collect()
    }

    /// States that were restored and that no subtask has declared.
    pub(crate) fn unclaimed(&self) -> Vec<StateInfo> {
        let unclaimed = |entry: &&Entry| entry.restored && !entry.registered;
        self.entries.values().filter(unclaimed).map(|entry| entry.info.clone()).collect()
    }
}

fn compare(found: &StateInfo, declared: &Declaration) -> Result<(), StateError> {
    let StateInfo { id, operator, name, kind, key_type, value_type, user_key_type, version } = found;
    let none = || "none".to_owned();
    let pairs = [
        ("kind", kind.to_string(), declared.kind.to_string()),
        ("key type", key_type.clone(), declared.key_type.clone()),
        (
            "user key type",
            user_key_type.clone().unwrap_or_else(none),
            declared.user_key_type.clone().unwrap_or_else(none),
        ),
        ("value type", value_type.clone(), declared.value_type.clone()),
        ("version", version.to_string(), declared.version.to_string()),
    ];
    match pairs.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((what, found, expected)) => {
            let state = StateName { operator: operator.clone(), name: name.clone(), id: Some(*id) };
            Err(StateError::Incompatible { state, what, found, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str) -> Declaration {
        Declaration {
            operator: "count".into(),
            name: name.into(),
            kind: StateKind::Value,
            key_type: "u64".into(),
            value_type: "u32".into(),
            user_key_type: None,
            version: 1,
        }
    }

    #[test]
    fn ids_do_not_depend_on_the_order_of_declaration() {
        let names = ["a", "b", "c", "d"];
        let ids = |names: &mut dyn Iterator<Item = &&str>| {
            let mut schema = Schema::default();
            let ids: BTreeMap<_, _> =
                names.map(|name| (name.to_string(), schema.register(declared(name)).unwrap().0)).collect();
            ids
        };
        assert_eq!(ids(&mut names.iter()), ids(&mut names.iter().rev()));
    }

    #[test]
    fn ids_stay_across_restores_and_unclaimed_states_are_known() {
        let mut first = Schema::default();
        let (id, restored) = first.register(declared("seen")).unwrap();
        first.register(declared("gone")).unwrap();
        assert!(!restored);
        let mut second = Schema::restored(first.states());
        assert_eq!(second.register(declared("seen")).unwrap(), (id, true));
        assert_eq!(second.register(declared("seen")).unwrap(), (id, true));
        assert_eq!(second.unclaimed().iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["gone"]);
        assert_eq!(second.states(), first.states());
    }

    #[test]
    fn an_incompatible_declaration_is_refused_with_found_and_expected() {
        let mut first = Schema::default();
        first.register(declared("seen")).unwrap();
        let check = |change: &dyn Fn(&mut Declaration), message: &str| {
            let mut changed = declared("seen");
            change(&mut changed);
            let refused = Schema::restored(first.states()).register(changed).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!(
                    "state count/seen was stored with {message}; restore with the old declaration, or give the state a new name"
                )
            );
        };
        check(&|changed| changed.kind = StateKind::List, "kind value, the job declares list");
        check(&|changed| changed.key_type = "String".into(), "key type u64, the job declares String");
        check(&|changed| changed.value_type = "u64".into(), "value type u32, the job declares u64");
        check(&|changed| changed.user_key_type = Some("u8".into()), "user key type none, the job declares u8");
        check(&|changed| changed.version = 2, "version 1, the job declares 2");
    }
}
