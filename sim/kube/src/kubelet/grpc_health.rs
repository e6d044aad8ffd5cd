//! `grpc` probes: the call `grpc.health.v1.Health/Check`, over HTTP/2 on the simulated network.
//!
//! Source: the gRPC health checking protocol, and gRPC over HTTP/2.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use sim_net::{Host, http::Executor};

/// Longest answer, in bytes: a health check's has two.
const ANSWER_BYTES_MAX: usize = 4096;
/// Longest name of a service that one byte counts.
const SHORT_BYTES_MAX: usize = 127;
const PATH: &str = "/grpc.health.v1.Health/Check";

/// What a health check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// The service serves.
    Serving,
    /// It says that it does not, with the name of its status.
    Not(&'static str),
    /// The call failed, with gRPC's code and text.
    Failed(u32, String),
}

const UNKNOWN: u32 = 2;
pub(super) const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;

/// Names of gRPC's codes, as clients in Go print them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A code's name.
pub(super) fn code_name(code: u32) -> &'static str {
    usize::try_from(code).ok().and_then(|at| CODES.get(at)).copied().unwrap_or("Unknown")
}

/// Asks for a service's health on a connection of its own; `None` if none can be had.
pub(super) async fn check(node: &Host, target: &str, service: &str) -> Option<Health> {
    let stream = node.connect(target).await.ok()?;
    let (mut send, connection) = hyper::client::conn::http2::handshake(Executor, TokioIo::new(stream)).await.ok()?;
    let carried = sim_clock::spawn("kubelet/grpc probe", async move {
        // How it ended is the request's to tell.
        let _ = connection.await;
    });
    let answer = ask(&mut send, target, service).await;
    carried.abort();
    Some(answer.unwrap_or_else(|error| Health::Failed(UNAVAILABLE, error)))
}

async fn ask(
    send: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    target: &str,
    service: &str,
) -> Result<Health, String> {
    let request = Request::post(format!("http://{target}{PATH}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe/1.34")
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string())?;
    let response = send.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    if head.headers.contains_key("grpc-status") {
        return Ok(read(&head.headers, &[]));
    }
    if head.status != http::StatusCode::OK {
        let text = format!("unexpected HTTP status code received from server: {}", head.status);
        return Ok(Health::Failed(if head.status == 404 { UNIMPLEMENTED } else { UNKNOWN }, text));
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(read(&trailers, &body.to_bytes()))
}

/// The request: a frame with a message whose first field is the service's name.
fn question(service: &str) -> Bytes {
    // Names of services are names of the cluster: longer ones are cut, as nobody has them.
    let mut end = service.len().min(SHORT_BYTES_MAX);
    while !service.is_char_boundary(end) {
        end -= 1;
    }
    let name = &service.as_bytes()[..end];
    let mut message = BytesMut::new();
    if !name.is_empty() {
        message.put_u8(0x0a);
        message.put_u8(name.len() as u8);
        message.put_slice(name);
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}

fn read(headers: &HeaderMap, body: &[u8]) -> Health {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status").parse() {
        Ok(0) => {}
        Ok(code) => return Health::Failed(code, text("grpc-message").to_owned()),
        Err(_) => return Health::Failed(UNKNOWN, "server closed the stream without sending trailers".to_owned()),
    }
    // A frame's head of five bytes, then `status`, a varint; left out it is zero.
    match body.get(5..) {
        Some([0x08, 1, ..]) => Health::Serving,
        Some([0x08, 2, ..]) => Health::Not("NOT_SERVING"),
        Some([0x08, 3, ..]) => Health::Not("SERVICE_UNKNOWN"),
        _ => Health::Not("UNKNOWN"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_frame_and_an_answer_is_read_with_its_trailers() {
        assert_eq!(&*question(""), [0, 0, 0, 0, 0]);
        assert_eq!(&*question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"ä".repeat(100)).len(), 5 + 2 + 126);
        let trailers = |code: &str| {
            let mut map = HeaderMap::new();
            map.insert("grpc-status", code.parse().unwrap());
            map.insert("grpc-message", "why".parse().unwrap());
            map
        };
        assert_eq!(read(&trailers("0"), &[0, 0, 0, 0, 2, 8, 1]), Health::Serving);
        assert_eq!(read(&trailers("0"), &[0, 0, 0, 0, 2, 8, 2]), Health::Not("NOT_SERVING"));
        assert_eq!(read(&trailers("0"), &[0, 0, 0, 0, 0]), Health::Not("UNKNOWN"));
        assert_eq!(read(&trailers("12"), &[]), Health::Failed(UNIMPLEMENTED, "why".to_owned()));
        assert!(matches!(read(&HeaderMap::new(), &[]), Health::Failed(UNKNOWN, _)));
        assert_eq!((code_name(14), code_name(99)), ("Unavailable", "Unknown"));
    }
}
