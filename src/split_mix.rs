//! SplitMix64 (Steele, Lea and Flood 2014): random bits from a counter and a mixing function, the same on every
//! machine.

/// The counter's increment: 2⁶⁴ divided by the golden ratio, made odd.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The random bits for counter `z`. Each bit depends on all of `z`.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
