//! Events as CSV rows, decoded by hand. The columns are the fields in the order in which serde writes them.

use smol_str::SmolStr;

use super::model::{Auction, Bid, Person};
use crate::format::{CsvRow, FormatError, FromCsvRow};

impl FromCsvRow for Bid {
    const COLUMNS: &'static [&'static str] = &["auction", "bidder", "price", "channel", "url", "dateTime", "extra"];

    #[inline]
    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            auction: row.u64()?,
            bidder: row.u64()?,
            price: row.u64()?,
            channel: SmolStr::new(row.str()?),
            url: SmolStr::new(row.str()?),
            date_time: row.i64()?,
            extra: SmolStr::new(row.str()?),
        })
    }
}

impl FromCsvRow for Auction {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "itemName",
        "description",
        "initialBid",
        "reserve",
        "dateTime",
        "expires",
        "seller",
        "category",
        "extra",
    ];

    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            id: row.u64()?,
            item_name: SmolStr::new(row.str()?),
            description: SmolStr::new(row.str()?),
            initial_bid: row.u64()?,
            reserve: row.u64()?,
            date_time: row.i64()?,
            expires: row.i64()?,
            seller: row.u64()?,
            category: row.u64()?,
            extra: SmolStr::new(row.str()?),
        })
    }
}

impl FromCsvRow for Person {
    const COLUMNS: &'static [&'static str] =
        &["id", "name", "emailAddress", "creditCard", "city", "state", "dateTime", "extra"];

    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            id: row.u64()?,
            name: SmolStr::new(row.str()?),
            email_address: SmolStr::new(row.str()?),
            credit_card: SmolStr::new(row.str()?),
            city: SmolStr::new(row.str()?),
            state: SmolStr::new(row.str()?),
            date_time: row.i64()?,
            extra: SmolStr::new(row.str()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use weir_engine::record::Record;

    use super::*;
    use crate::format::{Csv, CsvRows, Decode, Encode, RawRecord};
    use crate::nexmark::{Generator, NexmarkConfig};

    fn check<T: Record + FromCsvRow + Serialize + PartialEq + std::fmt::Debug>(records: &[T]) {
        let mut text = Vec::new();
        Csv::new().with_header().encode(records, true, &mut text).unwrap();
        let mut lines = text.split(|&byte| byte == b'\n').map(|bytes| RawRecord { bytes, quoted: false });
        let mut by_hand = CsvRows::<T>::new().with_header();
        let mut serde = Csv::<T>::new().with_header();
        let header = lines.next().unwrap();
        by_hand.header(header).unwrap();
        serde.header(header).unwrap();
        for (record, line) in records.iter().zip(lines) {
            assert_eq!(by_hand.decode(line).unwrap().as_ref(), Some(record));
            assert_eq!(serde.decode(line).unwrap().as_ref(), Some(record));
        }
    }

    #[test]
    fn decoding_by_hand_and_by_serde_reads_what_serde_writes() {
        let generator = Generator::new(&NexmarkConfig::default()).unwrap();
        check(&(0..500).map(|number| generator.bid(number)).collect::<Vec<_>>());
        check(&(0..500).map(|number| generator.auction(number)).collect::<Vec<_>>());
        check(&(0..500).map(|number| generator.person(number)).collect::<Vec<_>>());
    }
}
