//! The embedded service's access keys, in the format of AWS's shared credentials file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tintype_core::secret::Secret;

use super::object_file::open_regular;

/// Only the owner may read the file.
const MODE: u32 = 0o600;
/// Bytes of the file that are read; it has about 120.
const MAX_BYTES: u64 = 1 << 20;
const ID_LENGTH: usize = 20;
const SECRET_LENGTH: usize = 40;

/// A pair of access keys.
#[derive(Clone, Debug)]
pub(crate) struct AccessKeys {
    pub(crate) id: String,
    pub(crate) secret: Secret,
}

/// Reads the keys, or writes a file with random ones if it does not exist.
pub(crate) fn load_or_create(path: &Path) -> io::Result<AccessKeys> {
    match read(path) {
        Ok(text) => {
            if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
                tracing::warn!(path = %path.display(), "restricted credentials file that other users could read");
                fs::set_permissions(path, Permissions::from_mode(MODE))?;
            }
            parse(&text).ok_or_else(|| {
                let expected =
                    "expected a profile [default] with aws_access_key_id and aws_secret_access_key";
                io::Error::new(io::ErrorKind::InvalidData, expected)
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let keys = generate()?;
            write(path, &keys)?;
            Ok(keys)
        }
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open_regular(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Reads the keys of the profile `default`, or of lines before the first profile.
fn parse(text: &str) -> Option<AccessKeys> {
    let (mut in_default, mut id, mut secret) = (true, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(profile) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            in_default = profile.trim() == "default";
        } else if let Some((name, value)) = line.split_once('=').filter(|_| in_default) {
            match name.trim() {
                "aws_access_key_id" => id = Some(value.trim()),
                "aws_secret_access_key" => secret = Some(value.trim()),
                _ => {}
            }
        }
    }
    let (id, secret) = (id?, secret?);
    // A credential scope's parts are separated by slashes, so an id must have none.
    let valid = !id.is_empty() && !secret.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    valid.then(|| AccessKeys { id: id.to_owned(), secret: Secret::new(secret) })
}

fn generate() -> io::Result<AccessKeys> {
    let id = format!("TT{}", random(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ID_LENGTH - 2)?);
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    Ok(AccessKeys { id, secret: Secret::new(random(letters, SECRET_LENGTH)?) })
}

/// Random letters with uniform distribution, from an alphabet whose size divides 256.
fn random(alphabet: &[u8], length: usize) -> io::Result<String> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])).collect())
}

/// Writes the file under a temporary name and renames it, so that it is always complete.
fn write(path: &Path, keys: &AccessKeys) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary)?;
    // This file is the only place where the secret is written.
    let secret = keys.secret.expose();
    write!(file, "[default]\naws_access_key_id = {}\naws_secret_access_key = {secret}\n", keys.id)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::bucket::tests::make_fifo;

    #[test]
    fn created_once_and_readable_by_the_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credentials");
        let made = load_or_create(&path).expect("made");
        assert_eq!((made.id.len(), made.secret.expose().len()), (ID_LENGTH, SECRET_LENGTH));
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, MODE);
        let read = load_or_create(&path).expect("read");
        assert_eq!((&read.id, &read.secret), (&made.id, &made.secret));

        let other = load_or_create(&folder.path().join("other")).expect("made");
        assert_ne!(other.secret, read.secret);
    }

    #[test]
    fn lax_permissions_are_restricted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credentials");
        load_or_create(&path).expect("made");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
        load_or_create(&path).expect("read");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn a_fifo_or_a_device_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (fifo, device) = (folder.path().join("fifo"), folder.path().join("device"));
        make_fifo(&fifo).expect("mkfifo");
        std::os::unix::fs::symlink("/dev/zero", &device).expect("a link");
        for path in [fifo, device] {
            let error = load_or_create(&path).expect_err("refused");
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
    }

    #[test]
    fn reads_awss_format() {
        let keys = parse(
            "[other]\naws_access_key_id=NO\n\n[default]\n# ours\naws_access_key_id=AKID\naws_secret_access_key = a/b=c\n",
        );
        let keys = keys.expect("keys");
        assert_eq!((keys.id.as_str(), keys.secret.expose()), ("AKID", "a/b=c"));
        assert!(parse("[default]\naws_access_key_id = AKID\n").is_none());
        assert!(parse("").is_none());
    }
}
