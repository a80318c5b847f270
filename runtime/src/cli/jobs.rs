//! `weir jobs`: the graphs of the binary.

use std::fmt::Write;

use super::{Exit, Refusal, print, print_json};
use crate::args::ArgDefault;
use crate::jobs::{JobInfo, Jobs};
use crate::show::{Align, Table};

pub(super) fn list(jobs: &Jobs, name: Option<&str>, json: bool) -> Result<Exit, Refusal> {
    let mut listed = jobs.list();
    if let Some(name) = name {
        listed.retain(|job| job.name == name);
        if listed.is_empty() {
            return Err(Refusal::bad_input(jobs.unknown(name)));
        }
    }
    if json {
        print_json(&listed)?;
    } else {
        print(&render(&listed));
    }
    Ok(Exit::Done)
}

fn render(jobs: &[JobInfo]) -> String {
    let mut text = String::new();
    for (index, job) in jobs.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        writeln!(text, "{gap}{}: {}", job.name, job.description).expect("writing to a string cannot fail");
        let columns = [("ARGUMENT", Align::Left), ("TAKES", Align::Left), ("DEFAULT", Align::Left), ("", Align::Left)];
        let mut table = Table::new(&columns);
        for arg in &job.args {
            let default = match &arg.default {
                ArgDefault::Value(serde_json::Value::String(text)) => text.clone(),
                ArgDefault::Value(value) => value.to_string(),
                ArgDefault::Unset => "-".to_owned(),
                ArgDefault::Required => "required".to_owned(),
            };
            table.row([arg.name.clone(), arg.takes.clone(), default, arg.description.clone()]);
        }
        if !job.args.is_empty() {
            text.push_str(&table.render(2));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use crate::jobs::JobError;
    use weir_engine::graph::Graph;

    #[test]
    fn graphs_are_listed_with_their_arguments_and_defaults() {
        let jobs = Jobs::new().job("one", "does nothing", |args: &mut Args| {
            args.get("limit", 10_u64, "how many");
            args.optional::<u64>("rate", "how fast");
            args.required::<String>("path", "from where");
            args.get("name", "x".to_owned(), "what for");
            Err::<Graph, _>(JobError::new("never"))
        });
        let expected = "\
one: does nothing
  ARGUMENT  TAKES   DEFAULT
  limit     number  10        how many
  rate      number  -         how fast
  path      text    required  from where
  name      text    x         what for
";
        assert_eq!(render(&jobs.list()), expected);
    }
}
