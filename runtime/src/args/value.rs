//! Which types an argument can have, what is written for them, and how a wrong one is described.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// A type that an argument can have.
pub trait ArgValue: Sized {
    /// What it takes, in one or two words, for listings.
    const TAKES: &'static str;

    /// What may be written, for messages.
    fn allowed() -> String;

    /// The value that was written, if it is one of this type.
    fn parse(value: &Value) -> Option<Self>;

    /// The value as it would be written.
    fn show(&self) -> Value;

    /// Stands for a value that is missing until the job is refused, and while graphs are only listed.
    fn placeholder() -> Self;
}

/// The largest whole number that a floating-point number holds exactly, as are all below it.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number, also if it is written like 1e8.
fn whole(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    if let Some(number) = number.as_i128() {
        return Some(number);
    }
    let number = number.as_f64()?;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i128)
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl ArgValue for $type {
            const TAKES: &'static str = "number";

            fn allowed() -> String {
                format!("a whole number from {} to {}", Self::MIN, Self::MAX)
            }

            fn parse(value: &Value) -> Option<Self> {
                whole(value)?.try_into().ok()
            }

            fn show(&self) -> Value {
                Value::from(*self)
            }

            fn placeholder() -> Self {
                1
            }
        }
    )*};
}

whole_numbers!(u8, u16, u32, u64, usize, i32, i64);

impl ArgValue for bool {
    const TAKES: &'static str = "true | false";

    fn allowed() -> String {
        "true or false".to_owned()
    }

    fn parse(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn show(&self) -> Value {
        Value::from(*self)
    }

    fn placeholder() -> Self {
        false
    }
}

impl ArgValue for f64 {
    const TAKES: &'static str = "number";

    fn allowed() -> String {
        "a number".to_owned()
    }

    fn parse(value: &Value) -> Option<Self> {
        value.as_f64()
    }

    fn show(&self) -> Value {
        Value::from(*self)
    }

    fn placeholder() -> Self {
        1.0
    }
}

impl ArgValue for String {
    const TAKES: &'static str = "text";

    fn allowed() -> String {
        "a text".to_owned()
    }

    fn parse(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn show(&self) -> Value {
        Value::from(self.as_str())
    }

    fn placeholder() -> Self {
        String::new()
    }
}

impl ArgValue for PathBuf {
    const TAKES: &'static str = "path";

    fn allowed() -> String {
        "the path of a file or directory".to_owned()
    }

    fn parse(value: &Value) -> Option<Self> {
        value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn show(&self) -> Value {
        Value::from(self.to_string_lossy())
    }

    fn placeholder() -> Self {
        PathBuf::from(".")
    }
}

/// Written as in the rest of a manifest: `500ms`, `10s`, `1h30m`. Whole milliseconds.
impl ArgValue for Duration {
    const TAKES: &'static str = "duration";

    fn allowed() -> String {
        "a duration such as 500ms, 10s or 1h30m".to_owned()
    }

    fn parse(value: &Value) -> Option<Self> {
        let parsed: weir_api::Duration = value.as_str()?.parse().ok()?;
        Some(Duration::from_millis(parsed.as_millis()))
    }

    fn show(&self) -> Value {
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        Value::from(weir_api::Duration::from_millis(millis).to_string())
    }

    fn placeholder() -> Self {
        Duration::from_secs(1)
    }
}

/// Written as a list.
impl<T: ArgValue> ArgValue for Vec<T> {
    const TAKES: &'static str = "list";

    fn allowed() -> String {
        format!("a list, each element {}", T::allowed())
    }

    fn parse(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::parse).collect()
    }

    fn show(&self) -> Value {
        self.iter().map(T::show).collect()
    }

    fn placeholder() -> Self {
        Vec::new()
    }
}

/// The most characters of a text that a message repeats.
const MAX_SHOWN: usize = 60;

/// A value with its kind, for messages.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("the boolean {value}"),
        Value::Number(_) => format!("the number {value}"),
        Value::String(text) if text.chars().count() <= MAX_SHOWN => format!("the text {text:?}"),
        Value::String(text) => format!("the text {:?}…", text.chars().take(MAX_SHOWN).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// What to do about a value that is none of type `T`.
pub(super) fn hint<T: ArgValue>(value: &Value) -> &'static str {
    let unquoted =
        |text: &str| serde_json::from_str::<Value>(text).ok().is_some_and(|value| T::parse(&value).is_some());
    match value {
        Value::String(text) if unquoted(text) => "remove the quotes",
        Value::Number(_) | Value::Bool(_) if T::parse(&Value::String(value.to_string())).is_some() => {
            "put it in quotes"
        }
        Value::Number(_) if T::TAKES == "duration" => "add a unit: ms, s, m or h",
        Value::Number(_) if T::TAKES == "number" => "write a number within these bounds",
        _ => "write such a value",
    }
}
