//! The receiver of remote write: statuses, texts and what is written are those of Prometheus's own handler.
//!
//! A request of version 1 is taken whole or not at all; one of version 2 is taken in part, and told how much of it was.

use super::messages::{Request as RequestV2, WriteRequest};
use super::{histogram, plain};
use crate::store::{AppendError, Appender, Point, Store, Value};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use prost::Message as _;
use sim_wire::exposition::Exemplar;
use sim_wire::{Labels, METRIC_NAME};

/// Largest request after decompression, in bytes.
pub const DECODED_BYTES_MAX: usize = 32 << 20;
/// How far in the future a sample may lie, in milliseconds.
pub const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

const PROTOBUF: &str = "application/x-protobuf";
const V1: &str = "prometheus.WriteRequest";
const V2: &str = "io.prometheus.write.v2.Request";

/// Why a request, or part of it, is refused.
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

/// What a request of version 2 left in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Written {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

/// Answers `POST /api/v1/write`.
pub(crate) fn answer(store: &mut Store, window: Window, request: &Request<Bytes>) -> Response<Bytes> {
    let outcome = version(request.headers()).and_then(|v2| Ok((v2, decompress(request)?)));
    let (outcome, written) = match outcome {
        Err(refusal) => (Err(refusal), None),
        Ok((false, body)) => (write_v1(store, window, &body), None),
        Ok((true, body)) => {
            let (outcome, written) = write_v2(store, window, &body);
            (outcome, written)
        }
    };
    let mut response = match outcome {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(Refusal(status, message)) => refuse(status, &message),
    };
    if let Some(written) = written {
        for (name, count) in
            [("samples", written.samples), ("histograms", written.histograms), ("exemplars", written.exemplars)]
        {
            let name = header::HeaderName::try_from(format!("x-prometheus-remote-write-{name}-written"));
            if let Ok(name) = name {
                response.headers_mut().insert(name, count.into());
            }
        }
    }
    response
}

/// What the store takes, seen from now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// The newest timestamp that is taken.
    pub latest_ms: i64,
    /// `out_of_order_time_window` in milliseconds; 0 takes nothing out of order.
    pub out_of_order_ms: i64,
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// As Go's `http.Error` refuses.
pub(crate) fn refuse(status: StatusCode, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{message}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether the message is of version 2.
fn version(headers: &HeaderMap) -> Result<bool, Refusal> {
    let unsupported = |message: String| Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    // Clients of version 1 that say nothing are let in, as ever.
    let content_type = match text(headers, header::CONTENT_TYPE).trim() {
        "" => PROTOBUF,
        given => given,
    };
    let mut parts = content_type.split(';');
    if parts.next() != Some(PROTOBUF) {
        return Err(unsupported(format!(
            "expected {PROTOBUF} as the first (media) part, got {content_type} content-type"
        )));
    }
    for part in parts {
        match part.split('=').collect::<Vec<_>>().as_slice() {
            ["proto", name] if *name == V1 => return Ok(false),
            ["proto", name] if *name == V2 => return Ok(true),
            ["proto", name] => {
                return Err(unsupported(format!(
                    "got {content_type} content type; unknown remote write protobuf message {name}, supported: {V1}, {V2}"
                )));
            }
            [_, _] => {}
            _ => {
                return Err(unsupported(format!(
                    "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {part} in {content_type} content-type"
                )));
            }
        }
    }
    Ok(false)
}

fn decompress(request: &Request<Bytes>) -> Result<Vec<u8>, Refusal> {
    let encoding = text(request.headers(), header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        let message =
            format!("{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable");
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let corrupt = || Refusal::bad("snappy: corrupt input");
    let length = snap::raw::decompress_len(request.body()).map_err(|_| corrupt())?;
    if length > DECODED_BYTES_MAX {
        return Err(Refusal::bad(format!("snappy: decoded length {length} exceeds limit {DECODED_BYTES_MAX}")));
    }
    snap::raw::Decoder::new().decompress_vec(request.body()).map_err(|_| corrupt())
}

fn check_time(window: Window, t_ms: i64) -> Result<(), AppendError> {
    if t_ms > window.latest_ms { Err(AppendError::TooFarAhead) } else { Ok(()) }
}

fn status_of(error: &AppendError) -> StatusCode {
    match error {
        AppendError::TooManySeries(_) | AppendError::NoLabels => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Version 1: the first sample that cannot be taken undoes the request.
fn write_v1(store: &mut Store, window: Window, body: &[u8]) -> Result<(), Refusal> {
    let outcome = match plain::Request::read(body) {
        Some(request) => append_plain(store, window, &request),
        None => {
            let request = WriteRequest::decode(body).map_err(|error| Refusal::bad(error.to_string()))?;
            append(store, window, request)
        }
    };
    outcome.map_err(|(error, message)| {
        Refusal(error.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, status_of), message)
    })
}

/// As [`append`], of what has been read without a copy.
fn append_plain(
    store: &mut Store,
    window: Window,
    request: &plain::Request<'_>,
) -> Result<(), (Option<AppendError>, String)> {
    let mut appender = Appender::new(store, window.out_of_order_ms);
    let failed = |error: AppendError| {
        let message = error.to_string();
        (Some(error), message)
    };
    for (labels, samples) in request.series() {
        for (t_ms, value) in samples {
            check_time(window, *t_ms).map_err(failed)?;
            appender.append_sorted(labels, Point::float(*t_ms, *value)).map_err(failed)?;
        }
    }
    appender.commit();
    Ok(())
}

/// Appends what a request of version 1 holds, as one.
///
/// # Errors
/// Why the first sample that cannot be taken is not, in words; without [`AppendError`] for a malformed histogram.
pub(crate) fn append(
    store: &mut Store,
    window: Window,
    request: WriteRequest,
) -> Result<(), (Option<AppendError>, String)> {
    let mut appender = Appender::new(store, window.out_of_order_ms);
    let failed = |error: AppendError| {
        let message = error.to_string();
        (Some(error), message)
    };
    for series in request.timeseries {
        let Ok(labels) = series_labels(series.labels.into_iter().map(|label| (label.name, label.value))) else {
            // Left out and counted, not refused: what version 1 has always done.
            appender.count_invalid();
            continue;
        };
        for sample in &series.samples {
            check_time(window, sample.timestamp).map_err(failed)?;
            appender.append(&labels, Point::float(sample.timestamp, sample.value)).map_err(failed)?;
        }
        for wire in &series.histograms {
            check_time(window, wire.timestamp).map_err(failed)?;
            let histogram = histogram::decode(wire).map_err(|why| (None, why))?;
            appender.append(&labels, Point { t_ms: wire.timestamp, value: Value::from(histogram) }).map_err(failed)?;
        }
        for exemplar in series.exemplars {
            let labels_of = exemplar.labels.into_iter().map(|label| (label.name, label.value));
            if check_time(window, exemplar.timestamp).is_ok() {
                let exemplar = Exemplar {
                    labels: Labels::from_pairs(labels_of),
                    value: exemplar.value,
                    timestamp_ms: Some(exemplar.timestamp),
                };
                // One that comes too late is left out without a word.
                let _ = appender.exemplar(&labels, exemplar);
            }
        }
    }
    appender.commit();
    Ok(())
}

/// Version 2: what can be taken is; the rest is told of.
fn write_v2(store: &mut Store, window: Window, body: &[u8]) -> (Result<(), Refusal>, Option<Written>) {
    let request = match RequestV2::decode(body) {
        Ok(request) => request,
        Err(error) => return (Err(Refusal::bad(error.to_string())), None),
    };
    let mut written = Written::default();
    let mut refused: Vec<String> = Vec::new();
    let mut appender = Appender::new(store, window.out_of_order_ms);
    for series in &request.timeseries {
        let labels = match resolve(&request.symbols, &series.labels_refs) {
            Ok(pairs) => match series_labels(pairs.iter().cloned()) {
                Ok(labels) => labels,
                Err(invalid) => {
                    appender.count_invalid();
                    refused.push(invalid.describe(&pairs));
                    continue;
                }
            },
            Err(message) => return (Err(Refusal::bad(message)), Some(Written::default())),
        };
        for sample in &series.samples {
            let taken = check_time(window, sample.timestamp)
                .and_then(|()| appender.append(&labels, Point::float(sample.timestamp, sample.value)));
            match taken {
                Ok(()) => written.samples += 1,
                Err(error) if status_of(&error) == StatusCode::BAD_REQUEST => {
                    refused.push(format!("{error} for series {labels}"));
                }
                Err(error) => return (Err(Refusal(status_of(&error), error.to_string())), Some(Written::default())),
            }
        }
        for wire in &series.histograms {
            let histogram = match histogram::decode(wire) {
                Ok(histogram) => histogram,
                Err(why) => {
                    return (Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, why)), Some(Written::default()));
                }
            };
            let taken = check_time(window, wire.timestamp)
                .and_then(|()| appender.append(&labels, Point { t_ms: wire.timestamp, value: Value::from(histogram) }));
            match taken {
                Ok(()) => written.histograms += 1,
                Err(error) if status_of(&error) == StatusCode::BAD_REQUEST => {
                    refused.push(format!("{error} for series {labels}"));
                }
                Err(error) => return (Err(Refusal(status_of(&error), error.to_string())), Some(Written::default())),
            }
        }
        for exemplar in &series.exemplars {
            let Ok(pairs) = resolve(&request.symbols, &exemplar.labels_refs) else { continue };
            let exemplar = Exemplar {
                labels: Labels::from_pairs(pairs),
                value: exemplar.value,
                timestamp_ms: Some(exemplar.timestamp),
            };
            match check_time(window, exemplar.timestamp_ms.unwrap_or_default())
                .and_then(|()| appender.exemplar(&labels, exemplar))
            {
                Ok(()) => written.exemplars += 1,
                Err(error @ AppendError::OutOfOrderExemplar) => refused.push(format!("{error} for series {labels}")),
                Err(_) => {}
            }
        }
    }
    appender.commit();
    let outcome = if refused.is_empty() { Ok(()) } else { Err(Refusal::bad(refused.join("\n"))) };
    (outcome, Some(written))
}

fn resolve(symbols: &[String], references: &[u32]) -> Result<Vec<(String, String)>, String> {
    let symbol = |reference: u32| {
        symbols
            .get(reference as usize)
            .cloned()
            .ok_or_else(|| format!("labels reference {reference} is not in the table of {} symbols", symbols.len()))
    };
    references
        .chunks(2)
        .map(|pair| match pair {
            [name, value] => Ok((symbol(*name)?, symbol(*value)?)),
            _ => Err(format!("labels references come in pairs, got {}", references.len())),
        })
        .collect()
}

/// What is wrong with the labels of a series.
enum Invalid {
    NoName,
    Twice(String),
}

impl Invalid {
    fn describe(&self, pairs: &[(String, String)]) -> String {
        let mut sorted = pairs.to_vec();
        sorted.sort();
        let shown: Vec<String> = sorted
            .iter()
            .map(|(name, value)| {
                let mut text = format!("{name}=");
                sim_wire::labels::push_quoted(&mut text, value);
                text
            })
            .collect();
        let shown = format!("{{{}}}", shown.join(", "));
        match self {
            Self::NoName => format!("invalid metric name or labels, got {shown}"),
            Self::Twice(name) => format!("invalid labels for series, labels {shown}, duplicated label {name}"),
        }
    }
}

fn series_labels(pairs: impl Iterator<Item = (String, String)>) -> Result<Labels, Invalid> {
    let mut sorted: Vec<(String, String)> = pairs.collect();
    sorted.sort();
    let named = sorted.iter().any(|(name, value)| name == METRIC_NAME && !value.is_empty());
    if !named || sorted.iter().any(|(name, _)| name.is_empty()) {
        return Err(Invalid::NoName);
    }
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Invalid::Twice(pair[0].0.clone()));
    }
    Ok(Labels::from_pairs(sorted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::messages::{Label, Sample, TimeSeries, TimeSeriesV2};

    const WINDOW: Window = Window { latest_ms: 10_000_000, out_of_order_ms: 0 };

    fn post(content_type: &str, message: &[u8]) -> Request<Bytes> {
        let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
        let request = Request::post("/api/v1/write").header(header::CONTENT_TYPE, content_type);
        request.header(header::CONTENT_ENCODING, "snappy").body(Bytes::from(body)).unwrap()
    }

    fn v1(series: &[(&[(&str, &str)], &[(i64, f64)])]) -> Request<Bytes> {
        let timeseries = series
            .iter()
            .map(|(labels, samples)| TimeSeries {
                labels: labels.iter().map(|(n, v)| Label { name: (*n).to_owned(), value: (*v).to_owned() }).collect(),
                samples: samples.iter().map(|(t, value)| Sample { value: *value, timestamp: *t }).collect(),
                ..TimeSeries::default()
            })
            .collect();
        post(PROTOBUF, &WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec())
    }

    fn told(response: &Response<Bytes>) -> (u16, String) {
        (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
    }

    const UP: &[(&str, &str)] = &[("__name__", "up"), ("job", "a")];

    #[test]
    fn version_1_is_taken_whole_or_not_at_all() {
        let mut store = Store::new();
        assert_eq!(told(&answer(&mut store, WINDOW, &v1(&[(UP, &[(1000, 1.0), (2000, 0.0)])]))), (204, String::new()));
        let late = v1(&[(&[("__name__", "new")], &[(3000, 1.0)]), (UP, &[(1500, 1.0)])]);
        assert_eq!(told(&answer(&mut store, WINDOW, &late)), (400, "out of order sample\n".to_owned()));
        let other = v1(&[(UP, &[(2000, 5.0)])]);
        let expected = "duplicate sample for timestamp 2000; overrides not allowed: existing 0, new value 5\n";
        assert_eq!(told(&answer(&mut store, WINDOW, &other)), (400, expected.to_owned()));
        let ahead = v1(&[(UP, &[(10_000_001, 5.0)])]);
        let expected = "out of bounds: timestamp is too far in the future\n";
        assert_eq!(told(&answer(&mut store, WINDOW, &ahead)), (400, expected.to_owned()));
        assert_eq!(store.all().len(), 1);
        assert_eq!(store.all()[0].points().len(), 2);
    }

    #[test]
    fn series_without_a_name_or_with_a_label_twice_are_left_out_and_counted() {
        let mut store = Store::new();
        let twice: &[(&str, &str)] = &[("__name__", "x"), ("a", "1"), ("a", "2")];
        let request = v1(&[(&[("job", "a")], &[(1, 1.0)]), (twice, &[(1, 1.0)]), (UP, &[(1, 1.0)])]);
        assert_eq!(told(&answer(&mut store, WINDOW, &request)).0, 204);
        assert_eq!((store.all().len(), store.rejections().invalid_labels), (1, 2));
    }

    #[test]
    fn version_2_is_taken_in_part_and_told_of() {
        let mut store = Store::new();
        let symbols = ["", "__name__", "up", "job", "a"].map(str::to_owned).to_vec();
        let series = |labels_refs: Vec<u32>, times: &[i64]| TimeSeriesV2 {
            labels_refs,
            samples: times.iter().map(|t| Sample { value: 1.0, timestamp: *t }).collect(),
            ..TimeSeriesV2::default()
        };
        let request =
            RequestV2 { symbols, timeseries: vec![series(vec![3, 4], &[1]), series(vec![1, 2], &[5, 20_000_000])] };
        let content_type = format!("{PROTOBUF};proto={V2}");
        let response = answer(&mut store, WINDOW, &post(&content_type, &request.encode_to_vec()));
        let expected = "invalid metric name or labels, got {job=\"a\"}\n\
                        out of bounds: timestamp is too far in the future for series {__name__=\"up\"}\n";
        assert_eq!(told(&response), (400, expected.to_owned()));
        assert_eq!(response.headers()["x-prometheus-remote-write-samples-written"], "1");
        assert_eq!(response.headers()["x-prometheus-remote-write-histograms-written"], "0");
        assert_eq!(store.all()[0].points().len(), 1);
        let outside = RequestV2 { timeseries: vec![series(vec![1, 99], &[6])], ..request };
        assert_eq!(told(&answer(&mut store, WINDOW, &post(&content_type, &outside.encode_to_vec()))).0, 400);
    }

    #[test]
    fn what_is_no_remote_write_is_refused() {
        let mut store = Store::new();
        let mut refused = |content_type: &str, encoding: &str, body: &'static [u8]| {
            let request = Request::post("/api/v1/write")
                .header(header::CONTENT_TYPE, content_type)
                .header(header::CONTENT_ENCODING, encoding)
                .body(Bytes::from_static(body))
                .unwrap();
            told(&answer(&mut store, WINDOW, &request))
        };
        let (status, text) = refused("application/json", "snappy", b"");
        assert_eq!(status, 415);
        assert_eq!(
            text,
            "expected application/x-protobuf as the first (media) part, got application/json content-type\n"
        );
        assert_eq!(refused("application/x-protobuf;proto=x", "snappy", b"").0, 415);
        assert_eq!(refused("application/x-protobuf;proto", "snappy", b"").0, 415);
        assert_eq!(refused(PROTOBUF, "gzip", b"").0, 415);
        assert_eq!(refused(PROTOBUF, "snappy", b"\xff\xff"), (400, "snappy: corrupt input\n".to_owned()));
        // Two gigabytes, says the head of these five bytes.
        let (status, text) = refused(PROTOBUF, "snappy", b"\xff\xff\xff\xff\x07");
        assert_eq!((status, text.contains("exceeds limit 33554432")), (400, true), "{text}");
        assert_eq!(refused(PROTOBUF, "snappy", b"\x01\x00\xff").0, 400);
    }
}
