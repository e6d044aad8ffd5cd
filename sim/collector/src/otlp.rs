//! OTLP over HTTP as a receiver answers it (OTLP specification, section "OTLP/HTTP"), without the network.

use std::io::Read;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use prost::Message;
use serde::de::DeserializeOwned;

/// Largest request body after decompression.
pub const BODY_BYTES_MAX: u64 = 64 << 20;

/// How a request was encoded; its answer is encoded alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

/// `google.rpc.Status`, which OTLP/HTTP sends as the body of an error.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// gRPC's code for a try-again-later.
pub const UNAVAILABLE: i32 = 14;
/// gRPC's code for a request that can never succeed.
pub const INVALID_ARGUMENT: i32 = 3;

impl Encoding {
    /// As a content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }

    /// An answer with this status and message.
    pub fn response<M: Message + serde::Serialize>(self, status: StatusCode, message: &M) -> Response<Bytes> {
        let body = match self {
            Encoding::Protobuf => message.encode_to_vec(),
            Encoding::Json => serde_json::to_vec(message).unwrap_or_default(),
        };
        reply(status, self.content_type(), body)
    }

    /// An error as OTLP/HTTP wants it.
    pub fn error(self, status: StatusCode, code: i32, message: &str) -> Response<Bytes> {
        let body = match self {
            Encoding::Protobuf => RpcStatus { code, message: message.to_owned() }.encode_to_vec(),
            Encoding::Json => serde_json::json!({ "code": code, "message": message }).to_string().into_bytes(),
        };
        reply(status, self.content_type(), body)
    }
}

pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Reads the message of a request, or says what to answer.
pub fn decode<M>(request: &Request<Bytes>) -> Result<(M, Encoding), Box<Response<Bytes>>>
where
    M: Message + Default + DeserializeOwned,
{
    if request.method() != Method::POST {
        let text = "405 method not allowed, supported: [POST]";
        return Err(Box::new(reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", text)));
    }
    let Some(encoding) = encoding(request.headers()) else {
        let text = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
        return Err(Box::new(reply(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/plain", text)));
    };
    let bad = |message: String| Box::new(encoding.error(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, &message));
    let body = decompress(request).map_err(bad)?;
    let message = match encoding {
        Encoding::Protobuf => M::decode(body).map_err(|error| bad(error.to_string()))?,
        Encoding::Json => serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?,
    };
    Ok((message, encoding))
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match value.split(';').next().unwrap_or_default().trim() {
        "application/x-protobuf" => Some(Encoding::Protobuf),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

fn decompress(request: &Request<Bytes>) -> Result<Bytes, String> {
    let encoding = request.headers().get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
    let mut out = Vec::new();
    match encoding {
        "" | "identity" => return Ok(request.body().clone()),
        "gzip" => flate2::read::MultiGzDecoder::new(&request.body()[..]).take(BODY_BYTES_MAX + 1).read_to_end(&mut out),
        "zlib" | "deflate" => {
            flate2::read::ZlibDecoder::new(&request.body()[..]).take(BODY_BYTES_MAX + 1).read_to_end(&mut out)
        }
        other => return Err(format!("unsupported \"Content-Encoding\": {other}")),
    }
    .map_err(|error| error.to_string())?;
    if out.len() as u64 > BODY_BYTES_MAX {
        return Err(format!("request body larger than {BODY_BYTES_MAX} bytes"));
    }
    Ok(out.into())
}
