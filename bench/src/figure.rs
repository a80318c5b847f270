//! One measurement as everybody reads it: a line on standard output and a JSON object.

use serde::Serialize;
use serde_json::{Map, Value};

/// What a measurement must reach.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// The value, at most.
    ValueAtMost(f64),
    /// The value over the baseline's, or the other way round where less is better: at least.
    RatioAtLeast(f64),
    /// The value over the baseline's: at most.
    RatioAtMost(f64),
    /// The value less the baseline's: at most.
    DifferenceAtMost(f64),
}

/// A measurement. What has no baseline or no bar says `null`.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// The benchmark.
    pub name: &'static str,
    /// Which of its measurements.
    pub case: String,
    /// What was measured.
    pub value: f64,
    /// In what.
    pub unit: &'static str,
    /// The same of the baseline.
    pub baseline: Option<f64>,
    /// How the two compare; above 1 is good where the bar is "at least".
    pub ratio: Option<f64>,
    /// The bar in words.
    pub bar: Option<String>,
    /// Whether it was reached.
    pub met: Option<bool>,
    /// Whether the output was compared with what it must be, and was that.
    pub verified: bool,
    /// Multiplier of the sizes; 1 is the form that the bars are meant for.
    pub scale: f64,
    /// What else there is to say.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Figure {
    /// A measurement without baseline and bar.
    pub fn new(name: &'static str, case: impl Into<String>, value: f64, unit: &'static str, verified: bool) -> Self {
        Self {
            name,
            case: case.into(),
            value,
            unit,
            baseline: None,
            ratio: None,
            bar: None,
            met: None,
            verified,
            scale: 1.0,
            more: Map::new(),
        }
    }

    /// Beside this baseline. `ratio` is value over baseline, unless told otherwise.
    #[must_use]
    pub fn beside(mut self, baseline: f64) -> Self {
        self.baseline = Some(baseline);
        self.ratio = Some(self.value / baseline);
        self
    }

    /// With this ratio.
    #[must_use]
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// Against this bar.
    #[must_use]
    pub fn against(mut self, bar: Bar) -> Self {
        let (ratio, difference) = (self.ratio.unwrap_or(f64::NAN), self.value - self.baseline.unwrap_or(f64::NAN));
        let (text, met) = match bar {
            Bar::ValueAtMost(most) => (format!("at most {most} {}", self.unit), self.value <= most),
            Bar::RatioAtLeast(least) => (format!("ratio at least {least}"), ratio >= least),
            Bar::RatioAtMost(most) => (format!("ratio at most {most}"), ratio <= most),
            Bar::DifferenceAtMost(most) => {
                (format!("at most {most} {} above the baseline", self.unit), difference <= most)
            }
        };
        (self.bar, self.met) = (Some(text), Some(met));
        self
    }

    /// With a further fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The line.
    pub fn line(&self) -> String {
        let mut line = format!("{:<19} {:<34} {:>11} {}", self.name, self.case, short(self.value), self.unit);
        if let Some(baseline) = self.baseline {
            line.push_str(&format!("; baseline {}", short(baseline)));
        }
        if let Some(ratio) = self.ratio {
            line.push_str(&format!("; ratio {}", short(ratio)));
        }
        if let (Some(bar), Some(met)) = (&self.bar, self.met) {
            line.push_str(&format!("; bar: {bar}: {}", if met { "met" } else { "MISSED" }));
        }
        if !self.verified {
            line.push_str("; OUTPUT NOT VERIFIED");
        }
        line
    }
}

/// Three digits are enough to read.
fn short(value: f64) -> String {
    match value.abs() {
        at_least if at_least >= 100.0 => format!("{value:.0}"),
        at_least if at_least >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The middle one; of an even number the upper of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share lies; not a number if there is none.
pub fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}
