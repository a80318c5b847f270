//! Randomness from the operating system: ids that no other process draws, and the spread of delays.

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn random_id() -> String {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Uniform in 0 to 1, 1 excluded.
pub(crate) fn random_unit() -> f64 {
    let bits = getrandom::u64().expect("the operating system gives random bytes");
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_never_alike() {
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }

    #[test]
    fn the_unit_lies_below_one_and_is_spread() {
        let mean = (0..1000).map(|_| random_unit()).inspect(|unit| assert!((0.0..1.0).contains(unit))).sum::<f64>();
        assert!((300.0..700.0).contains(&mean), "{mean}");
    }
}
