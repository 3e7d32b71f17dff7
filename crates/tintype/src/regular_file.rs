//! Files that must be regular. To open a FIFO can wait forever, and to read a device may never end.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Opens a regular file for reading.
///
/// # Errors
/// `InvalidInput` for a FIFO, a socket, a device or a folder, which is not opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    check(&fs::metadata(path)?)?;
    File::open(path)
}

/// Opens a lock file for writing, and creates it if it does not exist.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(metadata) => check(&metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    File::options().create(true).truncate(false).write(true).open(path)
}

fn check(metadata: &fs::Metadata) -> io::Result<()> {
    let error = || io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
    metadata.is_file().then_some(()).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_devices_and_folders_are_not_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        std::os::unix::fs::symlink("/dev/zero", path("device")).expect("a link");
        std::os::unix::fs::symlink(path("socket"), path("link")).expect("a link");
        fs::create_dir(path("folder")).expect("a folder");
        for name in ["socket", "device", "link", "folder"] {
            for opened in [open(&path(name)), open_lock(&path(name))] {
                let error = opened.expect_err(name);
                assert_eq!(error.to_string(), "not a regular file", "{name}");
            }
        }
        assert_eq!(open(&path("absent")).expect_err("absent").kind(), io::ErrorKind::NotFound);
        open_lock(&path("absent")).expect("created");
        open(&path("absent")).expect("a file");
    }
}
