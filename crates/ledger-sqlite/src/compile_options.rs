//! The options with which SQLite was compiled.
//!
//! `.cargo/config.toml` sets them in `LIBSQLITE3_FLAGS`. cargo does not read that file for `cargo install --git`, so the
//! program checks at its start what it got.

use rusqlite::Connection;

/// An option of `LIBSQLITE3_FLAGS`, as `PRAGMA compile_options` names it. That pragma does not list the other,
/// `HAVE_FDATASYNC`.
const OPTION: &str = "DEFAULT_MEMSTATUS=0";

/// Whether SQLite was compiled with the options of this project. Without them it works in the same way, but every
/// sync also writes the times of the file, so that it takes longer.
pub fn has_project_compile_options() -> bool {
    options().is_ok_and(|options| options.iter().any(|option| option == OPTION))
}

fn options() -> rusqlite::Result<Vec<String>> {
    let connection = Connection::open_in_memory()?;
    let mut statement = connection.prepare("PRAGMA compile_options")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_has_the_compile_options_of_the_project() {
        let options = options().expect("a list");
        assert!(has_project_compile_options(), "{options:?}");
        // Connections move between threads, so SQLite must be compiled for threads.
        assert!(options.iter().any(|option| option == "THREADSAFE=1"), "{options:?}");
    }
}
