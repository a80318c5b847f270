//! Weir: streaming jobs exactly once. The public crate and the weir binary.
