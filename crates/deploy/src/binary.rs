//! Whether a program can run on Lambda.

use std::fmt;

use object::Endianness;
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader as _};

/// The C library of `provided.al2023`: Amazon Linux 2023 has glibc 2.34 for as long as it lives.
pub const GLIBC_OF_LAMBDA: (u32, u32) = (2, 34);

/// What processors a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Intel's and AMD's.
    X86_64,
    /// ARM's, AWS's Graviton among them.
    Arm64,
}

impl Architecture {
    /// As Lambda calls it.
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

/// What the header of a Linux program says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary {
    /// What it was built for.
    pub architecture: Architecture,
    /// The highest version of glibc that one of its symbols needs; none if it is linked statically.
    pub glibc: Option<(u32, u32)>,
}

/// Why a program cannot run on Lambda.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not a 64-bit ELF file.
    #[error(
        "this is no 64-bit program for Linux, which is what Lambda runs; build one there, or with `cargo zigbuild`, and name it \
         with --binary"
    )]
    NotLinux,
    /// For some other processor; its number in ELF.
    #[error("Lambda has x86_64 and arm64, and this program is for neither (ELF machine {0})")]
    OtherMachine(u16),
    /// It was linked against a newer C library than Lambda has.
    #[error(
        "this program needs glibc {}.{}, and Lambda has {}.{}; build it on Debian 12 or older, and name such a build with \
         --binary", .0.0, .0.1, GLIBC_OF_LAMBDA.0, GLIBC_OF_LAMBDA.1
    )]
    NewerGlibc((u32, u32)),
}

impl Binary {
    /// Reads the header of a program.
    ///
    /// # Errors
    /// [`Unfit::NotLinux`] and [`Unfit::OtherMachine`].
    pub fn read(program: &[u8]) -> Result<Self, Unfit> {
        let not_elf = |_| Unfit::NotLinux;
        let header = FileHeader64::<Endianness>::parse(program).map_err(not_elf)?;
        let endian = header.endian().map_err(not_elf)?;
        let architecture = match header.e_machine(endian) {
            EM_X86_64 => Architecture::X86_64,
            EM_AARCH64 => Architecture::Arm64,
            other => return Err(Unfit::OtherMachine(other.0)),
        };
        Ok(Self { architecture, glibc: highest_glibc(program).map_err(not_elf)? })
    }

    /// Whether Lambda can run it.
    ///
    /// # Errors
    /// [`Unfit::NewerGlibc`].
    pub fn check(&self) -> Result<(), Unfit> {
        match self.glibc {
            Some(needed) if needed > GLIBC_OF_LAMBDA => Err(Unfit::NewerGlibc(needed)),
            _ => Ok(()),
        }
    }
}

/// The highest `GLIBC_x.y` among the versions that the program's symbols need (section `.gnu.version_r`).
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

/// `GLIBC_2.34` is (2, 34).
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
    fn what_our_own_header_says() {
        let binary = Binary::read(&own()).expect("a program");
        assert_eq!(binary.architecture.as_str().replace("arm64", "aarch64"), std::env::consts::ARCH);
        let (major, minor) = binary.glibc.expect("linked to glibc");
        assert!(major == 2 && minor >= 17, "{major}.{minor}: Rust needs 2.17 at least");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn other_machines_and_other_files_are_refused() {
        let mut program = own();
        // e_machine is at byte 18 of the header; 243 is RISC-V.
        program[18..20].copy_from_slice(&243u16.to_le_bytes());
        assert_eq!(Binary::read(&program), Err(Unfit::OtherMachine(243)));
        for other in [&b"#!/bin/sh\n"[..], b"", &program[..10]] {
            assert_eq!(Binary::read(other), Err(Unfit::NotLinux));
        }
    }

    #[test]
    fn a_header_that_lies_is_no_program() {
        let mut program = own();
        // The table of sections is said to begin far past the file's end.
        program[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Binary::read(&program), Err(Unfit::NotLinux));
    }

    #[test]
    fn versions_are_numbers_not_text() {
        assert!(glibc(b"GLIBC_2.4") < glibc(b"GLIBC_2.34"));
        assert_eq!(glibc(b"GLIBC_2.3.4"), Some((2, 3)));
        assert_eq!(glibc(b"GLIBC_PRIVATE"), None);
        assert_eq!(glibc(b"GCC_3.0"), None);
    }

    #[test]
    fn a_newer_c_library_is_refused_with_the_way_out() {
        let architecture = Architecture::X86_64;
        assert_eq!(Binary { architecture, glibc: Some((2, 34)) }.check(), Ok(()));
        assert_eq!(Binary { architecture, glibc: None }.check(), Ok(()));
        let refused = Binary { architecture, glibc: Some((2, 39)) }.check().expect_err("too new").to_string();
        assert!(refused.contains("2.39") && refused.contains("--binary"), "{refused}");
    }
}
