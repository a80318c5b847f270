//! Merges one key's cells over all layers, newest first.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::cells::Cell;
use crate::ordmap;
use crate::past::Direction;

/// Cells of one layer. Layers run in ascending order; the past runs in the direction it was scanned.
pub(super) enum Source<'a, UK, UV> {
    Layer(ordmap::Iter<'a, UK, Cell<UV>>),
    Past(std::slice::Iter<'a, (UK, Cell<UV>)>),
}

impl<'a, UK: Ord, UV> Source<'a, UK, UV> {
    #[inline]
    fn next(&mut self, direction: Direction) -> Option<(&'a UK, &'a Cell<UV>)> {
        match (self, direction) {
            (Self::Layer(cells), Direction::Ascending) => cells.next(),
            (Self::Layer(cells), Direction::Descending) => cells.next_back(),
            (Self::Past(cells), _) => cells.next().map(|(user_key, cell)| (user_key, cell)),
        }
    }

    /// An upper bound for the number of cells, where one is known cheaply.
    pub(super) fn len_hint(&self) -> usize {
        match self {
            Self::Layer(ordmap::Iter::Small(cells)) => cells.len(),
            Self::Layer(ordmap::Iter::Large(cells)) => cells.clone().count(),
            Self::Past(cells) => cells.len(),
        }
    }
}

/// Visits the newest cell of every user key that is neither removed nor expired, in order, until told to stop. Of equal user keys
/// the earlier source wins.
pub(super) fn merge<UK: Ord, UV>(
    mut sources: Vec<Source<'_, UK, UV>>,
    direction: Direction,
    now: i64,
    visit: &mut dyn FnMut(&UK, &UV) -> ControlFlow<()>,
) {
    if let [only] = sources.as_mut_slice() {
        while let Some((user_key, cell)) = only.next(direction) {
            if let Some(value) = cell.visible(now)
                && visit(user_key, value).is_break()
            {
                return;
            }
        }
        return;
    }
    let mut heads: Vec<_> = sources.iter_mut().map(|source| source.next(direction)).collect();
    loop {
        let mut first: Option<usize> = None;
        for (at, head) in heads.iter().enumerate() {
            let Some((candidate, _)) = head else { continue };
            let Some((leader, _)) = first.and_then(|first| heads[first]) else {
                first = Some(at);
                continue;
            };
            let order = match direction {
                Direction::Ascending => (*candidate).cmp(leader),
                Direction::Descending => leader.cmp(candidate),
            };
            if order == Ordering::Less {
                first = Some(at);
            }
        }
        let Some((user_key, cell)) = first.and_then(|first| heads[first]) else { return };
        for (head, source) in heads.iter_mut().zip(&mut sources) {
            if head.is_some_and(|(other, _)| other == user_key) {
                *head = source.next(direction);
            }
        }
        if let Some(value) = cell.visible(now)
            && visit(user_key, value).is_break()
        {
            return;
        }
    }
}
