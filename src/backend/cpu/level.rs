//! The instruction sets in use: all of the CPU's, or those that the variable `INCTRL_CPU` allows, so that tests and
//! benches can compare them.

use super::bf16::Bf16Isa;
use super::bytes::ByteIsa;
use super::simd::Isa;
use crate::error::{Error, ErrorKind, Result};

/// The environment variable that names a level.
const VARIABLE: &str = "INCTRL_CPU";

/// Instruction sets, each with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Plain Rust.
    Portable,
    Avx2,
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
}

impl Level {
    const ALL: [Level; 5] = [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Vnni, Level::Avx512Bf16];

    fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
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
            Isa::Avx2(_) => self == Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => self >= Level::Avx512,
        })?;
        let (bytes, bf16) = (ByteIsa::beside(f32), Bf16Isa::beside(f32));
        match self {
            Level::Portable => Some(Instructions { f32, bytes: None, bf16 }),
            Level::Avx2 => Some(Instructions { f32, bytes, bf16: None }),
            Level::Avx512 => Some(Instructions { f32, bytes: None, bf16: None }),
            Level::Avx512Vnni => Some(Instructions { f32, bytes: Some(bytes?), bf16: None }),
            Level::Avx512Bf16 => Some(Instructions { f32, bytes, bf16: Some(bf16?) }),
        }
    }

    /// Every level of this CPU, the lowest first.
    pub(crate) fn available() -> Vec<(Level, Instructions)> {
        Level::ALL.into_iter().filter_map(|level| Some((level, level.instructions()?))).collect()
    }
}

impl Instructions {
    /// The instruction sets of the level in `INCTRL_CPU`, or else all of this CPU. Plain Rust multiplies bf16 far
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
            _ => Instructions { bf16: None, ..Self::portable() },
        }
    }

    fn portable() -> Self {
        let f32 = Isa::portable();
        Instructions { f32, bytes: None, bf16: Bf16Isa::beside(f32) }
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
        }
        let error = Instructions::named("avx9", &available).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("portable, avx2, avx512"), "{error}");
        let error = Instructions::named("avx512-bf16", &available[..1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("it has portable"), "{error}");
    }

    #[test]
    fn plain_rust_multiplies_bf16_only_where_it_is_named() {
        let available = Level::available();
        assert!(Instructions::widest(&available[..1]).bf16.is_none());
        assert!(Instructions::named("portable", &available).unwrap().bf16.is_some());
    }
}
