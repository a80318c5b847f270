//! The input: which key is written when, and what must be there before.
//!
//! Split `s` of `n` has the keys that leave the remainder `s` when divided by `n`. Its record `i` writes key `i` of a
//! scattered order during the fill, and key `(i - since) mod hot` of that order afterwards, `since` being where the present
//! number of hot keys came into force. Both are stored with the position, so a restart may change `hot`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weir::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};

/// A prime above every number of keys: multiplying by it visits all of them in a scattered order.
const SCATTER: u64 = 1_000_000_007;
/// The shortest pause between two reads at a rate, and the pause of a source that holds.
const PAUSE: Duration = Duration::from_millis(1);
const HOLD: Duration = Duration::from_millis(20);

/// What is to be there before a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// Some value of this key.
    Something,
    /// The value that this record wrote.
    Record(u64),
}

/// One write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Touch {
    pub key: u64,
    /// Within its split.
    pub number: u64,
    pub before: Before,
}

/// How many keys, how fast, how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub splits: u64,
    /// Of one split.
    pub keys: u64,
    /// Of one split.
    pub hot: u64,
    /// Of one split, after its fill.
    pub records: Option<u64>,
    /// Of all splits.
    pub rate: Option<u64>,
    pub hold: bool,
}

pub struct Touches(Plan);

impl Touches {
    pub fn new(plan: Plan) -> Self {
        Self(plan)
    }
}

impl Source for Touches {
    type Item = Touch;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        Ok((0..self.0.splits).map(|split| SplitId(format!("touches-{split}"))).collect())
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = Touch>>, ConnectorError> {
        let index = split.0.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let unreadable = |error| ConnectorError::permanent("position is not one of this source").caused_by(error);
        let at: Option<At> = position.map(At::deserialize).transpose().map_err(unreadable)?;
        let mut at = at.unwrap_or(At { next: 0, since: self.0.keys, hot: self.0.hot });
        if at.hot != self.0.hot {
            at = At { since: at.next.max(self.0.keys), hot: self.0.hot, ..at };
        }
        Ok(Box::new(Reader { plan: self.0, index, at, pace: None }))
    }

    fn is_bounded(&self) -> bool {
        self.0.records.is_some()
    }
}

/// What is stored in checkpoints.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct At {
    next: u64,
    since: u64,
    hot: u64,
}

struct Reader {
    plan: Plan,
    index: u64,
    at: At,
    /// When the first record at a rate was read, in microseconds, and which one it was. A restart begins anew.
    pace: Option<(u64, u64)>,
}

impl Reader {
    fn touch(&self, number: u64) -> Touch {
        let (keys, At { since, hot, .. }) = (self.plan.keys, self.at);
        let (place, before) = match number {
            _ if number < keys => (number, Before::Nothing),
            _ if number - since < hot => (number - since, Before::Something),
            _ => ((number - since) % hot, Before::Record(number - hot)),
        };
        Touch { key: place * SCATTER % keys * self.plan.splits + self.index, number, before }
    }

    /// The record before which reading must stop for now.
    fn limit(&mut self) -> u64 {
        if self.at.next < self.plan.keys {
            return self.plan.keys;
        }
        if self.plan.hold {
            return self.at.next;
        }
        let end = self.plan.records.map_or(u64::MAX, |records| self.plan.keys + records);
        let Some(rate) = self.plan.rate else { return end };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let (began, first) = *self.pace.get_or_insert((now, self.at.next));
        end.min(first + now.saturating_sub(began) * rate / self.plan.splits / 1_000_000 + 1)
    }
}

impl SplitReader for Reader {
    type Item = Touch;

    fn read(&mut self, max: usize, out: &mut Vec<Touch>) -> Result<Progress, ConnectorError> {
        let limit = self.limit();
        let until = limit.min(self.at.next + max as u64);
        out.extend((self.at.next..until).map(|number| self.touch(number)));
        self.at.next = until;
        let filled = self.at.next >= self.plan.keys;
        Ok(match self.plan.records {
            Some(records) if filled && self.at.next >= self.plan.keys + records => Progress::End,
            _ if filled && self.plan.hold => Progress::WaitFor(HOLD),
            _ if filled && self.plan.rate.is_some() && until == limit => Progress::WaitFor(PAUSE),
            _ => Progress::Ready,
        })
    }

    fn position(&self) -> Position {
        serde_json::to_value(self.at).expect("three integers are valid JSON")
    }
}
