use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;

/// `printf abc | sha256sum`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// `printf '' | sha256sum`.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// `head -c 1000000 /dev/zero | sha256sum`: several parts.
const MILLION_ZEROS: &str = "d29751f2649b32ff572b5e0a9f541ea660a50f94ff0beedfb0b692b924cc8025";

fn source(path: &Path) -> HashSource {
    let stamp = FileStamp::of(&fs::metadata(path).expect("a file"));
    HashSource::File { path: path.to_owned(), stamp }
}

fn hash(sources: &[HashSource], cache: Option<&HashCache>) -> String {
    hash_sources(sources, cache, &|| true).expect("a hash")
}

#[test]
fn the_hash_is_what_sha256sum_prints() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (content, expected) in
        [(b"abc".to_vec(), ABC), (Vec::new(), EMPTY), (vec![0; 1_000_000], MILLION_ZEROS)]
    {
        let path = folder.path().join("weights");
        fs::write(&path, &content).expect("a file");
        assert_eq!(hash(&[source(&path)], None), expected);
        assert_eq!(hash(&[HashSource::Embedded(content.leak())], None), expected);
    }
}

#[test]
fn shards_are_hashed_by_the_sorted_list_of_their_hashes() {
    let shards = [HashSource::Embedded(b""), HashSource::Embedded(b"abc")];
    // `printf '%s\n' ABC EMPTY | sort | sha256sum`.
    let expected = "ff481ce4c9482a1350469a8ff263915d6a478123e3a0c03f6eba5cb3e38a150f";
    assert_eq!(hash(&shards, None), expected);
    let [first, second] = shards;
    assert_eq!(hash(&[second, first], None), expected, "the order of the files does not count");
}

#[test]
fn a_file_in_the_same_state_is_not_read_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, cached) = (folder.path().join("weights"), folder.path().join("cache.json"));
    fs::write(&path, "abc").expect("a file");
    let cache = HashCache::new(cached.clone());
    assert_eq!(hash(&[source(&path)], Some(&cache)), ABC);

    // Another hash in the cache shows that the file itself is not read.
    let marked = fs::read_to_string(&cached).expect("the cache").replace(ABC, EMPTY);
    fs::write(&cached, marked).expect("the cache");
    assert_eq!(hash(&[source(&path)], Some(&HashCache::new(cached))), EMPTY);
}

#[test]
fn a_changed_file_is_hashed_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, cached) = (folder.path().join("weights"), folder.path().join("cache.json"));
    let cache = HashCache::new(cached.clone());
    fs::write(&path, "xyz").expect("a file");
    let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
    assert_ne!(hash(&[source(&path)], Some(&cache)), ABC);

    // The same size and the same time of modification, but another file.
    let other = folder.path().join("other");
    fs::write(&other, "abc").expect("a file");
    File::options().write(true).open(&other).and_then(|file| file.set_modified(modified)).expect("a time");
    fs::rename(&other, &path).expect("a file");
    assert_eq!(hash(&[source(&path)], Some(&cache)), ABC);
    // Files that are gone leave the cache.
    fs::write(&other, "").expect("a file");
    fs::remove_file(&path).expect("a file");
    assert_eq!(hash(&[source(&other)], Some(&cache)), EMPTY);
    let content = fs::read_to_string(cached).expect("the cache");
    assert!(content.contains(EMPTY) && !content.contains(ABC), "{content}");
}

#[test]
fn a_damaged_cache_is_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, cached) = (folder.path().join("weights"), folder.path().join("cache.json"));
    fs::write(&path, "abc").expect("a file");
    let cache = HashCache::new(cached.clone());
    assert_eq!(hash(&[source(&path)], Some(&cache)), ABC);
    let whole = fs::read_to_string(&cached).expect("the cache");
    for damaged in ["", "{", &whole[..whole.len() / 2], "\u{fffd}", &whole.replace(ABC, "no hash")] {
        fs::write(&cached, damaged).expect("the cache");
        assert_eq!(hash(&[source(&path)], Some(&cache)), ABC);
        assert_eq!(fs::read_to_string(&cached).expect("the cache"), whole, "after `{damaged}`");
    }
}

#[test]
fn a_cache_that_cannot_be_written_costs_nothing_but_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("weights");
    fs::write(&path, "abc").expect("a file");
    let cache = HashCache::new(folder.path().join("missing/cache.json"));
    assert_eq!(hash(&[source(&path)], Some(&cache)), ABC);
}

#[test]
fn a_file_that_changed_since_it_was_loaded_has_no_hash() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("weights");
    fs::write(&path, "abc").expect("a file");
    let loaded = source(&path);
    fs::write(&path, "abcd").expect("a file");
    let result = hash_sources(&[loaded], None, &|| true);
    assert!(matches!(result, Err(HashError::Changed)), "{result:?}");
}

#[test]
fn hashing_stops_when_the_model_is_dropped() {
    let result = hash_sources(&[HashSource::Embedded(b"abc")], None, &|| false);
    assert!(matches!(result, Err(HashError::Unused)), "{result:?}");
}

#[test]
fn the_hash_is_computed_in_the_background() {
    assert_eq!(ModelHash::known(ABC.to_owned()).get().as_deref(), Some(ABC));
    let hash = ModelHash::compute("x", vec![HashSource::Embedded(b"abc")], None);
    let began = Instant::now();
    let value = loop {
        match hash.get() {
            Some(value) => break value,
            None if began.elapsed() > Duration::from_secs(60) => panic!("no hash after a minute"),
            None => thread::yield_now(),
        }
    };
    assert_eq!(value, ABC);
}
