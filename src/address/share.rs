use sha2::{Digest, Sha256};

use super::Address;

/// A stable part of all addresses: the same ones on every host and in every version, and a larger share has those of a
/// smaller one in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// Every address.
    pub const ALL: Self = Self(1.0);

    /// A share from 0.0 (nobody) to 1.0 (everybody); `None` beyond that.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// From 0.0 to 1.0.
    pub fn value(self) -> f64 {
        self.0
    }

    /// True if every address is in it.
    pub fn is_all(self) -> bool {
        self.0 >= 1.0
    }

    /// True if the address is in it: its [position](Self::position) is below the share.
    pub fn contains(self, address: &Address) -> bool {
        self.is_all() || Self::position(address) < self.0
    }

    /// The position of an address, from 0.0 to below 1.0: the first 53 bits of the SHA-256 digest (FIPS 180-4) of
    /// `local-part@domain` without a `+` extension, in the form of [`Address::full`], as a binary fraction.
    ///
    /// It never changes, so that a share that was rolled out stays what it is.
    pub fn position(address: &Address) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        let mut digest = Sha256::new();
        digest.update(address.user().unwrap_or(&address.local_part));
        digest.update("@");
        digest.update(&address.domain);
        let first = digest.finalize().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (first >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::ALL
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(address: &str) -> f64 {
        Share::position(&Address::parse(address).unwrap())
    }

    /// Made with sha256sum(1) and bc(1). If this fails, a roll-out at some site changes its senders.
    #[test]
    fn positions_never_change() {
        assert_eq!(format!("{:.6}", position("alice@customer.test")), "0.037151");
        assert_eq!(format!("{:.6}", position("bob@customer.test")), "0.027921");
        assert_eq!(format!("{:.6}", position("j\u{fc}rgen@b\u{fc}cher.test")), "0.773153");
    }

    #[test]
    fn an_extension_and_case_do_not_matter() {
        assert_eq!(position("Alice+news@CUSTOMER.test."), position("alice@customer.test"));
        assert_ne!(position("+news@customer.test"), position("@customer.test"));
    }

    #[test]
    fn a_share_is_about_that_share() {
        for share in [0.1, 0.5, 0.9] {
            let share = Share::new(share).unwrap();
            let addresses = (0..10_000).map(|number| format!("user{number}@customer.test"));
            let within = addresses.filter(|address| share.contains(&Address::parse(address).unwrap())).count();
            assert!((within as f64 / 10_000.0 - share.value()).abs() < 0.02, "{within}");
        }
    }

    #[test]
    fn shares_are_fractions() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(wrong), None);
        }
    }

    proptest! {
        #[test]
        fn a_larger_share_has_the_smaller_one_in_it(local_part in "[a-z+.]{1,20}", one in 0.0..=1.0, other in 0.0..=1.0) {
            let (small, large) = if one < other { (one, other) } else { (other, one) };
            let address = Address::parse(&format!("{local_part}@customer.test")).unwrap();
            prop_assert!(!Share::new(small).unwrap().contains(&address) || Share::new(large).unwrap().contains(&address));
            prop_assert!(!Share::new(0.0).unwrap().contains(&address));
            prop_assert!(Share::ALL.contains(&address));
        }
    }
}
