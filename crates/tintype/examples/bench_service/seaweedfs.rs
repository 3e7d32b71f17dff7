//! SeaweedFS, an independent S3 service, in one process.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tintype_core::store::{Key, NewObject};

use crate::server::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, ServerOptions, Storage};

/// Timeout of the start, which takes some seconds, or longer on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A SeaweedFS process with master, volume server, filer and S3.
pub(crate) struct SeaweedFs {
    process: Child,
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

/// The configuration of an administrator with our access key.
fn identity() -> serde_json::Value {
    let keys = json!([{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}]);
    json!({"identities": [{"name": "bench", "credentials": keys, "actions": ["Admin", "Read", "Write", "List"]}]})
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        // Both calls fail if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl SeaweedFs {
    /// Starts SeaweedFS and creates the bucket.
    pub(crate) async fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // SeaweedFS does not accept port 0, so free ports are found first. All are bound until all are known.
        let listeners = (0..8).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
        let ports =
            listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<Result<Vec<_>>>()?;
        drop(listeners);
        let names = ["master", "volume", "filer", "s3"];
        let names = names.iter().flat_map(|name| [format!("{name}.port"), format!("{name}.port.grpc")]);
        let config = folder.path().join("s3.json");
        std::fs::write(&config, identity().to_string())?;
        let process = Command::new(program)
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .args(["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"])
            .args(names.zip(&ports).map(|(name, port)| format!("-{name}={port}")))
            .arg(format!("-dir={}", folder.path().display()))
            .arg(format!("-s3.config={}", config.display()))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log"))?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut seaweedfs = Self { process, url: format!("http://127.0.0.1:{}", ports[6]), folder };
        seaweedfs.wait().await?;
        Ok(seaweedfs)
    }

    /// Writes an object until that succeeds. An administrator's first object creates the bucket.
    async fn wait(&mut self) -> Result<()> {
        let began = Instant::now();
        let options = ServerOptions {
            folder: self.folder.path().to_owned(),
            storage: Storage::Bucket(self.url.clone()),
            step: Duration::ZERO,
            slots: 1,
            queue: 1,
            anonymous: false,
        };
        let (store, key) = (options.store("").await?, Key::new("ready")?);
        loop {
            let object = NewObject { bytes: "ready".into(), content_type: "text/plain".into() };
            let Err(error) = store.put(&key, object).await else { break };
            if began.elapsed() > START_TIMEOUT || self.process.try_wait()?.is_some() {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(20).collect();
                bail!("SeaweedFS did not start: {error}; its log, last line first:\n{}", last.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(store.delete(&key).await?)
    }
}
