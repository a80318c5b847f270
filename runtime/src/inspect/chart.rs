//! The pieces of a drawing: a scale with round ticks, text made safe, bars. Pure.

use std::fmt::Write;
use std::ops::Range;

use crate::show;

/// Maps microseconds to the horizontal coordinate of a drawing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    left: f64,
    width: f64,
    span_us: u64,
    step_us: u64,
}

/// Least width of a bar, so that a short phase is still seen.
const LEAST_BAR: f64 = 1.5;

impl Scale {
    /// From `left` to `left + width` for 0 to `span_us`, rounded up to the next tick.
    pub(super) fn new(left: f64, width: f64, span_us: u64) -> Self {
        let step_us = step(span_us.max(1));
        Self { left, width, span_us: span_us.max(1).div_ceil(step_us) * step_us, step_us }
    }

    pub(super) fn x(&self, us: u64) -> f64 {
        self.left + self.width * (us.min(self.span_us) as f64 / self.span_us as f64)
    }

    /// Where ticks stand, with their labels.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        let step = self.step_us;
        (0..=self.span_us / step).map(move |index| (self.x(index * step), label(index * step)))
    }

    /// A bar over `us`, at least [`LEAST_BAR`] wide. `class` styles it, `title` is shown when pointed at.
    pub(super) fn bar(&self, out: &mut String, class: &str, (y, height): (f64, f64), us: Range<u64>, title: &str) {
        let (x, end) = (self.x(us.start), self.x(us.end));
        let width = (end - x).max(LEAST_BAR);
        // A bar that begins at the right end must not leave the drawing.
        let x = x.min(self.left + self.width - width);
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{height:.1}\"><title>{}</title></rect>",
            escape(title)
        )
        .expect("writing to a string cannot fail");
    }
}

/// The distance between ticks: 1, 2 or 5 times a power of ten, so that there are 4 to 10 of them.
fn step(span_us: u64) -> u64 {
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            let step = power * factor;
            if span_us / step <= 8 {
                return step;
            }
        }
        power *= 10;
    }
}

/// A tick's label, without needless digits.
fn label(us: u64) -> String {
    let trimmed = |value: f64, unit: &str| format!("{} {unit}", (value * 1000.0).round() / 1000.0);
    match us {
        0 => "0".to_owned(),
        1..1_000 => format!("{us} µs"),
        1_000..1_000_000 => trimmed(us as f64 / 1e3, "ms"),
        1_000_000..60_000_000 => trimmed(us as f64 / 1e6, "s"),
        _ => show::micros(us),
    }
}

/// A text made safe for HTML and attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A text cut to `most` characters.
pub(super) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few_and_end_at_the_edge() {
        for span in [1, 7, 9, 99, 1_234, 50_000, 863_000, 999_999, 7_200_000_000, u64::MAX / 16] {
            let scale = Scale::new(100.0, 800.0, span);
            let ticks: Vec<_> = scale.ticks().collect();
            assert!((2..=10).contains(&ticks.len()), "{span}: {ticks:?}");
            assert!((ticks.last().unwrap().0 - 900.0).abs() < 1e-6, "{span}: {ticks:?}");
        }
        let labels: Vec<_> = Scale::new(0.0, 1.0, 12_345).ticks().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0", "2 ms", "4 ms", "6 ms", "8 ms", "10 ms", "12 ms", "14 ms"]);
    }

    #[test]
    fn bars_stay_inside_and_are_seen() {
        let scale = Scale::new(100.0, 800.0, 1000);
        let mut out = String::new();
        scale.bar(&mut out, "sync", (0.0, 10.0), 5_000..5_000, "a < b");
        assert_eq!(
            out,
            "<rect class=\"sync\" x=\"898.50\" y=\"0.0\" width=\"1.50\" height=\"10.0\"><title>a &lt; b</title></rect>\n"
        );
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
    }
}
