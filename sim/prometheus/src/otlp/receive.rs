//! The OTLP receiver: statuses and texts are those of Prometheus's own handler.

use super::translate::{Settings, translate};
use crate::remote::receive::{Window, append, refuse};
use crate::store::{AppendError, Store};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use std::io::Read as _;

/// Largest body after decompression, in bytes.
pub const BODY_BYTES_MAX: u64 = 64 << 20;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Answers `POST /api/v1/otlp/v1/metrics`.
pub(crate) fn answer(
    store: &mut Store,
    window: Window,
    settings: &Settings,
    request: &Request<Bytes>,
) -> Response<Bytes> {
    let decoded = match decode(request) {
        Ok(decoded) => decoded,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
    };
    let translated = translate(&decoded, settings);
    // Prometheus logs what it cannot translate and takes the rest.
    store.count_untranslated(translated.dropped.len() as u64);
    match append(store, window, translated.request) {
        Ok(()) => Response::new(Bytes::new()),
        Err((error, message)) => {
            let bad = matches!(
                error,
                Some(
                    AppendError::OutOfOrder
                        | AppendError::OutOfBounds
                        | AppendError::TooFarAhead
                        | AppendError::Duplicate { .. }
                        | AppendError::DuplicateHistogram
                )
            );
            let status = if bad { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
            refuse(status, &message)
        }
    }
}

fn decode(request: &Request<Bytes>) -> Result<ExportMetricsServiceRequest, String> {
    let text = |name: header::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let content_type = text(header::CONTENT_TYPE);
    if content_type != PROTOBUF && content_type != JSON {
        return Err(format!("unsupported content type: {content_type}, supported: [{JSON}, {PROTOBUF}]"));
    }
    let body = match text(header::CONTENT_ENCODING) {
        "" => request.body().clone(),
        "gzip" => {
            let mut body = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(request.body().as_ref()).take(BODY_BYTES_MAX + 1);
            reader.read_to_end(&mut body).map_err(|_| "gzip: invalid header".to_owned())?;
            if body.len() as u64 > BODY_BYTES_MAX {
                return Err(format!("body larger than {BODY_BYTES_MAX} bytes"));
            }
            Bytes::from(body)
        }
        other => return Err(format!("unsupported compression: {other}. Only \"gzip\" or no compression supported")),
    };
    if content_type == JSON {
        return serde_json::from_slice(&body).map_err(|error| error.to_string());
    }
    ExportMetricsServiceRequest::decode(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim_wire::is_stale;
    use std::io::Write as _;

    const WINDOW: Window = Window { latest_ms: i64::MAX, out_of_order_ms: 0 };

    fn settings(yaml: &str) -> Settings {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn post(content_type: &str, encoding: &str, body: Vec<u8>) -> Request<Bytes> {
        let request = Request::post("/api/v1/otlp/v1/metrics").header(header::CONTENT_TYPE, content_type);
        let request = if encoding.is_empty() { request } else { request.header(header::CONTENT_ENCODING, encoding) };
        request.body(Bytes::from(body)).unwrap()
    }

    /// A request as an SDK sends it in JSON, with these metrics.
    fn request(metrics: &str) -> String {
        format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[
                {{"key":"service.name","value":{{"stringValue":"gateway"}}}},
                {{"key":"service.namespace","value":{{"stringValue":"multigres"}}}},
                {{"key":"service.instance.id","value":{{"stringValue":"pod-1"}}}},
                {{"key":"k8s.pod.name","value":{{"stringValue":"p"}}}}]}},
              "scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#
        )
    }

    const TIME: &str = r#""timeUnixNano":"1000000000""#;

    fn series(metrics: &str, yaml: &str) -> Vec<String> {
        let mut store = Store::new();
        let request = post(JSON, "", request(metrics).into_bytes());
        let response = answer(&mut store, WINDOW, &settings(yaml), &request);
        assert_eq!(response.status(), 200, "{:?}", response.body());
        let mut lines = Vec::new();
        for series in store.all() {
            for point in series.points() {
                let value = match &point.value {
                    crate::store::Value::Float(value) if is_stale(*value) => "stale".to_owned(),
                    crate::store::Value::Float(value) => value.to_string(),
                    crate::store::Value::Histogram(histogram) => histogram.to_string(),
                };
                assert_eq!(point.t_ms, 1000);
                lines.push(format!("{} {value}", series.labels.series()));
            }
        }
        lines
    }

    const TARGET_INFO: &str = r#"target_info{instance="pod-1", job="multigres/gateway", k8s_pod_name="p"} 1"#;
    const COMMON: &str = r#"instance="pod-1", job="multigres/gateway""#;

    #[test]
    fn numbers_get_their_suffixes_and_the_resource_becomes_target_info() {
        let counter = format!(
            r#"{{"name":"db.client.bytes","unit":"By","sum":{{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[
                {{{TIME},"asInt":"7","attributes":[{{"key":"db.name","value":{{"stringValue":"a"}}}},{{"key":"db_name","value":{{"intValue":"2"}}}}]}}]}}}}"#
        );
        let expected = format!(r#"db_client_bytes_total{{db_name="a;2", {COMMON}}} 7"#);
        assert_eq!(series(&counter, "{}"), [expected, TARGET_INFO.to_owned()]);
        let plain = "translation_strategy: NoTranslation";
        let expected = format!(r#"{{"__name__"="db.client.bytes", "db.name"="a", db_name="2", {COMMON}}} 7"#)
            .replace("\"__name__\"", "__name__");
        assert_eq!(series(&counter, plain)[0], expected);
        let promoted = "promote_resource_attributes: [k8s.pod.name]";
        assert!(series(&counter, promoted)[0].contains(r#"k8s_pod_name="p""#));
        let kept = "keep_identifying_resource_attributes: true";
        assert!(series(&counter, kept)[1].contains(r#"service_name="gateway""#));
        let gauge = format!(
            r#"{{"name":"load","unit":"1","gauge":{{"dataPoints":[{{{TIME},"asDouble":0.5}},
                {{{TIME},"flags":1,"attributes":[{{"key":"cpu","value":{{"boolValue":true}}}}]}}]}}}}"#
        );
        let found = series(&gauge, "{}");
        assert_eq!(found[0], format!(r#"load_ratio{{cpu="true", {COMMON}}} stale"#));
        assert_eq!(found[1], format!("load_ratio{{{COMMON}}} 0.5"));
    }

    #[test]
    fn histograms_become_classic_or_native_ones() {
        let histogram = format!(
            r#"{{"name":"d","unit":"s","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{TIME},"count":"4","sum":3.5,
                "explicitBounds":[0.5,2],"bucketCounts":["1","0","3"]}}]}}}}"#
        );
        let found = series(&histogram, "{}");
        let bucket = |le: &str, count: u32| format!(r#"d_seconds_bucket{{{COMMON}, le="{le}"}} {count}"#);
        assert_eq!(found[..3], [bucket("+Inf", 4), bucket("0.5", 1), bucket("2", 1)]);
        assert_eq!(found[3], format!("d_seconds_count{{{COMMON}}} 4"));
        assert_eq!(found[4], format!("d_seconds_sum{{{COMMON}}} 3.5"));
        let found = series(&histogram, "convert_histograms_to_nhcb: true");
        assert_eq!(found[0], format!("d_seconds{{{COMMON}}} {{count:4, sum:3.5, [-Inf,0.5]:1, (2,+Inf]:3}}"));
        let exponential = format!(
            r#"{{"name":"e","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{{{TIME},"count":"6","sum":9,"scale":9,
                "zeroCount":"1","positive":{{"offset":-1,"bucketCounts":["1","2","0","2"]}}}}]}}}}"#
        );
        // Scale 9 is finer than any schema: pairs of buckets are merged.
        let found = &series(&exponential, "{}")[0];
        assert!(
            found.contains("count:6") && found.contains("]:1, (1,1.002711275050202") && found.ends_with("]:2}"),
            "{found}"
        );
    }

    #[test]
    fn summaries_have_quantiles() {
        let summary = format!(
            r#"{{"name":"q","summary":{{"dataPoints":[{{{TIME},"count":"2","sum":3,"quantileValues":[{{"quantile":0.9,"value":1.5}}]}}]}}}}"#
        );
        let found = series(&summary, "{}");
        assert_eq!(found[0], format!(r#"q{{{COMMON}, quantile="0.9"}} 1.5"#));
        assert_eq!(found[1..3], [format!("q_count{{{COMMON}}} 2"), format!("q_sum{{{COMMON}}} 3")]);
    }

    #[test]
    fn what_cannot_be_translated_is_left_out_and_counted() {
        let delta = format!(
            r#"{{"name":"d","sum":{{"aggregationTemporality":1,"dataPoints":[{{{TIME},"asInt":"1"}}]}}}},
               {{"name":"e","gauge":{{"dataPoints":[]}}}},
               {{"name":"coarse","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{{{TIME},"scale":-5,"count":"0"}}]}}}},
               {{"name":"ok","gauge":{{"dataPoints":[{{{TIME},"asDouble":1}}]}}}}"#
        );
        assert_eq!(series(&delta, "{}"), [format!("ok{{{COMMON}}} 1"), TARGET_INFO.to_owned()]);
        let mut store = Store::new();
        answer(&mut store, WINDOW, &Settings::default(), &post(JSON, "", request(&delta).into_bytes()));
        assert_eq!(store.rejections().untranslated, 3);
    }

    #[test]
    fn encodings_are_told_apart_and_mistakes_refused() {
        let mut store = Store::new();
        let gauge = request(&format!(r#"{{"name":"g","gauge":{{"dataPoints":[{{{TIME},"asDouble":1}}]}}}}"#));
        let message: ExportMetricsServiceRequest = serde_json::from_str(&gauge).unwrap();
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(&message.encode_to_vec()).unwrap();
        let zipped = zipped.finish().unwrap();
        let mut told = |content_type: &str, encoding: &str, body: Vec<u8>| {
            let response = answer(&mut store, WINDOW, &Settings::default(), &post(content_type, encoding, body));
            (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
        };
        assert_eq!(told(PROTOBUF, "gzip", zipped).0, 200);
        assert_eq!(told(PROTOBUF, "", message.encode_to_vec()).0, 200);
        assert_eq!(
            told(JSON, "", gauge.replace("1000000000", "500000000").into_bytes()),
            (400, "out of order sample\n".to_owned())
        );
        let (status, text) = told("text/plain", "", Vec::new());
        assert_eq!(
            (status, text.as_str()),
            (400, "unsupported content type: text/plain, supported: [application/json, application/x-protobuf]\n")
        );
        assert_eq!(told(PROTOBUF, "zstd", Vec::new()).0, 400);
        assert_eq!(told(PROTOBUF, "gzip", vec![1]).0, 400);
        assert_eq!(told(PROTOBUF, "", vec![0xff]).0, 400);
    }
}
