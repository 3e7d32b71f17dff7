use http::Request;

use super::*;

fn hosts() -> Hosts {
    Hosts::new(&"pics.example.com".parse().expect("an authority"), Vec::new())
}

fn run(request: http::request::Builder, signed_host: SignedHost) -> (S3Result<Authentication>, Parts) {
    let (mut parts, ()) = request.body(()).expect("a request").into_parts();
    let checked = check(&mut parts, &hosts(), signed_host);
    (checked, parts)
}

fn code(uri: &str) -> Option<S3ErrorCode> {
    run(Request::get(uri), SignedHost::AsReceived).0.err().map(|error| error.code().clone())
}

fn v4(changed: &str, to: &str) -> String {
    let mut fields = vec![
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("X-Amz-Credential", "AK%2F20260101%2Fus-east-1%2Fs3%2Faws4_request".to_owned()),
        ("X-Amz-Date", "20260101T000000Z".to_owned()),
        ("X-Amz-Expires", "300".to_owned()),
        ("X-Amz-SignedHeaders", "host".to_owned()),
        ("X-Amz-Signature", "0".repeat(64)),
    ];
    for (name, value) in &mut fields {
        if *name == changed {
            to.clone_into(value);
        }
    }
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("/b/k?{}", pairs.join("&"))
}

#[test]
fn links_of_version_4() {
    let expires_at = 1_767_225_600 + 300;
    assert_eq!(
        run(Request::get(v4("", "")), SignedHost::AsReceived).0.ok(),
        Some(Authentication::Link { expires_at })
    );
    for lifetime in ["0", "-1", "604801", "soon", ""] {
        assert_eq!(
            code(&v4("X-Amz-Expires", lifetime)),
            Some(S3ErrorCode::AuthorizationQueryParametersError),
            "{lifetime}"
        );
    }
    assert_eq!(code(&v4("X-Amz-Expires", "604800")), None);
    assert_eq!(code(&v4("X-Amz-Date", "today")), Some(S3ErrorCode::AuthorizationQueryParametersError));
    assert_eq!(code(&v4("X-Amz-Signature", "forged")), Some(S3ErrorCode::SignatureDoesNotMatch));
    assert_eq!(code(&v4("X-Amz-SignedHeaders", "date")), Some(S3ErrorCode::AccessDenied));
    let sts = "AK%2F20260101%2Fus-east-1%2Fsts%2Faws4_request";
    assert_eq!(code(&v4("X-Amz-Credential", sts)), Some(S3ErrorCode::AccessDenied));
}

#[test]
fn links_of_version_2() {
    let (signed, _) =
        run(Request::get("/b/k?AWSAccessKeyId=AK&Signature=s&Expires=99"), SignedHost::AsReceived);
    assert_eq!(signed.ok(), Some(Authentication::Link { expires_at: 99 }));
    for query in
        ["Signature=s", "AWSAccessKeyId=AK&Signature=s", "AWSAccessKeyId=AK&Signature=s&Expires=soon"]
    {
        assert_eq!(code(&format!("/b/k?{query}")), Some(S3ErrorCode::AccessDenied), "{query}");
    }
}

#[test]
fn links_of_version_2_last_7_days_at_most() {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let expires_in = |seconds| code(&format!("/b/k?AWSAccessKeyId=AK&Signature=s&Expires={}", now + seconds));
    assert_eq!(expires_in(604_800), None);
    assert_eq!(expires_in(604_800 + 1_000), Some(S3ErrorCode::AccessDenied));
    assert_eq!(
        code(&format!("/b/k?AWSAccessKeyId=AK&Signature=s&Expires={}", i64::MAX)),
        Some(S3ErrorCode::AccessDenied)
    );
}

#[test]
fn a_link_has_one_signature() {
    let v2 = "&AWSAccessKeyId=AK&Signature=s&Expires=99";
    assert_eq!(code(&(v4("", "") + v2)), Some(S3ErrorCode::InvalidArgument));
    assert_eq!(code(&(v4("", "") + "&Signature=s")), Some(S3ErrorCode::InvalidArgument));
}

#[test]
fn a_request_has_one_host() {
    let request = Request::get("/b/k").header("host", "a").header("host", "b");
    let error = run(request, SignedHost::AsReceived).0.expect_err("two hosts");
    assert_eq!(error.code(), &S3ErrorCode::InvalidRequest);
}

#[test]
fn regions() {
    let in_query = |region: &str| {
        code(&v4("X-Amz-Credential", &format!("AK%2F20260101%2F{region}%2Fs3%2Faws4_request")))
    };
    let in_header = |region: &str| {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AK/20260101/{region}/s3/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = Request::get("/b/k").header("authorization", authorization);
        run(request, SignedHost::AsReceived).0.err().map(|error| error.code().clone())
    };
    for region in ["us-east-1", "eu-central-1", "auto", "garage"] {
        assert_eq!((in_query(region), in_header(region)), (None, None), "{region}");
    }
    for region in ["US", "EU", "", "us_east_1", "us-east-1 "] {
        if !region.contains(' ') {
            assert_eq!(in_query(region), Some(S3ErrorCode::AuthorizationQueryParametersError), "{region}");
        }
        assert_eq!(in_header(region), Some(S3ErrorCode::AuthorizationHeaderMalformed), "{region}");
    }
}

#[test]
fn an_unsigned_header_cannot_change_a_links_effect() {
    let request = Request::put(v4("", "")).header("x-amz-copy-source", "/b/other");
    let error = run(request, SignedHost::AsReceived).0.expect_err("not signed");
    assert_eq!(error.code(), &S3ErrorCode::AccessDenied);
    let request = Request::put(v4("X-Amz-SignedHeaders", "host%3Bx-amz-acl")).header("x-amz-acl", "private");
    assert!(run(request, SignedHost::AsReceived).0.is_ok());
}

#[test]
fn credentials_beside_a_link_are_dropped() {
    let (signed, parts) =
        run(Request::get(v4("", "")).header("authorization", "Bearer key"), SignedHost::AsReceived);
    assert!(signed.is_ok() && !parts.headers.contains_key(AUTHORIZATION));
    let error = run(Request::get("/b/k").header("authorization", "AWS AK:sig"), SignedHost::AsReceived)
        .0
        .expect_err("version 2");
    assert_eq!(error.code(), &S3ErrorCode::AccessDenied);
}

#[test]
fn the_signed_host() {
    let verified = |sent: &str, signed_host| {
        let (_, parts) = run(Request::get("/b/k").header("host", sent), signed_host);
        parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned)
    };
    assert_eq!(verified("127.0.0.1:8080", SignedHost::AsReceived).as_deref(), Some("127.0.0.1:8080"));
    assert_eq!(verified("127.0.0.1:8080", SignedHost::Public).as_deref(), Some("pics.example.com"));
    assert_eq!(verified("b.pics.example.com", SignedHost::Public).as_deref(), Some("b.pics.example.com"));
    let (_, parts) = run(Request::get("http://pics.example.com/b/k"), SignedHost::AsReceived);
    assert_eq!(parts.headers.get(HOST).expect("a host from the URI"), "pics.example.com");
}

#[test]
fn forms_have_their_own_signature() {
    let form = |uri: &str| Request::post(uri).header("content-type", "Multipart/Form-Data; boundary=x");
    assert_eq!(run(form("/b"), SignedHost::AsReceived).0.ok(), Some(Authentication::Form));
    let authorization = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/s3/aws4_request";
    for request in
        [form("/b").header("authorization", authorization), form("/b/k?uploads"), form(&v4("", ""))]
    {
        let error = run(request, SignedHost::AsReceived).0.expect_err("two signatures");
        assert_eq!(error.code(), &S3ErrorCode::NotImplemented);
    }
}

#[test]
fn xml_has_a_length() {
    let code = |method: &str, uri: &str, host: &str, length: Option<&str>, is_empty: bool| {
        let mut request = Request::builder().method(method).uri(uri).header(HOST, host);
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check_length_of_xml(&parts, &hosts(), is_empty).err().map(|error| error.code().clone())
    };
    let (host, in_host) = ("127.0.0.1", "b.localhost");
    for (method, uri, host) in [
        ("POST", "/b?delete", host),
        ("POST", "/b/k?uploadId=1", host),
        ("POST", "/?delete", in_host),
        ("PUT", "/b", host),
        ("PUT", "/b/", host),
        ("PUT", "/", in_host),
    ] {
        assert_eq!(code(method, uri, host, None, false), Some(S3ErrorCode::MissingContentLength), "{uri}");
        assert_eq!(code(method, uri, host, Some("9"), false), None, "{uri}");
        assert_eq!(code(method, uri, host, None, true), None, "{uri}");
    }
    for (method, uri, host) in [
        ("PUT", "/b/k", host),
        ("PUT", "/k", in_host),
        ("PUT", "/b/k?partNumber=1&uploadId=1", host),
        ("POST", "/b/k?uploads", host),
        ("POST", "/b", host),
        ("GET", "/b", host),
    ] {
        assert_eq!(code(method, uri, host, None, false), None, "{method} {uri}");
    }
}
