//! Randomness for tests: small, seeded, and printed, so that a failure can be played again.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// The environment variable that fixes the seed of random tests.
pub const SEED_VARIABLE: &str = "ES_TEST_SEED";

/// A source of random numbers (splitmix64) that can be shared by tasks. The same seed gives the same numbers.
///
/// ```
/// use es_testkit::SeededRng;
/// let (a, b) = (SeededRng::new(7), SeededRng::new(7));
/// assert_eq!(a.below(100), b.below(100));
/// ```
#[derive(Debug)]
pub struct SeededRng {
    seed: u64,
    state: AtomicU64,
}

impl SeededRng {
    /// Numbers from a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: AtomicU64::new(seed) }
    }

    /// Numbers from the seed in the environment variable `ES_TEST_SEED`, or from a random one. Prints the seed, which
    /// the test runner shows when the test fails.
    pub fn from_env() -> Self {
        let given = std::env::var(SEED_VARIABLE).ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("random seed: {seed}; set {SEED_VARIABLE}={seed} to play this run again");
        Self::new(seed)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// True this often in a hundred times.
    pub fn percent(&self, chance: u8) -> bool {
        self.below(100) < u64::from(chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeatable() {
        let rng = SeededRng::new(42);
        let hits = (0..10_000).filter(|_| rng.percent(20)).count();
        assert!((1_700..2_300).contains(&hits), "{hits} of 10000 at 20 percent");
        let first: Vec<u64> = (0..5).map(|_| SeededRng::new(1).next()).collect();
        assert!(first.iter().all(|number| *number == first[0]));
        assert_eq!(rng.below(0), 0);
    }
}
