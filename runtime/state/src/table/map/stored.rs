//! Cells of map states in the past.

use std::ops::{Bound, ControlFlow};

use super::UserKeyBounds;
use super::cells::Cell;
use crate::error::StateError;
use crate::key::Key;
use crate::keycodec;
use crate::past::{Direction, prefix_end};
use crate::table::{Core, Meta};
use crate::value::{Expiry, Value, decode_value};

pub(super) fn stored_key<K: Key, UK: Key>(
    core: &mut Core,
    hash: u64,
    key: &K,
    user_key: &UK,
) -> Result<(), StateError> {
    core.stored_key(hash, key)?;
    let mut stored = std::mem::take(&mut core.key);
    let encoded = keycodec::encode(user_key, &mut stored);
    core.key = stored;
    encoded.map_err(|source| core.key_error(source))
}

pub(super) fn decode<UV: Value>(core: &Core, bytes: &[u8]) -> Result<(UV, Expiry), StateError> {
    decode_value(bytes).map_err(|source| StateError::DecodeValue { state: core.name(), source })
}

pub(super) fn read_past<K: Key, UK: Key, UV: Value>(
    core: &mut Core,
    hash: u64,
    key: &K,
    user_key: &UK,
) -> Result<(Option<UV>, Expiry), StateError> {
    if core.resident {
        return Ok((None, Expiry::NEVER));
    }
    stored_key(core, hash, key, user_key)?;
    let mut found = None;
    if let Some(past) = core.past() {
        past.get(&core.key, &mut |bytes| {
            found = Some(decode(core, bytes)?);
            Ok(())
        })?;
    }
    Ok(match found {
        Some((value, expiry)) => (Some(value), expiry),
        None => (None, Expiry::NEVER),
    })
}

/// The stored cells of `key` within bounds, in the order asked for, at most `limit`.
pub(super) fn scan<K: Key, UK: Key, UV: Value>(
    core: &mut Core,
    hash: u64,
    key: &K,
    bounds: UserKeyBounds<'_, UK>,
    direction: Direction,
    limit: Option<usize>,
) -> Result<Vec<(UK, Cell<UV>)>, StateError> {
    core.stored_key(hash, key)?;
    let prefix = core.key.clone();
    let bound = |user_key: &UK| {
        let mut bytes = prefix.clone();
        keycodec::encode(user_key, &mut bytes).map_err(|source| core.key_error(source)).map(|()| bytes)
    };
    // Encodings are prefix-free, so that "behind this key" is its encoding and one more byte.
    let behind = |user_key: &UK| {
        bound(user_key).map(|mut bytes| {
            bytes.push(0);
            bytes
        })
    };
    let lower = match bounds.0 {
        Bound::Unbounded => prefix.clone(),
        Bound::Included(start) => bound(start)?,
        Bound::Excluded(start) => behind(start)?,
    };
    let upper = match bounds.1 {
        Bound::Unbounded => prefix_end(&prefix),
        Bound::Included(end) => behind(end)?,
        Bound::Excluded(end) => bound(end)?,
    };
    let mut cells = Vec::new();
    let Some(past) = core.past() else { return Ok(cells) };
    past.scan(&lower, &upper, direction, &mut |stored, bytes| {
        let user_key = keycodec::decode(&stored[prefix.len()..])
            .map_err(|source| StateError::DecodeKey { state: core.name(), source })?;
        let (value, expiry) = decode(core, bytes)?;
        cells.push((user_key, Cell { value: Some(value), meta: Meta::new(false, expiry) }));
        Ok(if limit.is_some_and(|limit| cells.len() >= limit) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(cells)
}
