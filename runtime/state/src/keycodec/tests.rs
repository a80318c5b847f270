//! Golden vectors, order and round trip.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out).unwrap();
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(u16),
    Rect { width: i32, name: String },
    Pair(i8, Option<char>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Compound {
    first: String,
    second: (u64, i64),
    third: Option<Vec<u8>>,
    fourth: Shape,
    fifth: (),
}

#[test]
fn golden_vectors_hold() {
    let golden = include_str!("../../../../tests/golden/state/keycodec.txt");
    let mut expected = golden.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut check = |name: &str, encoded: Vec<u8>| {
        let hash = weir_protocol::key_hash(&encoded);
        let line = format!("{name} {} {hash:016x}", if encoded.is_empty() { "-".into() } else { hex(&encoded) });
        assert_eq!(expected.next(), Some(line.as_str()));
    };
    check("u8", bytes(&7u8));
    check("u64", bytes(&0x0102_0304_0506_0708u64));
    check("u64-max", bytes(&u64::MAX));
    check("i64-minus-one", bytes(&-1i64));
    check("i64-min", bytes(&i64::MIN));
    check("i16", bytes(&300i16));
    check("u128", bytes(&1u128));
    check("bool", bytes(&true));
    check("char", bytes(&'ß'));
    check("f64-zero", bytes(&0.0f64));
    check("f64-minus-one", bytes(&-1.0f64));
    check("unit", bytes(&()));
    check("empty-string", bytes(&""));
    check("string", bytes(&"auction"));
    check("string-with-zero-and-one", bytes(&"a\0b\u{1}c"));
    check("none", bytes(&None::<u32>));
    check("some", bytes(&Some(5u32)));
    check("sequence", bytes(&vec![1u16, 2]));
    check("tuple", bytes(&("k", 1u32)));
    check("unit-variant", bytes(&Shape::Point));
    check("struct-variant", bytes(&Shape::Rect { width: -2, name: "r".into() }));
    assert_eq!(expected.next(), None);
}

#[test]
fn maps_are_refused() {
    let map = std::collections::BTreeMap::from([(1u8, 2u8)]);
    assert_eq!(encode(&map, &mut Vec::new()), Err(KeyCodecError::Unsupported("a map")));
    assert_eq!(encode(&(1u8, map), &mut Vec::new()), Err(KeyCodecError::Unsupported("a map")));
}

#[test]
fn malformed_bytes_are_refused_and_never_panic() {
    assert_eq!(decode::<u64>(&[1, 2]), Err(KeyCodecError::Truncated("u64")));
    assert_eq!(decode::<u8>(&[1, 2]), Err(KeyCodecError::Trailing(1)));
    assert_eq!(decode::<Option<u8>>(&[2, 0]), Err(KeyCodecError::Malformed("option")));
    assert_eq!(decode::<String>(&[b'a', 1, 3, 0]), Err(KeyCodecError::Malformed("string")));
    assert_eq!(decode::<String>(b"open"), Err(KeyCodecError::Truncated("string")));
    assert_eq!(decode::<char>(&[0, 0x11, 0, 0]), Err(KeyCodecError::Malformed("char")));
    assert!(decode::<Shape>(&[0, 0, 0, 9]).is_err());
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Point),
        any::<u16>().prop_map(Shape::Circle),
        (any::<i32>(), text()).prop_map(|(width, name)| Shape::Rect { width, name }),
        (any::<i8>(), any::<Option<char>>()).prop_map(|(a, b)| Shape::Pair(a, b)),
    ]
}

/// Short strings over few characters, escapes among them, so that prefixes and ties are common.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just('\0'), Just('\u{1}'), Just('\u{2}'), Just('a'), Just('ü')], 0..6)
        .prop_map(|chars| chars.into_iter().collect())
}

fn compound() -> impl Strategy<Value = Compound> {
    (text(), any::<(u64, i64)>(), proptest::option::of(proptest::collection::vec(0u8..3, 0..4)), shape())
        .prop_map(|(first, second, third, fourth)| Compound { first, second, third, fourth, fifth: () })
}

fn check_pair<T: Serialize + DeserializeOwned + Ord + std::fmt::Debug>(a: &T, b: &T) {
    let (left, right) = (bytes(a), bytes(b));
    assert_eq!(left.cmp(&right), a.cmp(b), "{a:?} {b:?} {} {}", hex(&left), hex(&right));
    assert!(a == b || !left.starts_with(&right), "{b:?} is a prefix of {a:?}");
    assert_eq!(&decode::<T>(&left).unwrap(), a);
    let joined = [left.as_slice(), &right].concat();
    let (first, rest) = decode_prefix::<T>(&joined).unwrap();
    assert_eq!((&first, rest), (a, right.as_slice()));
}

proptest! {
    #[test]
    fn order_and_round_trip_of_integers(a: i64, b: i64, c: u32, d: u32, e: i128, f: i128) {
        check_pair(&a, &b);
        check_pair(&c, &d);
        check_pair(&e, &f);
        check_pair(&(a as i8, c as u16), &(b as i8, d as u16));
    }

    #[test]
    fn order_and_round_trip_of_strings(a in text(), b in text(), c: String, d: String) {
        check_pair(&a, &b);
        check_pair(&c, &d);
        check_pair(&(a.clone(), 1u8), &(b.clone(), 0u8));
        check_pair(&vec![a.clone(), b.clone()], &vec![a, c]);
    }

    #[test]
    fn order_and_round_trip_of_compounds(a in compound(), b in compound()) {
        check_pair(&a, &b);
        check_pair(&Some(a.fourth), &Some(b.fourth));
    }

    #[test]
    fn floats_follow_the_total_order(a: f64, b: f64) {
        assert_eq!(bytes(&a).cmp(&bytes(&b)), a.total_cmp(&b));
        assert_eq!(decode::<f64>(&bytes(&a)).unwrap().to_bits(), a.to_bits());
        let (a, b) = (a as f32, b as f32);
        assert_eq!(bytes(&a).cmp(&bytes(&b)), a.total_cmp(&b));
    }

    #[test]
    fn arbitrary_bytes_never_panic(input: Vec<u8>) {
        let _ = decode::<Compound>(&input);
        let _ = decode::<(String, Shape)>(&input);
    }
}
