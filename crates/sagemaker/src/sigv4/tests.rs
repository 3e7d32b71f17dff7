//! Requests signed by AWS's own signer, and altered in every way that must be detected.

use std::time::SystemTime;

use aws_sdk_sagemakerruntime::config::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign as sign_with,
};
use aws_sigv4::sign::v4::SigningParams;
use http::{HeaderMap, HeaderName, HeaderValue};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tintype_core::secret::Secret;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-23 12:00:00 UTC);
const TARGET: &str = "/endpoints/tiger/invocations";
const BODY: &[u8] = br#"{"prompt":"a tiger"}"#;

/// The headers of a request that botocore 1.43.11 signed, at [`NOW`], with
/// `SigV4Auth(Credentials("AKID", "wJalrXUtnFEMI"), "sagemaker", "us-east-1")`.
const BOTOCORE: &[(&str, &str)] = &[
    ("host", "127.0.0.1:8080"),
    ("content-type", "application/json"),
    ("accept", "application/json;jpeg"),
    ("x-amzn-sagemaker-custom-attributes", "a  b=c "),
    ("user-agent", "Boto3/1"),
    ("x-amz-date", "20261123T120000Z"),
    (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=AKID/20261123/us-east-1/sagemaker/aws4_request, SignedHeaders=accept;content-type;host;x-amz-date;x-amzn-sagemaker-custom-attributes, Signature=2bf96e41892de9dc3cd041b50a71b68e95933176bd78f810b4d6e89a87d3953b",
    ),
];

#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The parameters of a signature.
struct Signing {
    id: &'static str,
    secret: &'static str,
    token: Option<&'static str>,
    region: &'static str,
    service: &'static str,
    at: OffsetDateTime,
    checksum: PayloadChecksumKind,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            id: "AKID",
            secret: "wJalrXUtnFEMI",
            token: None,
            region: "eu-central-1",
            service: "sagemaker",
            at: NOW,
            checksum: PayloadChecksumKind::NoHeader,
        }
    }
}

impl Signing {
    fn sign(self) -> Sent {
        let mut sent =
            Sent { method: "POST", target: TARGET.into(), headers: HeaderMap::new(), body: BODY.into() };
        for (name, value) in [
            ("host", "127.0.0.1:8080"),
            ("content-type", "application/json"),
            ("accept", "application/json;jpeg"),
            ("x-amzn-sagemaker-custom-attributes", "accept_eula=true"),
        ] {
            sent.headers.insert(name, HeaderValue::from_static(value));
        }
        let identity =
            Credentials::new(self.id, self.secret, self.token.map(str::to_owned), None, "t").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = self.checksum;
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::from(self.at))
            .settings(settings)
            .build()
            .expect("parameters")
            .into();
        let pairs: Vec<_> = sent
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")))
            .collect();
        let signable =
            SignableRequest::new(sent.method, TARGET, pairs.into_iter(), SignableBody::Bytes(BODY))
                .expect("signable");
        let (instructions, _) = sign_with(signable, &parameters).expect("signed").into_parts();
        for (name, value) in instructions.headers() {
            let name: HeaderName = name.parse().expect("a name");
            sent.headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        // Clients add this header after signing.
        sent.headers.insert("user-agent", HeaderValue::from_static("Boto3/1"));
        sent
    }
}

fn verify_at(sent: &Sent, now: OffsetDateTime) -> Result<(), SignatureError> {
    let keys = AccessKeys { id: "AKID".into(), secret: Secret::new("wJalrXUtnFEMI") };
    let signature = RequestSignature::read(&sent.headers, &keys, now)?;
    let Sent { method, target, headers, body } = sent;
    signature.verify(&ReceivedRequest { method, target, headers, body })
}

fn verify(sent: &Sent) -> Result<(), SignatureError> {
    verify_at(sent, NOW)
}

#[test]
fn genuine_requests() {
    assert_eq!(verify(&Signing::default().sign()), Ok(()));
    assert_eq!(verify(&Signing { region: "us-west-2", ..Signing::default() }.sign()), Ok(()));
    let checksum = PayloadChecksumKind::XAmzSha256;
    assert_eq!(verify(&Signing { checksum, ..Signing::default() }.sign()), Ok(()));
}

#[test]
fn a_request_that_botocore_signed() {
    let mut headers = HeaderMap::new();
    for (name, value) in BOTOCORE {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    let sent = Sent {
        method: "POST",
        target: "/endpoints/tiger%20two/invocations".into(),
        headers,
        body: BODY.into(),
    };
    assert_eq!(verify(&sent), Ok(()));
}

/// A name for the alteration, and the alteration.
type Alteration = (&'static str, fn(&mut Sent));

#[test]
fn altered_requests_are_rejected() {
    let alterations: &[Alteration] = &[
        ("method", |sent| sent.method = "GET"),
        ("path", |sent| sent.target = "/endpoints/lion/invocations".into()),
        ("query", |sent| sent.target.push_str("?a=b")),
        ("url", |sent| sent.target = format!("http://127.0.0.1:8080{TARGET}")),
        ("body", |sent| sent.body[3] ^= 1),
        ("no body", |sent| sent.body.clear()),
        ("longer body", |sent| sent.body.push(b' ')),
        ("host", |sent| replace(sent, "host", "other:8080")),
        ("content type", |sent| replace(sent, "content-type", "application/x-text")),
        ("accept", |sent| replace(sent, "accept", "application/json")),
        ("attributes", |sent| replace(sent, "x-amzn-sagemaker-custom-attributes", "x")),
        ("without attributes", |sent| drop(sent.headers.remove("x-amzn-sagemaker-custom-attributes"))),
        ("date", |sent| replace(sent, "x-amz-date", "20261123T120001Z")),
        ("second value", |sent| {
            sent.headers.append("accept", HeaderValue::from_static("*/*"));
        }),
        ("unsigned header", |sent| replace(sent, "x-amzn-sagemaker-target-model", "other")),
        ("session token", |sent| replace(sent, "x-amz-security-token", "token")),
        ("region", |sent| edit(sent, "eu-central-1", "us-east-1")),
        ("day", |sent| edit(sent, "20261123", "20261122")),
        ("signature", |sent| edit(sent, "Signature=", "Signature=0")),
        ("empty signature", |sent| {
            let text = sent.headers["authorization"].to_str().expect("ASCII");
            let text = text[..text.find("Signature=").expect("there") + 10].to_owned();
            replace(sent, "authorization", &text);
        }),
        ("fewer headers signed", |sent| edit(sent, "accept;", "")),
        ("host not signed", |sent| edit(sent, "host;", "")),
        ("type not signed", |sent| edit(sent, "content-type;", "")),
        ("more headers signed", |sent| edit(sent, "SignedHeaders=", "SignedHeaders=a;")),
        ("a header signed twice", |sent| edit(sent, "SignedHeaders=accept;", "SignedHeaders=accept;accept;")),
        ("header names in capitals", |sent| edit(sent, "SignedHeaders=accept", "SignedHeaders=Accept")),
        ("algorithm", |sent| edit(sent, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1")),
        ("no authorization", |sent| drop(sent.headers.remove("authorization"))),
        ("two authorizations", |sent| {
            let again = sent.headers["authorization"].clone();
            sent.headers.append("authorization", again);
        }),
        ("no date", |sent| drop(sent.headers.remove("x-amz-date"))),
        ("another service's scope", |sent| edit(sent, "/sagemaker/", "/s3/")),
        ("another terminator", |sent| edit(sent, "aws4_request", "aws5_request")),
        ("no region", |sent| edit(sent, "/eu-central-1/", "//")),
        ("a longer scope", |sent| edit(sent, "aws4_request", "aws4_request/x")),
        ("another key", |sent| edit(sent, "AKID", "AKIE")),
    ];
    for (name, alter) in alterations {
        let mut sent = Signing::default().sign();
        let before = format!("{sent:?}");
        alter(&mut sent);
        assert_ne!(before, format!("{sent:?}"), "{name} was not altered");
        assert!(verify(&sent).is_err(), "{name}");
    }
}

#[test]
fn other_keys_services_and_session_tokens_are_rejected() {
    let rejected = |signing: Signing| verify(&signing.sign()).expect_err("an error").code();
    assert_eq!(rejected(Signing { secret: "guess", ..Signing::default() }), "InvalidSignatureException");
    assert_eq!(rejected(Signing { id: "OTHER", ..Signing::default() }), "UnrecognizedClientException");
    assert_eq!(rejected(Signing { service: "s3", ..Signing::default() }), "InvalidSignatureException");
    assert_eq!(rejected(Signing { token: Some("t"), ..Signing::default() }), "UnrecognizedClientException");
}

#[test]
fn a_signature_is_valid_for_fifteen_minutes_before_and_after() {
    let sent = Signing::default().sign();
    for (minutes, good) in [(-16, false), (-15, true), (15, true), (16, false)] {
        assert_eq!(verify_at(&sent, NOW + Duration::minutes(minutes)).is_ok(), good, "{minutes}");
    }
    let late = verify_at(&sent, NOW + Duration::minutes(16)).expect_err("late").to_string();
    assert!(late.contains("20261123T120000Z") && late.contains("20261123T121600Z"), "{late}");
}

#[test]
fn malformed_headers_are_rejected() {
    for authorization in [
        "",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 Credential=",
        "Bearer x",
        "AWS AKID:x",
        "AWS4-HMAC-SHA256 Credential=AKID/20261123/r/sagemaker/aws4_request, SignedHeaders=, Signature=",
        "AWS4-HMAC-SHA256 Credential=AKID/20261123/r/sagemaker/aws4_request, SignedHeaders=;;;, Signature=x",
        "AWS4-HMAC-SHA256 Credential=AKID/////, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=x",
    ] {
        let mut sent = Signing::default().sign();
        replace(&mut sent, "authorization", authorization);
        assert!(verify(&sent).is_err(), "{authorization}");
    }
    for date in ["", "today", "20261123", "20269923T120000Z", "Mon, 23 Nov 2026 12:00:00 GMT"] {
        let mut sent = Signing::default().sign();
        replace(&mut sent, "x-amz-date", date);
        assert!(verify(&sent).is_err(), "{date}");
    }
    let mut sent = Signing::default().sign();
    sent.headers.insert("accept", HeaderValue::from_bytes(b"\xff").expect("opaque"));
    assert!(verify(&sent).is_err());
}

fn replace(sent: &mut Sent, name: &'static str, value: &str) {
    sent.headers.insert(name, HeaderValue::from_str(value).expect("a value"));
}

fn edit(sent: &mut Sent, from: &str, to: &str) {
    let text = sent.headers["authorization"].to_str().expect("ASCII").replace(from, to);
    replace(sent, "authorization", &text);
}
