//! Window operators: aligned (tumbling and sliding), session and count windows over folded or collected contents.

pub mod contents;
pub mod count;
pub mod session;
pub mod time;
