//! Our client against SeaweedFS, a third-party S3 service, and a comparison of the statuses of both services
//! for links.
//!
//! Needs SeaweedFS's program `weed`, on the path or named by `TINTYPE_WEED`.

#[expect(dead_code, reason = "the other tests use the rest")]
mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Addressing, TestServer, get, send};
use http::{Method, StatusCode};
use tintype_core::secret::Secret;
use tintype_core::store::{Key, NewObject, ObjectStore, PresignOptions};
use tintype_storage::S3Store;
use tintype_testing::{store_contract_with_keys, strange_keys};

/// Time limit for the start, which takes some seconds, or longer on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const BUCKET: &str = "pictures";

/// SeaweedFS in one process: master, volume server, filer and S3.
struct SeaweedFs {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the test's setting, not the program's")]
fn start(folder: &Path, ports: &[u16; 8]) -> Child {
    let program = std::env::var_os("TINTYPE_WEED").unwrap_or_else(|| "weed".into());
    let config = folder.join("s3.json");
    let identity = r#"{"identities":[{"name":"test","credentials":[{"accessKey":"AKIDTEST","secretKey":"sekret"}],
        "actions":["Admin","Read","Write","List"]}]}"#;
    std::fs::write(&config, identity).expect("write the configuration");
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    let names = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    ];
    Command::new(&program)
        .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"])
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .args(["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"])
        .args(names.iter().zip(ports).map(|(name, port)| format!("-{name}={port}")))
        .arg(format!("-dir={}", folder.display()))
        .arg(format!("-s3.config={}", config.display()))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()))
}

impl SeaweedFs {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // SeaweedFS does not support port 0. All free ports are held until all are known.
        let held: [TcpListener; 8] =
            std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let ports = std::array::from_fn(|at| held[at].local_addr().expect("an address").port());
        drop(held);
        let process = start(folder.path(), &ports);
        let url = format!("http://127.0.0.1:{}", ports[6]);
        let mut weed = Self { process, url, _folder: folder };
        weed.wait().await;
        weed
    }

    /// Waits until a bucket can be created and written to.
    async fn wait(&mut self) {
        let began = Instant::now();
        let store = self.client("");
        let sdk = common::sdk(&self.url, "AKIDTEST", "sekret", Addressing::Path);
        let key = Key::new("ready").expect("a key");
        loop {
            let _ = sdk.create_bucket().bucket(BUCKET).send().await;
            let object = NewObject { bytes: "ready".into(), content_type: "text/plain".into() };
            match store.put(&key, object).await {
                Ok(_) => break,
                Err(error) => {
                    let log = || std::fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
                    assert!(began.elapsed() < START_TIMEOUT, "SeaweedFS did not start: {error}\n{}", log());
                    assert!(
                        self.process.try_wait().expect("a child").is_none(),
                        "SeaweedFS ended:\n{}",
                        log()
                    );
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        store.delete(&key).await.expect("delete");
    }

    fn client(&self, prefix: &str) -> S3Store {
        common::remote(&self.url, BUCKET, prefix, ("AKIDTEST".into(), Secret::new("sekret")))
    }
}

/// The unusual keys that SeaweedFS supports. SeaweedFS stores objects in a tree of directories: it normalizes
/// `//`, treats a trailing slash as a directory, rejects `.` and `..`, and limits a segment to 255 bytes.
fn keys_supported_by_seaweedfs() -> Vec<String> {
    let is_path = |key: &String| {
        key.starts_with('/')
            || key.ends_with('/')
            || key.contains("//")
            || key.split('/').any(|part| part.len() > 255 || part == "." || part == "..")
    };
    strange_keys().into_iter().filter(|key| !is_path(key)).collect()
}

/// The statuses for a link, and for the link altered in every way that must be rejected.
async fn statuses(store: &dyn ObjectStore) -> Vec<(&'static str, StatusCode)> {
    let (key, other) = (Key::new("images/a.png").expect("a key"), Key::new("images/b.png").expect("a key"));
    for key in [&key, &other] {
        let object = NewObject { bytes: "picture".into(), content_type: "image/png".into() };
        store.put(key, object).await.expect("put");
    }
    let options =
        |seconds| PresignOptions { expires_in: Duration::from_secs(seconds), content_disposition: None };
    let good = store.presign(&key, &options(60)).await.expect("presign").url;
    let short = store.presign(&key, &options(1)).await.expect("presign").url;
    let (path, _) = good.split_once('?').expect("a query");
    let at = good.find("X-Amz-Signature=").expect("a signature") + "X-Amz-Signature=".len();
    let flipped = if good[at..].starts_with('0') { "1" } else { "0" };
    let forged = format!("{}{flipped}{}", &good[..at], &good[at + 1..]);
    let mut found = vec![
        ("good", get(&good).await.status),
        ("bad signature", get(&forged).await.status),
        ("no signature of the right form", get(&format!("{}x{}", &good[..at], &good[at + 1..])).await.status),
        ("unsigned", get(path).await.status),
        ("PUT with a GET link", send(Method::PUT, &good, &[]).await.status),
        ("DELETE with a GET link", send(Method::DELETE, &good, &[]).await.status),
        ("longer life", get(&good.replace("X-Amz-Expires=60", "X-Amz-Expires=600")).await.status),
        ("more than 7 days", get(&good.replace("X-Amz-Expires=60", "X-Amz-Expires=604801")).await.status),
        ("another key", get(&good.replace("images/a.png", "images/b.png")).await.status),
        ("an added override", get(&format!("{good}&response-content-type=text%2Fhtml")).await.status),
    ];
    // The link expires as time passes.
    let began = Instant::now();
    let mut expired = get(&short).await.status;
    while expired == StatusCode::OK && began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        expired = get(&short).await.status;
    }
    found.push(("expired", expired));
    assert_eq!(
        store.get(&key, None).await.expect("get").bytes,
        "picture",
        "a rejected request changed the object"
    );
    found
}

#[tokio::test]
async fn our_client_and_links_work_with_seaweedfs() {
    let weed = SeaweedFs::start().await;
    store_contract_with_keys(&weed.client(""), &keys_supported_by_seaweedfs()).await;
    store_contract_with_keys(&weed.client("a/prefix"), &keys_supported_by_seaweedfs()).await;

    let at_seaweedfs = statuses(&weed.client("")).await;
    let server = TestServer::start().await;
    let at_ours = statuses(&*server.embedded.store()).await;
    assert_eq!(at_ours, at_seaweedfs);
    for (case, status) in at_ours {
        let expected = match case {
            "good" => StatusCode::OK,
            "more than 7 days" => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        };
        assert_eq!(status, expected, "{case}");
    }
}
