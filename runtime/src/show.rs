//! Numbers, sizes, times and tables for people. Pure; everything else says the same in JSON.

use std::fmt::Write;

use jiff::Timestamp;

/// Bytes with a binary unit: `0 B`, `17 KiB`, `1.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A number with a decimal unit: `950`, `12.4 K`, `1.04 M`.
pub(crate) fn quantity(value: f64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if value < 999.5 {
        return format!("{value:.0}");
    }
    let mut value = value / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A whole number with thin groups: `12 345 678`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A length of time in microseconds: `0 µs`, `850 µs`, `12.4 ms`, `3.21 s`, `2 m 05 s`, `3 h 12 m`, `5 d 02 h`.
pub(crate) fn micros(us: u64) -> String {
    let seconds = us / 1_000_000;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..999_500 => format!("{} ms", three_digits(us as f64 / 1e3)),
        999_500..60_000_000 => format!("{} s", three_digits(us as f64 / 1e6)),
        _ if seconds < 3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ if seconds < 172_800 => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A length of time in milliseconds, like [`micros`].
pub(crate) fn millis(ms: u64) -> String {
    if ms == 0 { "0 ms".to_owned() } else { micros(ms.saturating_mul(1000)) }
}

/// How long ago, in whole seconds below a minute: `now`, `3 s ago`, `2 m 05 s ago`.
pub(crate) fn ago(ms: u64) -> String {
    match ms / 1000 {
        0 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s ago"),
        seconds => format!("{} ago", micros(seconds * 1_000_000)),
    }
}

/// A point in time (milliseconds since the Unix epoch) as RFC 3339 in UTC, with milliseconds.
pub(crate) fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => format!("{ms} ms"),
    }
}

/// `1 run`, `2 runs`.
pub(crate) fn count_of(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A share as a percentage with two significant digits: `0.031 %`, `4.2 %`, `37 %`.
pub(crate) fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value.abs() {
        0.0 => "0 %".to_owned(),
        v if v >= 9.95 => format!("{value:.0} %"),
        v if v >= 0.995 => format!("{value:.1} %"),
        v if v >= 0.0995 => format!("{value:.2} %"),
        _ => format!("{value:.3} %"),
    }
}

/// How a column of a table is aligned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text under a line of headings, two blanks between columns.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table, each line with its line feed and `indent` blanks before it.
    pub(crate) fn render(&self, indent: usize) -> String {
        let width = |text: &str| text.chars().count();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, (heading, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| width(cell));
                cells.max().unwrap_or(0).max(width(heading))
            })
            .collect();
        let mut text = String::new();
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = " ".repeat(indent);
            for (index, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[index].saturating_sub(width(cell)));
                let gap = if index > 0 { "  " } else { "" };
                match self.columns[index].1 {
                    Align::Left => write!(line, "{gap}{cell}{padding}"),
                    Align::Right => write!(line, "{gap}{padding}{cell}"),
                }
                .expect("writing to a string cannot fail");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (1_500_000, "1.43 MiB"),
            (150 << 20, "150 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        for (value, expected) in
            [(0.0, "0"), (999.4, "999"), (999.6, "1.00 K"), (1_040_000.0, "1.04 M"), (5e13, "50.0 T")]
        {
            assert_eq!(quantity(value), expected);
        }
        assert_eq!(
            (grouped(999).as_str(), grouped(1000).as_str(), grouped(1_234_567).as_str()),
            ("999", "1 000", "1 234 567")
        );
    }

    #[test]
    fn times_keep_to_a_readable_unit() {
        for (us, expected) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (12_345, "12.3 ms"),
            (999_499, "999 ms"),
            (999_500, "1.00 s"),
            (59_999_999, "60.0 s"),
            (60_000_000, "1 m 00 s"),
            (3_599_000_000, "59 m 59 s"),
            (3_600_000_000, "1 h 00 m"),
            (180_000_000_000, "2 d 02 h"),
        ] {
            assert_eq!(micros(us), expected);
        }
        assert_eq!(
            (ago(999).as_str(), ago(59_999).as_str(), ago(125_000).as_str()),
            ("now", "59 s ago", "2 m 05 s ago")
        );
        assert_eq!(time(1_436_918_400_123), "2015-07-15T00:00:00.123Z");
        assert_eq!(time(i64::MAX), "9223372036854775807 ms");
    }

    #[test]
    fn shares_keep_two_digits() {
        for (share, expected) in [
            (0.0, "0 %"),
            (0.37, "37 %"),
            (0.042, "4.2 %"),
            (0.0042, "0.42 %"),
            (0.00031, "0.031 %"),
            (-0.02, "-2.0 %"),
        ] {
            assert_eq!(percent(share), expected);
        }
    }

    #[test]
    fn tables_align_numbers_right_and_texts_left() {
        let mut table = Table::new(&[("ID", Align::Right), ("KIND", Align::Left), ("BYTES", Align::Right)]);
        table.row(["7".into(), "checkpoint".into(), "1 KiB".into()]);
        table.row(["1234".into(), "µ".into(), "5 B".into()]);
        assert_eq!(table.render(1), "   ID  KIND        BYTES\n    7  checkpoint  1 KiB\n 1234  µ             5 B\n");
    }
}
