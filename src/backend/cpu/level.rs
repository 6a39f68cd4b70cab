//! The instruction sets in use: all of the CPU's, or those that the variable `INCTRL_CPU` allows, so that tests and
//! benches can compare them.

use super::bf16::Bf16Isa;
use super::bytes::ByteIsa;
use super::simd::Isa;
use crate::backend::Precision;
use crate::error::{Error, ErrorKind, Result};

/// The environment variable that names a level.
const VARIABLE: &str = "INCTRL_CPU";

/// Instruction sets, each with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Plain Rust.
    Portable,
    Avx2,
    /// Sums of products of bytes, in vectors of AVX2.
    AvxVnni,
    Avx512,
    /// Sums of products of bytes.
    Avx512Vnni,
    /// Sums of products of bf16.
    Avx512Bf16,
}

/// The instruction sets of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instructions {
    pub f32: Isa,
    /// For products of bytes, if they are faster than f32.
    pub bytes: Option<ByteIsa>,
    /// For bf16 products.
    pub bf16: Option<Bf16Isa>,
    /// For products of bytes in layers: only what multiplies all eight bits.
    pub int8: Option<ByteIsa>,
}

impl Level {
    const ALL: [Level; 6] =
        [Level::Portable, Level::Avx2, Level::AvxVnni, Level::Avx512, Level::Avx512Vnni, Level::Avx512Bf16];

    fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::AvxVnni => "avx-vnni",
            Level::Avx512 => "avx512",
            Level::Avx512Vnni => "avx512-vnni",
            Level::Avx512Bf16 => "avx512-bf16",
        }
    }

    /// The instruction sets of this level; `None` if the CPU lacks it.
    fn instructions(self) -> Option<Instructions> {
        let f32 = Isa::available().into_iter().find(|isa| match isa {
            Isa::Portable(_) => self == Level::Portable,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => matches!(self, Level::Avx2 | Level::AvxVnni),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => self >= Level::Avx512,
        })?;
        let (vnni, bf16) = (ByteIsa::fused(f32), Bf16Isa::beside(f32));
        let plain = Instructions { f32, bytes: None, bf16: None, int8: None };
        match self {
            Level::Portable => Some(Instructions { bf16, int8: ByteIsa::beside(f32), ..plain }),
            Level::Avx2 => Some(Instructions { bytes: ByteIsa::beside(f32), ..plain }),
            Level::Avx512 => Some(plain),
            Level::AvxVnni | Level::Avx512Vnni => Some(Instructions { bytes: Some(vnni?), int8: vnni, ..plain }),
            Level::Avx512Bf16 => Some(Instructions { bytes: vnni, bf16: Some(bf16?), int8: vnni, ..plain }),
        }
    }

    /// Every level of this CPU, the lowest first.
    pub(crate) fn available() -> Vec<(Level, Instructions)> {
        Level::ALL.into_iter().filter_map(|level| Some((level, level.instructions()?))).collect()
    }
}

impl Instructions {
    /// Whether they compute in `precision`.
    pub(crate) fn support(&self, precision: Precision) -> bool {
        match precision {
            Precision::F32 => true,
            Precision::Bf16 => self.bf16.is_some(),
            Precision::Int8 => self.int8.is_some(),
            Precision::F16 => false,
        }
    }

    /// The instruction sets of the level in `INCTRL_CPU`, or else all of this CPU. Plain Rust multiplies bf16 and bytes
    /// slower than f32, so it does so only if it is requested by name.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an unknown name, [`ErrorKind::Device`] for a level that this CPU lacks.
    pub(crate) fn chosen() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name, &Level::available()),
            _ => Ok(Self::widest(&Level::available())),
        }
    }

    fn widest(available: &[(Level, Instructions)]) -> Self {
        match available.last() {
            Some((level, widest)) if *level > Level::Portable => *widest,
            _ => Instructions { f32: Isa::portable(), bytes: None, bf16: None, int8: None },
        }
    }

    fn named(name: &str, available: &[(Level, Instructions)]) -> Result<Self> {
        let names = |levels: &mut dyn Iterator<Item = Level>| levels.map(Level::name).collect::<Vec<_>>().join(", ");
        let Some(asked) = Level::ALL.into_iter().find(|level| level.name() == name) else {
            let message = format!("{VARIABLE} is {name:?}: use one of {}", names(&mut Level::ALL.into_iter()));
            return Err(Error::new(ErrorKind::Argument, message));
        };
        available.iter().find(|(level, _)| *level == asked).map(|(_, instructions)| *instructions).ok_or_else(|| {
            let has = names(&mut available.iter().map(|(level, _)| *level));
            let message = format!("{VARIABLE} is {name:?}, which this CPU lacks: it has {has}");
            Error::new(ErrorKind::Device, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_by_name_and_a_missing_one_is_said_so() {
        let available = Level::available();
        assert_eq!(available[0].0, Level::Portable);
        for (level, instructions) in &available {
            let found = Instructions::named(level.name(), &available).unwrap();
            assert_eq!(found.f32.name(), instructions.f32.name(), "{level:?}");
            assert_eq!(found.bf16.is_some(), matches!(level, Level::Portable | Level::Avx512Bf16), "{level:?}");
            // Bytes of 7 bits are for searches alone.
            let none = matches!(level, Level::Avx2 | Level::Avx512);
            assert!(found.int8.is_none() || !none, "{level:?}");
            assert!(found.int8.is_some() || none || *level == Level::Avx512Bf16, "{level:?}");
        }
        let error = Instructions::named("avx9", &available).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("portable, avx2, avx-vnni, avx512"), "{error}");
        let error = Instructions::named("avx512-bf16", &available[..1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("it has portable"), "{error}");
    }

    #[test]
    fn plain_rust_multiplies_bf16_and_bytes_only_where_it_is_named() {
        let available = Level::available();
        let (unasked, named) =
            (Instructions::widest(&available[..1]), Instructions::named("portable", &available).unwrap());
        assert!(unasked.bf16.is_none() && unasked.int8.is_none());
        assert!(named.bf16.is_some() && named.int8.is_some());
    }
}
