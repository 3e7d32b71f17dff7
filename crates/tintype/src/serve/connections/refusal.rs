//! The end of a connection whose last request was not read completely.

use std::io::ErrorKind;
use std::net::Shutdown;

use axum::http::HeaderMap;
use axum::response::Response;
use http_body_util::BodyExt;
use socket2::SockRef;
use tintype_http::ConnectionProblem;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ConnectionContext;
use super::activity::{ActivityTracker, Expired};
use crate::config::ConnectionSettings;

/// Maximum number of characters of a path in the log.
const MAX_PATH_CHARS: usize = 200;
/// The size of the buffer for bytes that are discarded.
const BUFFER: usize = 16 << 10;

/// Responds to a request that hyper could not read, and discards what the client still sends: if the socket
/// were closed while bytes are unread, the client could lose the response.
pub(super) async fn finish(
    socket: &TcpStream,
    activity: &ActivityTracker,
    expired: Option<Expired>,
    context: &ConnectionContext,
) {
    let settings = &context.settings;
    let problem = problem(activity, expired, settings);
    if let Some(problem) = problem {
        let response = context.refuse(problem, &path(&activity.request_start()), &HeaderMap::new());
        let bytes = to_bytes(response).await;
        let _ = timeout(settings.drain_time, write_all(socket, &bytes)).await;
    }
    if problem.is_some() || activity.has_unread_body() {
        // Fails only if the client has closed the connection.
        let _ = SockRef::from(socket).shutdown(Shutdown::Write);
        let _ = timeout(settings.drain_time, discard(socket, settings.drain_bytes)).await;
    }
}

/// The problem of the last request, if hyper could not read it.
fn problem(
    activity: &ActivityTracker,
    expired: Option<Expired>,
    settings: &ConnectionSettings,
) -> Option<ConnectionProblem> {
    if expired == Some(Expired::Headers) {
        return Some(ConnectionProblem::HeaderTimeout(settings.header_timeout));
    }
    Some(match activity.automatic_status()? {
        414 => ConnectionProblem::UrlTooLong,
        431 => ConnectionProblem::HeadersTooLarge,
        _ => match invalid_url_byte(&activity.request_start()) {
            Some(byte) => ConnectionProblem::InvalidUrlByte(byte),
            None => ConnectionProblem::MalformedRequest,
        },
    })
}

/// The first byte of a request's URL that a URL must not have.
fn invalid_url_byte(request: &[u8]) -> Option<u8> {
    let line = request.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let start = line.iter().position(|byte| *byte == b' ')? + 1;
    let target = &line[start..];
    let target = target.strip_suffix(b" HTTP/1.1").or(target.strip_suffix(b" HTTP/1.0")).unwrap_or(target);
    let not_utf8 = std::str::from_utf8(target).err().map(|error| error.valid_up_to());
    let not_ascii_url =
        target.iter().position(|byte| byte.is_ascii_control() || matches!(byte, b' ' | b'"' | b'<' | b'>'));
    // Without a position in one of them, the position in the other one.
    let position = not_ascii_url.into_iter().chain(not_utf8).min()?;
    target.get(position).copied()
}

/// The path of a request that could not be read, as far as it arrived.
fn path(request: &[u8]) -> String {
    let target = request.split(|byte| matches!(byte, b' ' | b'\r' | b'\n')).nth(1).unwrap_or_default();
    let path = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    String::from_utf8_lossy(path).chars().take(MAX_PATH_CHARS).collect()
}

/// The response as HTTP/1.1.
async fn to_bytes(response: Response) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend(name.as_str().as_bytes());
        bytes.extend(b": ");
        bytes.extend(value.as_bytes());
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend(&body);
    bytes
}

async fn write_all(socket: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() && socket.writable().await.is_ok() {
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Reads until the client closes the connection, or the limit is exceeded.
async fn discard(socket: &TcpStream, limit: u64) {
    let mut buffer = [0; BUFFER];
    let mut total = 0;
    while total <= limit && socket.readable().await.is_ok() {
        match socket.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => total += read as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_malformed_request_is_known() {
        for (request, expected) in [
            (&b"POST /v1/images/generations?x=\"y\" HTTP/1.1\r\nHost: x"[..], "/v1/images/generations"),
            (b"GET /generate", "/generate"),
            (b"GET", ""),
            (b"\x16\x03\x01", ""),
        ] {
            assert_eq!(path(request), expected);
        }
        assert_eq!(path(format!("GET /{} HTTP/1.1", "x".repeat(1000)).as_bytes()).len(), 200);
    }

    #[test]
    fn the_first_invalid_byte_of_a_url_is_found() {
        for (line, byte) in [
            (&b"GET /generate?prompt=\"tiger\" HTTP/1.1\r\n"[..], Some(b'"')),
            (b"GET /generate?prompt=a<b>c HTTP/1.1\r\n", Some(b'<')),
            (b"GET /generate?prompt=a tiger HTTP/1.1\r\n", Some(b' ')),
            (b"GET /generate?prompt=caf\xe9 HTTP/1.1\r\n", Some(0xe9)),
            (b"GET /generate?prompt=\xc0\xcf\xbb\xa2<\" HTTP/1.1\r\n", Some(0xc0)),
            (b"GET /generate?prompt=a\x01 HTTP/1.0\r\n", Some(1)),
            ("GET /generate?prompt=老虎 HTTP/1.1\r\nX: \"".as_bytes(), None),
            (b"GET /generate?prompt=a%22 HTTP/1.1\r\nBroken header\r\n", None),
            (b"nonsense", None),
            (b"", None),
        ] {
            assert_eq!(invalid_url_byte(line), byte, "{}", line.escape_ascii());
        }
    }
}
