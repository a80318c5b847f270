//! How a job declares its states, and the handles it gets back.

use std::marker::PhantomData;

use weir_protocol::StateKind;

/// When values of a state expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// Life of a value in milliseconds, counted from the last write.
    pub millis: u64,
    /// If true, reading a value lengthens its life as a write would.
    pub refresh_on_read: bool,
}

impl Ttl {
    /// Values live this long after their last write.
    pub fn after_write(life: std::time::Duration) -> Self {
        Self { millis: u64::try_from(life.as_millis()).unwrap_or(u64::MAX), refresh_on_read: false }
    }

    /// Values live this long after they were last written or read.
    pub fn after_access(life: std::time::Duration) -> Self {
        Self { refresh_on_read: true, ..Self::after_write(life) }
    }
}

/// A state as the job declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDescriptor {
    /// Name, unique within the operator.
    pub name: String,
    /// Version of the value's schema; a restore refuses another one.
    pub version: u32,
    /// Expiry, if any.
    pub ttl: Option<Ttl>,
    /// The kind; set by the call that declares the state unless it is `Reducing` or `Aggregating`.
    pub kind: StateKind,
}

impl StateDescriptor {
    /// A state of version 1 without expiry.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), version: 1, ttl: None, kind: StateKind::Value }
    }

    /// With this schema version.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// With this expiry.
    #[must_use]
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// With this kind: `Reducing` and `Aggregating` are stored like `Value` and told apart at restore.
    #[must_use]
    pub fn kind(mut self, kind: StateKind) -> Self {
        self.kind = kind;
        self
    }
}

impl From<&str> for StateDescriptor {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident<$($param:ident),*>) => {
        $(#[$doc])*
        pub struct $name<$($param),*> {
            pub(crate) index: usize,
            pub(crate) types: PhantomData<fn() -> ($($param,)*)>,
        }

        impl<$($param),*> $name<$($param),*> {
            pub(crate) fn new(index: usize) -> Self {
                Self { index, types: PhantomData }
            }
        }

        impl<$($param),*> Clone for $name<$($param),*> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($param),*> Copy for $name<$($param),*> {}

        impl<$($param),*> std::fmt::Debug for $name<$($param),*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.index)
            }
        }
    };
}

handle! {
    /// Names a value state within its backend.
    ValueHandle<V>
}
handle! {
    /// Names a map state within its backend.
    MapHandle<UK, UV>
}
handle! {
    /// Names a list state within its backend.
    ListHandle<V>
}
handle! {
    /// Names a timer state within its backend.
    TimerHandle<>
}
handle! {
    /// Names a broadcast state within its backend.
    BroadcastHandle<UK, UV>
}
