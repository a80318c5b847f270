use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
    change: i64,
}

/// The first and the last of three columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ends(u64, i64);

impl FromCsvRow for Ends {
    const COLUMNS: &'static [&'static str] = &["first", "not wanted", "last"];

    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        let first = row.u64()?;
        row.skip(1)?;
        Ok(Self(first, row.i64()?))
    }
}

#[test]
fn columns_that_are_skipped_may_hold_anything_but_must_be_there() {
    let mut rows = CsvRows::<Ends>::new();
    for text in ["1,no number,-3", "1,,-3", "1,\"a,\"\"b\"\"\n\",-3"] {
        let record = RawRecord { bytes: text.as_bytes(), quoted: text.contains('"') };
        assert_eq!(rows.decode(record).unwrap(), Some(Ends(1, -3)), "{text}");
    }
    assert_eq!(rows.decode(RawRecord { bytes: b"1,2", quoted: false }).unwrap_err().0, "2 fields, expected 3");
}

impl FromCsvRow for Row {
    const COLUMNS: &'static [&'static str] = &["id", "name", "change"];

    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        Ok(Self { id: row.u64()?, name: row.str()?.to_owned(), change: row.i64()? })
    }
}

fn row(id: u64, name: &str, change: i64) -> Row {
    Row { id, name: name.into(), change }
}

fn raw(text: &str) -> RawRecord<'_> {
    RawRecord { bytes: text.as_bytes(), quoted: text.contains('"') }
}

#[track_caller]
fn check(text: &str, expected: Result<Option<Row>, (&str, &str)>) {
    let serde = Csv::<Row>::new().decode(raw(text)).map_err(|error| error.0);
    let by_hand = CsvRows::<Row>::new().decode(raw(text)).map_err(|error| error.0);
    match expected {
        Ok(expected) => {
            assert_eq!(serde.as_ref(), Ok(&expected));
            assert_eq!(by_hand.as_ref(), Ok(&expected));
        }
        Err((by_serde, hand)) => {
            assert_eq!(serde.unwrap_err(), by_serde);
            assert_eq!(by_hand.unwrap_err(), hand);
        }
    }
}

#[test]
fn rows_are_taken_apart_as_rfc_4180_says() {
    check("1,a,-2", Ok(Some(row(1, "a", -2))));
    check("18446744073709551615,,9223372036854775807", Ok(Some(row(u64::MAX, "", i64::MAX))));
    check("0,a b,-9223372036854775808", Ok(Some(row(0, "a b", i64::MIN))));
    check(r#"1,"a,b",2"#, Ok(Some(row(1, "a,b", 2))));
    check("1,\"a\nb\",2", Ok(Some(row(1, "a\nb", 2))));
    check(r#""1","say ""hi""","2""#, Ok(Some(row(1, r#"say "hi""#, 2))));
    check(r#"1,5" pipe,2"#, Ok(Some(row(1, r#"5" pipe"#, 2))));
    check("", Ok(None));
}

#[test]
fn errors_name_the_field_and_its_text() {
    check(
        "x,a,1",
        Err((
            "field 1 is \"x\": invalid digit found in string",
            "field 1 (id) is \"x\": not a whole number from 0 to 2^64 - 1",
        )),
    );
    check(
        "1,a,99999999999999999999",
        Err((
            "field 3 is \"99999999999999999999\": number too large to fit in target type",
            "field 3 (change) is \"99999999999999999999\": not a whole number from -2^63 to 2^63 - 1",
        )),
    );
    check("1,a", Err(("invalid length 2, expected struct Row with 3 elements", "2 fields, expected 3")));
    check("1,\"a", Err(("a quoted field is not closed", "a quoted field is not closed")));
    check("1,\"a\"b,2", Err(("field 2: text after the closing quote", "field 2: text after the closing quote")));
    let error = CsvRows::<Row>::new().decode(raw("1,a,2,3,4")).unwrap_err();
    assert_eq!(error.0, "5 fields, expected 3");
    let error = CsvRows::<Row>::new().decode(raw("1,\"a\",2,")).unwrap_err();
    assert_eq!(error.0, "4 fields, expected 3");
    let error = CsvRows::<Row>::new().decode(RawRecord { bytes: b"1,\xff,2", quoted: false }).unwrap_err();
    assert_eq!(error.0, "field 2 (name) is \"\\xff\": not UTF-8");
}

#[test]
fn a_header_maps_fields_by_name() {
    let mut csv = Csv::<Row>::new().with_header().delimiter(b';');
    csv.header(raw("name;\"change\";other;id")).unwrap();
    assert_eq!(csv.clone().decode(raw("a;1;x;7")), Ok(Some(row(7, "a", 1))));
    assert_eq!(csv.decode(raw("a;1;x")).unwrap_err().0, "3 fields, the header has 4");
    assert_eq!(csv.decode(raw("a;z;x;7")).unwrap_err().0, "field 2 (change) is \"z\": invalid digit found in string");
}

#[test]
fn a_header_must_name_the_columns_of_a_hand_written_type() {
    let mut csv = CsvRows::<Row>::new().with_header();
    assert_eq!(csv.header(raw("id,\"name\",change")), Ok(()));
    for header in ["id,change,name", "id,name", "id,name,change,more", ""] {
        let error = csv.header(raw(header)).unwrap_err();
        assert_eq!(error.0, "the header does not name the columns id,name,change", "{header}");
    }
}

#[test]
fn a_header_is_written_once_per_file() {
    let mut csv = Csv::<Row>::new().with_header();
    let mut out = Vec::new();
    csv.encode(&[row(1, "a,b", 2)], true, &mut out).unwrap();
    csv.encode(&[row(3, "c", -4)], false, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "id,name,change\n1,\"a,b\",2\n3,c,-4\n");
}

#[test]
fn a_record_ends_at_the_line_end_outside_quotes() {
    for (text, end) in [
        ("a,b\nc", Some(3)),
        ("a,\"b\n\"\nc", Some(6)),
        ("\"a\"\"\n\",b\n", Some(8)),
        ("a\"b\nc", Some(3)),
        ("a,b\"\nc", Some(4)),
        ("\n", Some(0)),
        ("", None),
        ("a,b", None),
        ("\"a\n", None),
        ("\"a\"", None),
    ] {
        assert_eq!(end_of_csv_record(text.as_bytes(), b','), end, "{text:?}");
    }
}

proptest! {
    #[test]
    fn what_the_csv_crate_writes_is_read_back(
        rows in prop::collection::vec((any::<u64>(), "[ab,\"\n\r]{0,8}", any::<i64>()), 0..20)
    ) {
        let rows: Vec<Row> = rows.iter().map(|(id, name, change)| row(*id, name, *change)).collect();
        let mut text = Vec::new();
        Csv::new().encode(&rows, true, &mut text).unwrap();
        let mut rest = &text[..];
        let (mut serde, mut by_hand) = (Vec::new(), Vec::new());
        while let Some(end) = end_of_csv_record(rest, b',') {
            let record = RawRecord { bytes: &rest[..end], quoted: rest[..end].contains(&b'"') };
            serde.extend(Csv::<Row>::new().decode(record).unwrap());
            by_hand.extend(CsvRows::<Row>::new().decode(record).unwrap());
            rest = &rest[end + 1..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&serde, &rows);
        prop_assert_eq!(&by_hand, &rows);
    }
}
