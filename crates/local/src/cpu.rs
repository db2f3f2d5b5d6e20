//! Whether this processor can run the compiled kernels, asked before any of them runs.
//!
//! ggml is compiled for one fixed instruction set (see `.cargo/config.toml`); on an older processor its first
//! matrix product would end the whole program with `SIGILL`. Nothing here measures speed or picks kernels.
//! Next: [`crate::engine`], which calls [`check`] first thing.

use std::fmt;

/// The instruction-set extensions the kernels are compiled for, and whether a processor has each.
///
/// A plain value, so that the refusal can be tested on a processor that has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// 256-bit integer vectors.
    pub avx2: bool,
    /// Fused multiply and add.
    pub fma: bool,
    /// Half-precision conversion.
    pub f16c: bool,
    /// Bit manipulation, second set.
    pub bmi2: bool,
}

impl Features {
    /// What the running processor offers.
    #[cfg(target_arch = "x86_64")]
    #[must_use]
    pub fn detect() -> Self {
        Self {
            avx2: std::arch::is_x86_feature_detected!("avx2"),
            fma: std::arch::is_x86_feature_detected!("fma"),
            f16c: std::arch::is_x86_feature_detected!("f16c"),
            bmi2: std::arch::is_x86_feature_detected!("bmi2"),
        }
    }

    /// Other architectures are compiled for their own baseline, which every processor of theirs has.
    #[cfg(not(target_arch = "x86_64"))]
    #[must_use]
    pub fn detect() -> Self {
        Self { avx2: true, fma: true, f16c: true, bmi2: true }
    }
}

/// The extensions that are missing, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(Vec<&'static str>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this processor lacks {}, which the embedded model needs; use another provider, or a machine with AVX2 \
             (most made since 2015)",
            self.0.join(", ")
        )
    }
}

impl std::error::Error for Missing {}

/// Whether `features` suffice.
///
/// # Errors
/// [`Missing`], naming each extension that is not there.
pub fn check(features: Features) -> Result<(), Missing> {
    let needed = [("AVX2", features.avx2), ("FMA", features.fma), ("F16C", features.f16c), ("BMI2", features.bmi2)];
    let missing: Vec<_> = needed.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(Missing(missing)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Features = Features { avx2: true, fma: true, f16c: true, bmi2: true };

    #[test]
    fn a_complete_processor_passes() {
        assert_eq!(check(ALL), Ok(()));
    }

    #[test]
    fn each_missing_extension_is_named() {
        let text = check(Features { avx2: false, bmi2: false, ..ALL }).unwrap_err().to_string();
        assert!(text.contains("lacks AVX2, BMI2,"), "{text}");
        assert!(!text.contains("FMA"), "{text}");
    }
}
