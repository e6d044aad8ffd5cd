//! OTLP over gRPC as a receiver answers it: unary calls over HTTP/2, told apart by their path.

use std::io::Read as _;

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use prost::Message;
use sim_net::http::Body;

use crate::data::Signal;
use crate::otlp::{BODY_BYTES_MAX, INVALID_ARGUMENT};

/// gRPC's code for a method that the server does not know.
pub const UNIMPLEMENTED: i32 = 12;
/// gRPC's code for what is wrong within the server's own rules of the wire.
const INTERNAL: i32 = 13;
/// Whether the message is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Why a call gets no message: gRPC's code, and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// gRPC's code.
    pub code: i32,
    /// The text.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The signal that a call's path is about.
///
/// # Errors
/// With the real server's words where there is none.
pub fn signal(path: &str) -> Result<Signal, Refusal> {
    let service = |signal: Signal| match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    };
    Signal::ALL.into_iter().find(|signal| service(*signal) == path).ok_or_else(|| {
        let service = path.trim_start_matches('/').rsplit_once('/').map_or(path, |(service, _)| service);
        Refusal::new(UNIMPLEMENTED, format!("unknown service {service}"))
    })
}

/// Reads the one message of a call.
///
/// # Errors
/// With gRPC's code and a text where there is none.
pub fn decode<M: Message + Default>(request: &Request<Bytes>) -> Result<M, Refusal> {
    let mut body = request.body().clone();
    if body.len() < PREFIX_BYTES {
        return Err(Refusal::new(INTERNAL, "unexpected EOF"));
    }
    let compressed = body.get_u8() == 1;
    let length = body.get_u32() as usize;
    if body.len() != length {
        return Err(Refusal::new(INTERNAL, "unexpected EOF"));
    }
    let encoding = request.headers().get("grpc-encoding").and_then(|value| value.to_str().ok()).unwrap_or("identity");
    let plain = match (compressed, encoding) {
        (false, _) => body,
        (true, "gzip") => {
            let mut plain = Vec::new();
            let read = flate2::read::MultiGzDecoder::new(&body[..]).take(BODY_BYTES_MAX + 1).read_to_end(&mut plain);
            read.map_err(|error| {
                Refusal::new(INTERNAL, format!("grpc: failed to decompress the received message: {error}"))
            })?;
            if plain.len() as u64 > BODY_BYTES_MAX {
                return Err(Refusal::new(8, format!("grpc: received message larger than max ({BODY_BYTES_MAX})")));
            }
            plain.into()
        }
        (true, other) => {
            let why = format!("grpc: Decompressor is not installed for grpc-encoding {other:?}");
            return Err(Refusal::new(UNIMPLEMENTED, why));
        }
    };
    M::decode(plain).map_err(|error| Refusal::new(INVALID_ARGUMENT, error.to_string()))
}

/// The answer to a call: a message and status 0, or a status alone.
pub fn answer(result: Result<Vec<u8>, Refusal>) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    match result {
        Ok(message) => {
            let mut framed = vec![0_u8];
            framed.extend((message.len() as u32).to_be_bytes());
            framed.extend(message);
            frames.push(Ok(hyper::body::Frame::data(Bytes::from(framed))));
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Err(refusal) => {
            trailers.insert("grpc-status", HeaderValue::from(refusal.code));
            // Percent-encoding leaves printable ASCII as it is; what else there is is replaced.
            let text: String =
                refusal.message.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
            if let Ok(text) = HeaderValue::from_str(&text) {
                trailers.insert("grpc-message", text);
            }
        }
    }
    frames.push(Ok::<_, std::io::Error>(hyper::body::Frame::trailers(trailers)));
    let body = http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(futures::stream::iter(frames)));
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;

    fn call(body: &[u8], encoding: &str) -> Result<ExportTraceServiceRequest, Refusal> {
        let request = Request::post("/x").header("grpc-encoding", encoding).body(Bytes::copy_from_slice(body));
        decode(&request.expect("a request"))
    }

    #[test]
    fn a_call_has_one_whole_message() {
        assert!(call(&[0, 0, 0, 0, 0], "identity").is_ok());
        for (body, encoding, code) in [
            (&[][..], "identity", INTERNAL),
            (&[0, 0, 0, 0, 1][..], "identity", INTERNAL),
            (&[0, 0, 0, 0, 1, 0xff][..], "identity", INVALID_ARGUMENT),
            (&[1, 0, 0, 0, 1, 0][..], "zstd", UNIMPLEMENTED),
            (&[1, 0, 0, 0, 1, 0][..], "gzip", INTERNAL),
        ] {
            assert_eq!(call(body, encoding).expect_err("a refusal").code, code, "{body:?}");
        }
    }

    #[test]
    fn a_service_that_is_not_there_is_named() {
        assert_eq!(signal("/opentelemetry.proto.collector.logs.v1.LogsService/Export"), Ok(Signal::Logs));
        let refusal = signal("/a.B/Export").expect_err("a refusal");
        assert_eq!((refusal.code, refusal.message.as_str()), (UNIMPLEMENTED, "unknown service a.B"));
    }
}
