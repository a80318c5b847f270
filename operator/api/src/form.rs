//! The forms of text fields: a pattern for the API server, and the same rule in Rust with a way out in words.
//!
//! A schema carries only the pattern. Whoever checks a manifest against the schema finds the form by its pattern and
//! asks it, so that the command line and the API server refuse the same texts. Pure functions over `&str`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::invalid::quoted;

/// What a text field may hold.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The pattern in the schema (RE2 syntax, anchored at both ends).
    pub regex: &'static str,
    /// The most characters a text may have.
    pub max_length: usize,
    /// What is allowed, for messages and for the reference.
    pub allowed: &'static str,
    /// The same rule in Rust; an error is the way out.
    pub check: fn(&str) -> Result<(), String>,
}

/// Every form that occurs in the schema.
pub const FORMS: [&Form; 15] = [
    &crate::duration::FORM,
    &crate::quantity::FORM,
    &crate::uri::FORM,
    &GRAPH,
    &IMAGE,
    &ENDPOINT,
    &REGION,
    &SECRET,
    &SAVEPOINT,
    &LABEL_KEY,
    &LABEL_VALUE,
    &ENV,
    &SECRET_KEY,
    &ACCOUNT,
    &CLASS,
];

/// The name of a job graph in a binary.
pub const GRAPH: Form = Form {
    regex: r"^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$",
    max_length: 63,
    allowed: "the name of a job graph: letters, digits, `-`, `_` and `.`, a letter or digit at both ends",
    check: |text| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if edges(text, |c| c.is_ascii_alphanumeric()) && text.chars().all(inner) {
            Ok(())
        } else {
            Err("`weir jobs` lists the graphs of a binary".to_owned())
        }
    },
};

/// A container image.
pub const IMAGE: Form = Form {
    regex: r"^[A-Za-z0-9]([-_.:/@A-Za-z0-9]*[A-Za-z0-9])?$",
    max_length: 512,
    allowed: "an image reference such as registry.example/weir:0.1.0",
    check: |text| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
        if edges(text, |c| c.is_ascii_alphanumeric()) && text.chars().all(inner) {
            Ok(())
        } else {
            Err("write it as you would for `docker pull`".to_owned())
        }
    },
};

/// The address of an S3 service.
pub const ENDPOINT: Form = Form {
    regex: r"^https?://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?)(:[0-9]{1,5})?/?$",
    max_length: 512,
    allowed: "http:// or https://, a host and perhaps a port, such as http://minio.storage:9000",
    check: check_endpoint,
};

/// The region of an S3 service.
pub const REGION: Form = Form {
    regex: r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$",
    max_length: 63,
    allowed: "a region such as eu-central-1",
    check: |text| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if edges(text, |c| c.is_ascii_alphanumeric()) && text.chars().all(inner) {
            Ok(())
        } else {
            Err("write letters, digits and `-` only".to_owned())
        }
    },
};

/// The name of a Secret.
pub const SECRET: Form = Form {
    regex: r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    max_length: 253,
    allowed: "the name of a Secret in the job's namespace: lower-case letters, digits, `-` and `.`",
    check: check_object_name,
};

/// The name of a savepoint.
pub const SAVEPOINT: Form = Form {
    regex: r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    max_length: 63,
    allowed: "a name of lower-case letters, digits and `-`, a letter or digit at both ends",
    check: |text| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if edges(text, edge) && text.chars().all(|c| edge(c) || c == '-') {
            Ok(())
        } else {
            Err("the savepoint becomes the folder savepoints/<name> under the job".to_owned())
        }
    },
};

/// The key of a label.
pub const LABEL_KEY: Form = Form {
    regex: r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$",
    max_length: 253,
    allowed: "the key of a label, such as topology.kubernetes.io/zone",
    check: |text| {
        let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
        let low = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let prefix_fits = prefix.is_none_or(|p| edges(p, low) && p.chars().all(|c| low(c) || "-.".contains(c)));
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if prefix_fits && edges(name, |c| c.is_ascii_alphanumeric()) && name.chars().all(inner) {
            Ok(())
        } else {
            Err("write letters, digits, `-`, `_` and `.`, perhaps after a domain and `/`".to_owned())
        }
    },
};

/// The value of a label.
pub const LABEL_VALUE: Form = Form {
    regex: r"^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$",
    max_length: 63,
    allowed: "the value of a label: letters, digits, `-`, `_` and `.`, a letter or digit at both ends, or nothing",
    check: |text| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || (edges(text, |c| c.is_ascii_alphanumeric()) && text.chars().all(inner)) {
            Ok(())
        } else {
            Err("write letters, digits, `-`, `_` and `.` only".to_owned())
        }
    },
};

/// The name of an environment variable.
pub const ENV: Form = Form {
    regex: r"^[A-Z_a-z]([A-Z_a-z0-9]*)$",
    max_length: 128,
    allowed: "the name of an environment variable: letters, digits and `_`, no digit first",
    check: |text| {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        if text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit()) {
            Ok(())
        } else {
            Err("write letters, digits and `_` only".to_owned())
        }
    },
};

/// A key in a Secret.
pub const SECRET_KEY: Form = Form {
    regex: r"^[-._A-Za-z0-9]+$",
    max_length: 253,
    allowed: "a key in the Secret: letters, digits, `-`, `_` and `.`",
    check: |text| {
        if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            Ok(())
        } else {
            Err("write the key as it stands in the Secret".to_owned())
        }
    },
};

/// The name of a service account.
pub const ACCOUNT: Form = Form {
    regex: r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
    max_length: 253,
    allowed: "the name of a service account in the job's namespace: lower-case letters, digits, `-` and `.`",
    check: check_object_name,
};

/// The name of a storage class.
pub const CLASS: Form = Form {
    regex: r"^[a-z0-9]([.a-z0-9-]*[a-z0-9])?$",
    max_length: 253,
    allowed: "the name of a storage class: lower-case letters, digits, `-` and `.`",
    check: check_object_name,
};

fn check_object_name(text: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if edges(text, edge) && text.chars().all(|c| edge(c) || "-.".contains(c)) {
        Ok(())
    } else {
        Err("write the name alone, without a namespace".to_owned())
    }
}

impl Form {
    /// The form that belongs to a schema's pattern.
    pub fn by_regex(regex: &str) -> Option<&'static Form> {
        FORMS.into_iter().find(|form| form.regex == regex)
    }

    /// Checks a text, length included; an error is the way out.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let length = text.chars().count();
        if length > self.max_length {
            return Err(format!("it has {length} characters: write at most {}", self.max_length));
        }
        // The way out may repeat a part of the text, which must not write to a terminal.
        (self.check)(text).map_err(|hint| hint.replace(char::is_control, "\u{fffd}"))
    }

    /// A refused text for a message. What may be a password is not repeated.
    pub(crate) fn show(&self, text: &str) -> String {
        if self.regex == ENDPOINT.regex && text.contains('@') {
            "an address with credentials in it".to_owned()
        } else {
            quoted(text)
        }
    }

    /// The JSON schema of a field that has this form.
    pub fn schema(&self) -> Schema {
        json_schema!({ "type": "string", "pattern": self.regex, "maxLength": self.max_length })
    }
}

/// For `#[schemars(schema_with)]`, which wants a function.
macro_rules! schema_with {
    ($($name:ident = $form:ident;)*) => {
        $(pub(crate) fn $name(_: &mut SchemaGenerator) -> Schema { $form.schema() })*
    };
}
schema_with! {
    graph_schema = GRAPH;
    image_schema = IMAGE;
    endpoint_schema = ENDPOINT;
    region_schema = REGION;
    secret_schema = SECRET;
    savepoint_schema = SAVEPOINT;
    label_key_schema = LABEL_KEY;
    label_value_schema = LABEL_VALUE;
    env_schema = ENV;
    secret_key_schema = SECRET_KEY;
    account_schema = ACCOUNT;
    class_schema = CLASS;
}

/// Labels by key. A schema cannot say what keys look like; resolving does.
pub(crate) fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    let each = LABEL_VALUE.schema();
    json_schema!({ "type": "object", "additionalProperties": each })
}

/// Names of Secrets.
pub(crate) fn secrets_schema(_: &mut SchemaGenerator) -> Schema {
    let each = SECRET.schema();
    json_schema!({ "type": "array", "items": each, "maxItems": 32 })
}

/// An enum's schema without the enum's own description, which would displace the field's.
pub(crate) fn enum_schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    schema.remove("description");
    schema
}

fn edges(text: &str, keep: impl Fn(char) -> bool) -> bool {
    text.chars().next().is_some_and(&keep) && text.chars().next_back().is_some_and(&keep)
}

fn check_endpoint(text: &str) -> Result<(), String> {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return Err("begin with http:// or https://".to_owned());
    };
    if rest.contains('@') {
        return Err("remove the credentials: they come from a Secret or the environment".to_owned());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if port.is_some_and(|p| !(1..=5).contains(&p.len()) || !p.bytes().all(|b| b.is_ascii_digit())) {
        return Err("write the port as a number".to_owned());
    }
    let host_is_valid = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.chars().all(|c| c.is_ascii_hexdigit() || c == ':'),
        None => {
            edges(host, |c| c.is_ascii_alphanumeric())
                && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        }
    };
    if host_is_valid {
        Ok(())
    } else {
        Err("write the host alone: bucket and prefix belong in spec.storage.uri".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(form: &Form, text: &str, way_out: Option<&str>) {
        assert_eq!(form.check(text).err().as_deref(), way_out, "{text}");
        if form.regex != crate::uri::FORM.regex {
            let pattern = regex::Regex::new(form.regex).unwrap();
            let accepted = pattern.is_match(text) && text.len() <= form.max_length;
            assert_eq!(accepted, way_out.is_none(), "{text}");
        }
    }

    #[test]
    fn forms_accept_what_they_should_and_name_a_way_out() {
        check(&GRAPH, "nexmark-q5", None);
        check(&GRAPH, "", Some("`weir jobs` lists the graphs of a binary"));
        check(&GRAPH, "a b", Some("`weir jobs` lists the graphs of a binary"));
        check(&GRAPH, &"x".repeat(64), Some("it has 64 characters: write at most 63"));
        check(&IMAGE, "registry.example:5000/weir@sha256:0a1b", None);
        check(&IMAGE, "weir:0.1.0 ", Some("write it as you would for `docker pull`"));
        check(&ENDPOINT, "http://minio.storage:9000", None);
        check(&ENDPOINT, "https://[::1]:9000/", None);
        check(&ENDPOINT, "https://[::1]", None);
        check(&ENDPOINT, "https://s3.example", None);
        check(&ENDPOINT, "minio:9000", Some("begin with http:// or https://"));
        check(
            &ENDPOINT,
            "http://me:secret@minio",
            Some("remove the credentials: they come from a Secret or the environment"),
        );
        check(&ENDPOINT, "http://minio:http", Some("write the port as a number"));
        check(&ENDPOINT, "http://minio:", Some("write the port as a number"));
        check(
            &ENDPOINT,
            "http://minio/bucket",
            Some("write the host alone: bucket and prefix belong in spec.storage.uri"),
        );
        check(&REGION, "eu-central-1", None);
        check(&REGION, "eu central", Some("write letters, digits and `-` only"));
        check(&SECRET, "weir-s3", None);
        check(&SECRET, "other/weir-s3", Some("write the name alone, without a namespace"));
        check(&SAVEPOINT, "before-upgrade-2", None);
        check(&SAVEPOINT, "../other", Some("the savepoint becomes the folder savepoints/<name> under the job"));
    }

    proptest! {
        #[test]
        fn checks_and_patterns_accept_the_same_texts(text in "(https?://)?[-_.:/@a-zA\\[\\]0-9]{0,6}(:[0-9]{0,6})?/?") {
            for form in FORMS {
                let pattern = regex::Regex::new(form.regex).unwrap();
                prop_assert_eq!((form.check)(&text).is_ok(), pattern.is_match(&text), "{:?} {}", form, text);
            }
        }
    }
}
