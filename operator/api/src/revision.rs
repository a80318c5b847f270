//! A job's revision: a short name for everything that decides what runs.
//!
//! Two resolved jobs with the same revision run the same; a changed one is moved to by an upgrade. Wishes (suspend, take
//! a checkpoint, what to do at deletion) change what is asked of a job, not what runs, and are left out; so is the number
//! that says how often it was asked to run. The canonical
//! text is JSON with sorted keys and no blanks, so that neither field order nor a library's settings can change it.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::resolved::ResolvedJob;

impl ResolvedJob {
    /// 16 hexadecimal digits: XXH3-64 of [`canonical_json`](Self::canonical_json).
    pub fn revision(&self) -> String {
        format!("{:016x}", xxh3_64(self.canonical_json().as_bytes()))
    }

    /// What runs: this job without its wishes and its number.
    pub fn canonical_json(&self) -> String {
        self.text_without(&["wishes", "revisionNumber"])
    }

    /// The form in which a cluster's pods are given the job: without its wishes. Reading it back gives the job with
    /// default wishes.
    pub fn stored_json(&self) -> String {
        self.text_without(&["wishes"])
    }

    fn text_without(&self, left_out: &[&str]) -> String {
        let mut value = serde_json::to_value(self).expect("a resolved job is JSON");
        if let Value::Object(members) = &mut value {
            members.retain(|name, _| !left_out.contains(&name.as_str()));
        }
        let mut text = String::new();
        write_canonical(&value, &mut text);
        text
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (i, (name, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(name.clone()).to_string());
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
    }
}
