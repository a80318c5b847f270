//! The legs: what is measured, in a process of its own.

mod exchange;
mod keyed_count;
pub mod keyed_large;
mod pass_through;

use anyhow::{Result, bail};

use crate::usage::Measured;

/// Scales a number of records.
pub(crate) fn scaled(records: u64, scale: f64) -> u64 {
    ((records as f64 * scale) as u64).max(1000)
}

/// Runs one leg.
///
/// # Errors
/// When there is no such leg, or it fails.
pub fn run(leg: &str, scale: f64) -> Result<Measured> {
    match leg {
        "pass-through/weir" => pass_through::weir(scale),
        "pass-through/loop" => pass_through::plain(scale),
        "exchange/weir" => exchange::weir(scale),
        "exchange/loop" => exchange::plain(scale),
        "keyed-count-cached/weir-10s" => keyed_count::weir(scale, "10s"),
        "keyed-count-cached/weir-1s" => keyed_count::weir(scale, "1s"),
        "keyed-count-cached/loop" => keyed_count::plain(scale),
        "keyed-count-large/weir" => keyed_large::weir(scale),
        "keyed-count-large/loop" => keyed_large::plain(scale),
        other => bail!("there is no leg {other}"),
    }
}
