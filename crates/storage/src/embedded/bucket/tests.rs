use std::os::unix::net::UnixListener;
use std::sync::Arc;

use super::*;
use crate::embedded::object_file::{ObjectAttributes, ObjectWriter};

/// A FIFO without a writer, so that a program that opens it for reading waits; a socket where no safe function
/// makes a FIFO. The program `mkfifo` would inherit the locks of the tests that run beside this one.
pub(in crate::embedded) fn make_fifo(path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU)?);
    #[cfg(not(target_os = "linux"))]
    return UnixListener::bind(path).map(drop);
}

struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("bucket")).expect("mkdir");
        fs::create_dir(root.path().join("tmp")).expect("mkdir");
        Self { root }
    }

    fn bucket(&self) -> Bucket {
        Bucket::open("bucket".into(), self.root.path().join("bucket")).expect("open")
    }

    async fn staged(&self, key: &str, content: &str) -> StagedObject {
        let mut writer = ObjectWriter::begin(&self.root.path().join("tmp")).await.expect("begin");
        writer.write(content.as_bytes()).await.expect("write");
        writer
            .finish(ObjectAttributes { key: key.into(), ..ObjectAttributes::default() })
            .await
            .expect("finish")
    }
}

#[tokio::test]
async fn no_key_leaves_the_bucket_and_all_are_found_again() {
    let folder = Folder::new();
    let bucket = folder.bucket();
    let long = "虎".repeat(341);
    let keys = [
        "../x",
        "../../../x",
        "/",
        "//",
        ".",
        "..",
        "a",
        "A",
        "a/",
        "a//b",
        "\u{1}\n",
        "C:\\x",
        long.as_str(),
    ];
    for key in keys {
        bucket.commit(folder.staged(key, key).await, &Precondition::Always).expect("commit");
    }
    let mut around: Vec<_> = fs::read_dir(folder.root.path())
        .expect("list")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    around.sort();
    assert_eq!(around, ["bucket", "tmp"]);
    drop(bucket);
    let bucket = folder.bucket();
    assert_eq!(bucket.objects_with_prefix("").len(), keys.len());
    for key in keys {
        let (mut file, record) = bucket.read(key).expect("read");
        let mut content = vec![0; record.size as usize];
        io::Read::read_exact(&mut file, &mut content).expect("content");
        assert_eq!((record.key.as_str(), content.as_slice()), (key, key.as_bytes()));
    }
}

#[tokio::test]
async fn damaged_objects_are_skipped_at_start() {
    let folder = Folder::new();
    let bucket = folder.bucket();
    for key in ["good", "cut", "moved"] {
        bucket.commit(folder.staged(key, "content").await, &Precondition::Always).expect("commit");
    }
    let path = |key: &str| folder.root.path().join("bucket").join(relative_path(key));
    let whole = fs::read(path("cut")).expect("read");
    fs::write(path("cut"), &whole[..whole.len() / 2]).expect("cut");
    fs::copy(path("good"), path("moved")).expect("copy");
    let bucket = folder.bucket();
    let keys: Vec<_> = bucket.objects_with_prefix("").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["good"]);
    assert!(matches!(bucket.read("cut"), Err(DiskError::NoSuchKey)));
    assert!(matches!(bucket.read("moved"), Err(DiskError::NoSuchKey)));
    // The damaged object can be replaced.
    bucket.commit(folder.staged("cut", "new").await, &Precondition::Absent).expect("commit");
    assert_eq!(bucket.read("cut").expect("read").1.size, 3);
}

#[tokio::test]
async fn an_object_that_is_damaged_later_can_be_written_again() {
    type Damage = fn(&Path) -> io::Result<()>;
    let damages: [(&str, Damage); 9] = [
        ("cut", |path| fs::OpenOptions::new().write(true).open(path)?.set_len(5)),
        ("emptied", |path| fs::write(path, b"")),
        ("overwritten", |path| fs::write(path, vec![0; 4_096])),
        ("deleted", |path| fs::remove_file(path)),
        ("a folder", |path| fs::remove_file(path).and_then(|()| fs::create_dir(path))),
        ("a FIFO", |path| fs::remove_file(path).and_then(|()| make_fifo(path))),
        ("a socket", |path| fs::remove_file(path).and_then(|()| UnixListener::bind(path).map(drop))),
        ("a link to a device", |path| {
            fs::remove_file(path).and_then(|()| std::os::unix::fs::symlink("/dev/zero", path))
        }),
        ("a dangling link", |path| {
            fs::remove_file(path).and_then(|()| std::os::unix::fs::symlink("/nowhere", path))
        }),
    ];
    let folder = Folder::new();
    let bucket = folder.bucket();
    for (name, damage) in damages {
        let path = folder.root.path().join("bucket").join(relative_path(name));
        for reads_first in [true, false] {
            bucket.commit(folder.staged(name, "content").await, &Precondition::Always).expect("commit");
            damage(&path).expect(name);
            // As at a start.
            assert!(folder.bucket().objects_with_prefix(name).is_empty(), "{name}");
            if reads_first {
                assert!(matches!(bucket.read(name), Err(DiskError::NoSuchKey)), "{name}");
                assert!(bucket.objects_with_prefix(name).is_empty(), "{name}");
            }
            // A file cannot replace a folder.
            let _ = fs::remove_dir(&path);
            bucket.commit(folder.staged(name, "new").await, &Precondition::Absent).expect(name);
            assert_eq!(bucket.read(name).expect("read").1.size, 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_hundred_conditional_writes_succeeds() {
    let folder = Arc::new(Folder::new());
    let bucket = Arc::new(folder.bucket());
    let writes: Vec<_> = (0..100)
        .map(|number| {
            let (folder, bucket) = (Arc::clone(&folder), Arc::clone(&bucket));
            tokio::spawn(async move {
                let staged = folder.staged("contended", &number.to_string()).await;
                tokio::task::spawn_blocking(move || bucket.commit(staged, &Precondition::Absent)).await
            })
        })
        .collect();
    let mut succeeded = Vec::new();
    for write in writes {
        match write.await.expect("joined").expect("joined") {
            Ok(record) => succeeded.push(record),
            Err(error) => assert!(matches!(error, DiskError::PreconditionFailed), "{error}"),
        }
    }
    assert_eq!(succeeded.len(), 1);
    assert_eq!(bucket.read("contended").expect("read").1, succeeded[0]);
    assert_eq!(fs::read_dir(folder.root.path().join("tmp")).expect("list").count(), 0);
}

#[tokio::test]
async fn conditions() {
    let folder = Folder::new();
    let bucket = folder.bucket();
    let commit = async |content: &str, precondition: Precondition| {
        bucket.commit(folder.staged("k", content).await, &precondition).map(|record| record.etag)
    };
    assert!(matches!(commit("0", Precondition::Present).await, Err(DiskError::NoSuchKey)));
    let first = commit("1", Precondition::Absent).await.expect("absent");
    let second = commit("2", Precondition::Matches(first.clone())).await.expect("unchanged");
    assert!(matches!(
        commit("3", Precondition::Matches(first.clone())).await,
        Err(DiskError::PreconditionFailed)
    ));
    assert!(matches!(bucket.delete("k", &Precondition::Matches(first)), Err(DiskError::PreconditionFailed)));
    bucket.delete("k", &Precondition::Matches(second)).expect("delete");
    bucket.delete("k", &Precondition::Always).expect("again");
    assert!(matches!(bucket.read("k"), Err(DiskError::NoSuchKey)));
}
