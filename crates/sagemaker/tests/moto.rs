//! The engines against moto, a third-party Runtime API that answers from a queue of results.
//!
//! Needs moto's program `moto_server`, on the path or named by `TINTYPE_MOTO`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tintype_core::engine::{Engine, EngineError, ModelCard, Observer, Progress, Sampling};
use tintype_core::picture::{Encoded, Format, Picture};
use tintype_core::request::{Draft, GenerateRequest, RequestLimits};
use tintype_core::secret::Secret;
use tintype_core::store::{ETag, Object, ObjectMeta};
use tintype_sagemaker::remote::{
    AsyncEngine, AsyncSettings, EndpointSettings, FetchError, FetchResult, S3Location, SageMakerEngine,
    Service,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REGION: &str = "eu-central-1";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0 the shortest picture";

/// moto in its own process.
struct Moto {
    process: Child,
    address: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    #[expect(clippy::disallowed_methods, reason = "the test's setting, not the program's")]
    fn start() -> Self {
        let program = std::env::var_os("TINTYPE_MOTO").unwrap_or_else(|| "moto_server".into());
        let mut process = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let address = lines
            .find_map(|line| Some(line.expect("text").split_once("Running on http://")?.1.trim().to_owned()));
        // moto logs every request, and would block if its standard error were not read.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("an address") }
    }

    fn settings(&self) -> EndpointSettings {
        let service = Service {
            url: Some(format!("http://{}", self.address)),
            region: Some(REGION.into()),
            credentials: Some(("AKID".into(), Secret::new("wJalrXUtnFEMI"))),
        };
        EndpointSettings { service, ..EndpointSettings::new("tiger", model()) }
    }

    /// Puts results into one of moto's queues.
    async fn expect(&self, queue: &str, results: Value) {
        let body = json!({"region": REGION, "results": results}).to_string();
        let path = format!("POST /moto-api/static/sagemaker/{queue}");
        let (status, _) = exchange(&self.address, &path, &body).await;
        assert_eq!(status, 201);
    }
}

/// Sends a request, and returns the response's status and body.
async fn exchange(address: &str, line: &str, body: &str) -> (u16, Bytes) {
    let mut connection = TcpStream::connect(address).await.expect("connected");
    let length = body.len();
    // moto requires credentials and does not verify them.
    let authorization = "AWS4-HMAC-SHA256 Credential=AKID/20261123/eu-central-1/s3/aws4_request, \
                         SignedHeaders=host, Signature=0";
    let head = format!(
        "{line} HTTP/1.0\r\nHost: {address}\r\nAuthorization: {authorization}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    connection.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("answered");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let status =
        String::from_utf8_lossy(&answer[..end]).split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), Bytes::from(answer).slice(end + 4..))
}

/// moto's S3, which needs no credentials for reading.
struct Results(String);

#[async_trait]
impl FetchResult for Results {
    async fn fetch(&self, location: &S3Location, _: u64) -> Result<Option<Object>, FetchError> {
        let S3Location { bucket, key } = location;
        match exchange(&self.0, &format!("GET /{bucket}/{key}"), "").await {
            (200, bytes) => {
                let meta = ObjectMeta {
                    size: bytes.len() as u64,
                    content_type: "application/json".into(),
                    etag: ETag("1".into()),
                    modified: OffsetDateTime::now_utc(),
                };
                Ok(Some(Object { meta, bytes }))
            }
            (404, _) => Ok(None),
            (status, _) => Err(FetchError::Unavailable(status.to_string().into())),
        }
    }
}

/// An observer that is never abandoned.
struct TestObserver;

impl Observer for TestObserver {
    fn progress(&self, progress: Progress) {
        assert_eq!(progress, Progress::Started);
    }

    fn is_abandoned(&self) -> bool {
        false
    }
}

/// The smallest time limits.
fn async_settings() -> AsyncSettings {
    AsyncSettings {
        request_ttl: Duration::from_secs(60),
        invocation_timeout: Duration::from_secs(1),
        max_poll_interval: Duration::from_millis(50),
    }
}

fn model() -> ModelCard {
    ModelCard {
        name: "jumpstart".into(),
        width: 512,
        height: 512,
        steps: 50,
        guidance: 7.5,
        sampling: Sampling::default(),
    }
}

fn request() -> GenerateRequest {
    let draft = Draft { prompt: Some("a tiger".into()), ..Draft::default() };
    draft.check(&model(), &RequestLimits::for_model(&model()), 7).expect("a valid request")
}

fn picture() -> Picture {
    Picture::Encoded(Encoded { format: Format::Jpeg, bytes: JPEG.into() })
}

fn answer() -> String {
    let base64 = base64_simd::STANDARD.encode_to_string(JPEG);
    json!({"generated_images": [base64], "prompt": "a tiger"}).to_string()
}

#[tokio::test]
async fn a_real_time_endpoint() {
    let moto = Moto::start();
    let result = json!({
        "Body": answer(), "ContentType": "application/json", "InvokedProductionVariant": "AllTraffic",
        "CustomAttributes": "",
    });
    moto.expect("endpoint-results", json!([result])).await;
    let engine = SageMakerEngine::new(moto.settings()).expect("valid settings");
    assert_eq!(engine.invoke(&request()).await.expect("a picture"), [picture()]);
}

#[tokio::test]
async fn an_asynchronous_endpoint() {
    let moto = Moto::start();
    let engine = || {
        let results = Arc::new(Results(moto.address.clone()));
        AsyncEngine::new(moto.settings(), async_settings(), results).expect("valid settings")
    };
    moto.expect("async-endpoint-results", json!([{"data": answer()}])).await;
    let generated = engine().generate(Arc::new(request()), Arc::new(TestObserver)).await.expect("a picture");
    assert_eq!(generated.pictures, [picture()]);
}

#[tokio::test]
async fn an_asynchronous_endpoint_that_fails() {
    let moto = Moto::start();
    moto.expect("async-endpoint-results", json!([{"is_failure": true, "data": "out of memory"}])).await;
    let results = Arc::new(Results(moto.address.clone()));
    let engine = AsyncEngine::new(moto.settings(), async_settings(), results).expect("valid settings");
    let error = engine.generate(Arc::new(request()), Arc::new(TestObserver)).await.expect_err("no picture");
    let EngineError::UnusableResult(cause) = error else { panic!("{error:?}") };
    assert_eq!(cause.to_string(), "the asynchronous model failed: out of memory");
}
