//! Which objects go when.
