//! Join operators.

pub mod interval;
pub mod window;
