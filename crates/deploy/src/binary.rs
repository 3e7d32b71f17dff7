//! Checks whether a program can run on Lambda.

use std::fmt;

use object::Endianness;
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader as _};

/// The glibc version of the runtime `provided.al2023` (Amazon Linux 2023).
pub const GLIBC_OF_LAMBDA: (u32, u32) = (2, 34);

/// The processor architecture of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Intel and AMD.
    X86_64,
    /// ARM, for example AWS Graviton.
    Arm64,
}

impl Architecture {
    /// Lambda's name of the architecture.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a Linux program's ELF header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The architecture.
    pub architecture: Architecture,
    /// The highest glibc version that a symbol needs; `None` for a statically linked program.
    pub glibc: Option<(u32, u32)>,
}

/// Why a program cannot run on Lambda.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncompatibleBinary {
    /// Not a 64-bit ELF file.
    #[error(
        "not a 64-bit Linux program, which Lambda needs; build one on Linux or with `cargo zigbuild`, and pass \
         it with `--binary`"
    )]
    NotLinux,
    /// Another processor, by its ELF machine number.
    #[error(
        "the program is for an unsupported processor (ELF machine {0}); Lambda supports x86_64 and arm64"
    )]
    OtherMachine(u16),
    /// The program needs a newer glibc than Lambda has.
    #[error(
        "the program needs glibc {}.{}, but Lambda has {}.{}; build it on Debian 12 or older, and pass it with \
         `--binary`", .0.0, .0.1, GLIBC_OF_LAMBDA.0, GLIBC_OF_LAMBDA.1
    )]
    NewerGlibc((u32, u32)),
}

impl Binary {
    /// Reads the header of a program.
    ///
    /// # Errors
    /// [`IncompatibleBinary::NotLinux`] and [`IncompatibleBinary::OtherMachine`].
    pub fn read(program: &[u8]) -> Result<Self, IncompatibleBinary> {
        let not_elf = |_| IncompatibleBinary::NotLinux;
        let header = FileHeader64::<Endianness>::parse(program).map_err(not_elf)?;
        let endian = header.endian().map_err(not_elf)?;
        let architecture = match header.e_machine(endian) {
            EM_X86_64 => Architecture::X86_64,
            EM_AARCH64 => Architecture::Arm64,
            other => return Err(IncompatibleBinary::OtherMachine(other.0)),
        };
        Ok(Self { architecture, glibc: highest_glibc(program).map_err(not_elf)? })
    }

    /// Checks that Lambda can run the program.
    ///
    /// # Errors
    /// [`IncompatibleBinary::NewerGlibc`].
    pub fn check(&self) -> Result<(), IncompatibleBinary> {
        match self.glibc {
            Some(needed) if needed > GLIBC_OF_LAMBDA => Err(IncompatibleBinary::NewerGlibc(needed)),
            _ => Ok(()),
        }
    }
}

/// The highest `GLIBC_x.y` that the program's symbols need (section `.gnu.version_r`).
fn highest_glibc(program: &[u8]) -> object::Result<Option<(u32, u32)>> {
    let header = FileHeader64::<Endianness>::parse(program)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, program)?;
    let mut highest = None;
    for section in sections.iter() {
        let Some((mut libraries, link)) = section.gnu_verneed(endian, program)? else { continue };
        let names = sections.strings(endian, program, link)?;
        while let Some((_, mut versions)) = libraries.next()? {
            while let Some(version) = versions.next()? {
                highest = highest.max(glibc(version.name(endian, names)?));
            }
        }
    }
    Ok(highest)
}

/// Parses `GLIBC_2.34` as (2, 34).
fn glibc(version: &[u8]) -> Option<(u32, u32)> {
    let numbers = std::str::from_utf8(version).ok()?.strip_prefix("GLIBC_")?;
    let mut numbers = numbers.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().expect("a test has a path")).expect("readable")
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn the_test_programs_own_header_is_read() {
        let binary = Binary::read(&own()).expect("a program");
        assert_eq!(binary.architecture.as_str().replace("arm64", "aarch64"), std::env::consts::ARCH);
        let (major, minor) = binary.glibc.expect("linked to glibc");
        assert!(major == 2 && minor >= 17, "{major}.{minor}: Rust needs 2.17 at least");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn other_processors_and_other_files_are_rejected() {
        let mut program = own();
        // e_machine is at byte 18 of the header; 243 is RISC-V.
        program[18..20].copy_from_slice(&243u16.to_le_bytes());
        assert_eq!(Binary::read(&program), Err(IncompatibleBinary::OtherMachine(243)));
        for other in [&b"#!/bin/sh\n"[..], b"", &program[..10]] {
            assert_eq!(Binary::read(other), Err(IncompatibleBinary::NotLinux));
        }
    }

    #[test]
    fn a_corrupt_header_is_rejected() {
        let mut program = own();
        // The section table's offset is far past the end of the file.
        program[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Binary::read(&program), Err(IncompatibleBinary::NotLinux));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(glibc(b"GLIBC_2.4") < glibc(b"GLIBC_2.34"));
        assert_eq!(glibc(b"GLIBC_2.3.4"), Some((2, 3)));
        assert_eq!(glibc(b"GLIBC_PRIVATE"), None);
        assert_eq!(glibc(b"GCC_3.0"), None);
    }

    #[test]
    fn a_newer_glibc_is_rejected_with_the_remedy() {
        let architecture = Architecture::X86_64;
        assert_eq!(Binary { architecture, glibc: Some((2, 34)) }.check(), Ok(()));
        assert_eq!(Binary { architecture, glibc: None }.check(), Ok(()));
        let refused = Binary { architecture, glibc: Some((2, 39)) }.check().expect_err("too new").to_string();
        assert!(refused.contains("2.39") && refused.contains("--binary"), "{refused}");
    }
}
