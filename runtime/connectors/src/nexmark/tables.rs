//! The words and numbers that events are made of. The same in every process, whatever the seed.

use std::sync::LazyLock;

use super::config::MAX_AVERAGE_BYTES;

pub(super) const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
pub(super) const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
/// Cities, each with its state.
pub(super) const CITIES: [(&str, &str); 10] = [
    ("Phoenix", "AZ"),
    ("Los Angeles", "CA"),
    ("San Francisco", "CA"),
    ("Boise", "ID"),
    ("Portland", "OR"),
    ("Bend", "OR"),
    ("Redmond", "WA"),
    ("Seattle", "WA"),
    ("Kent", "WA"),
    ("Cheyenne", "WY"),
];
pub(super) const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// Number of channels that are not hot.
pub(super) const CHANNELS: u64 = 10_000;

/// SplitMix64's finaliser: a bijection of 64 bits in which every input bit changes about half of the output bits
/// (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014; constants of variant 13).
pub(super) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// SplitMix64's increment.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// An event's `extra` is at most this long (a fifth above the largest average), and starts anywhere in [`FILLER_STARTS`].
const MAX_FILLER: usize = MAX_AVERAGE_BYTES as usize * 6 / 5 + 1;
pub(super) const FILLER_STARTS: usize = 4096;

/// Lower-case letters without order.
static FILLER: [u8; FILLER_STARTS + MAX_FILLER] = {
    let mut letters = [0; FILLER_STARTS + MAX_FILLER];
    let mut index = 0;
    while index < letters.len() {
        letters[index] = b'a' + (mix(index as u64 + 1) % 26) as u8;
        index += 1;
    }
    letters
};

static FILLER_TEXT: &str = match std::str::from_utf8(&FILLER) {
    Ok(text) => text,
    Err(_) => panic!("letters are UTF-8"),
};

/// `length` letters that begin at `start` (below [`FILLER_STARTS`]).
pub(super) fn filler(start: usize, length: usize) -> &'static str {
    &FILLER_TEXT[start..start + length]
}

/// Prices grow by this factor from one entry of [`PRICES`] to the next: 10^(1/256).
const PRICE_STEP: f64 = 1.009_035_044_841_447_4;
const STEPS_PER_DECADE: usize = 256;
const DECADES: usize = 6;
/// Prices are kept with this many fractional bits.
const PRICE_FRACTION: u32 = 16;

/// 100 × 10^x for x from 0 to 6: multiplications only, which IEEE 754 fixes to the last bit on every machine.
static PRICES: [u64; DECADES * STEPS_PER_DECADE + 1] = {
    let mut prices = [0; DECADES * STEPS_PER_DECADE + 1];
    let mut decade = 100.0;
    let mut index = 0;
    while index < DECADES * STEPS_PER_DECADE {
        let mut price = decade;
        let mut step = 0;
        while step < STEPS_PER_DECADE {
            prices[index] = (price * (1u64 << PRICE_FRACTION) as f64) as u64;
            price *= PRICE_STEP;
            step += 1;
            index += 1;
        }
        decade *= 10.0;
    }
    prices[index] = (decade * (1u64 << PRICE_FRACTION) as f64) as u64;
    prices
};

/// A price between 1 and 1 000 000 in cents, whose logarithm is uniform in `random`.
pub(super) fn price(random: u64) -> u64 {
    const INTERPOLATION: u32 = 24;
    let scaled = u128::from(random) * (((DECADES * STEPS_PER_DECADE) as u128) << INTERPOLATION);
    let point = (scaled >> 64) as u64;
    let index = (point >> INTERPOLATION) as usize;
    let between = point & ((1 << INTERPOLATION) - 1);
    let (low, high) = (PRICES[index], PRICES[index + 1]);
    let price = low + (((high - low) * between) >> INTERPOLATION);
    (price + (1 << (PRICE_FRACTION - 1))) >> PRICE_FRACTION
}

/// Names and addresses of all channels in one text; the hot ones come last.
pub(super) struct Channels {
    text: &'static str,
    entries: Vec<Entry>,
}

struct Entry {
    start: u32,
    name: u8,
    url: u8,
}

static ALL_CHANNELS: LazyLock<Channels> = LazyLock::new(|| {
    let mut text = String::new();
    let mut entries = Vec::new();
    let mut add = |name: &str, url: &str| {
        let length = |part: &str| u8::try_from(part.len()).expect("names and addresses are short");
        let start = u32::try_from(text.len()).expect("10 000 addresses are a megabyte");
        text.push_str(name);
        text.push_str(url);
        entries.push(Entry { start, name: length(name), url: length(url) });
    };
    for number in 0..CHANNELS {
        let mut url = base_url(number);
        if !mix(number ^ GOLDEN).is_multiple_of(10) {
            let id = (number as u32).reverse_bits().cast_signed().unsigned_abs();
            url.push_str(&format!("&channel_id={id}"));
        }
        add(&format!("channel-{number}"), &url);
    }
    for (number, name) in (CHANNELS..).zip(HOT_CHANNELS) {
        add(name, &base_url(number));
    }
    Channels { text: String::leak(text), entries }
});

fn base_url(number: u64) -> String {
    let word = |index: u64| {
        let random = mix(number * 3 + index + GOLDEN);
        filler((random % FILLER_STARTS as u64) as usize, 3 + (random >> 32) as usize % 3)
    };
    format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", word(0), word(1), word(2))
}

impl Channels {
    /// The table of this process, made at first use.
    pub(super) fn get() -> &'static Self {
        &ALL_CHANNELS
    }

    /// Name and address of channel `number`; the hot ones are `CHANNELS` and above.
    pub(super) fn channel(&self, number: u64) -> (&'static str, &'static str) {
        let &Entry { start, name, url } = &self.entries[number as usize];
        let start = start as usize;
        let middle = start + usize::from(name);
        (&self.text[start..middle], &self.text[middle..middle + usize::from(url)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_log_uniform_between_one_and_a_million() {
        assert_eq!(price(0), 100);
        assert_eq!(price(u64::MAX), 100_000_000);
        for (part, expected) in [(1, 1_000), (2, 10_000), (3, 100_000), (4, 1_000_000), (5, 10_000_000)] {
            assert_eq!(price(u64::MAX / 6 * part + part), expected);
        }
        let between = price(u64::MAX / 12) as f64;
        assert!((between / (100.0 * 10f64.sqrt()) - 1.0).abs() < 0.01, "{between}");
    }

    #[test]
    fn channels_have_a_name_and_an_address_each() {
        let channels = Channels::get();
        assert_eq!(channels.channel(CHANNELS + 1).0, "Facebook");
        let (name, url) = channels.channel(1);
        assert_eq!(name, "channel-1");
        assert!(url.starts_with("https://www.nexmark.com/") && url.ends_with("query=1&channel_id=2147483648"), "{url}");
        let with_id = (0..CHANNELS).filter(|&number| channels.channel(number).1.contains("&channel_id=")).count();
        assert!((8_800..9_200).contains(&with_id), "{with_id}");
    }
}
