//! Field paths: `spec.checkpoint.interval`, `spec.args["a.b"]`, `spec.list[2]`.
//!
//! The same path names a field in a message, in the schema and in a YAML text.

use std::fmt;

/// One step down from an object or a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A member of an object.
    Key(String),
    /// An element of a list, from 0.
    Index(usize),
}

/// Where a field stands, from the manifest's root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FieldPath(Vec<Step>);

impl FieldPath {
    /// The manifest itself.
    pub fn root() -> FieldPath {
        FieldPath::default()
    }

    /// A path of plain names separated by dots.
    pub fn dotted(names: &str) -> FieldPath {
        let steps = names.split('.').filter(|name| !name.is_empty());
        FieldPath(steps.map(|name| Step::Key(name.to_owned())).collect())
    }

    /// The member `name` of this object.
    #[must_use]
    pub fn key(&self, name: &str) -> FieldPath {
        self.with(Step::Key(name.to_owned()))
    }

    /// The element `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> FieldPath {
        self.with(Step::Index(index))
    }

    /// The steps from the root.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The object or list this field stands in; `None` for the root.
    pub fn parent(&self) -> Option<FieldPath> {
        let (_, parent) = self.0.split_last()?;
        Some(FieldPath(parent.to_vec()))
    }

    fn with(&self, step: Step) -> FieldPath {
        let mut steps = self.0.clone();
        steps.push(step);
        FieldPath(steps)
    }
}

impl From<&str> for FieldPath {
    fn from(names: &str) -> Self {
        FieldPath::dotted(names)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("manifest");
        }
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(name) if is_plain(name) && depth == 0 => f.write_str(name)?,
                Step::Key(name) if is_plain(name) => write!(f, ".{name}")?,
                Step::Key(name) => write!(f, "[{name:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_people_write_it() {
        let path = FieldPath::from("spec.args");
        assert_eq!(path.key("a.b").index(2).to_string(), r#"spec.args["a.b"][2]"#);
        assert_eq!(path.key("x").parent(), Some(path));
        assert_eq!(FieldPath::root().to_string(), "manifest");
    }
}
