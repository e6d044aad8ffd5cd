//! The messages of remote write 1.0 (`prometheus.WriteRequest`, prompb/remote.proto and types.proto of Prometheus), written down
//! here and not taken from the simulated Prometheus: what both ends shared would hide its own mistakes.

use prost::Message;

/// `WriteRequest`
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// The series, each with its samples in order of time.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// `TimeSeries`
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Sorted by name, `__name__` among them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Floats.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Native histograms.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// `Label`
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `Sample`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// The value, bit by bit: the stale marker is one.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// `Histogram`, in its form with counts as floats.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// Observations. Part of a choice, so zero is sent: it tells that this is the form with floats.
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    /// Their sum.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// Resolution; −53 for custom bounds.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Half the width of the zero bucket.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    /// Runs of buckets below zero.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// Their counts, absolute.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Runs of buckets above zero.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// Their counts, absolute.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// 0 unknown, 1 reset, 2 no reset, 3 gauge.
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// The bounds of the custom schema.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

/// `BucketSpan`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct BucketSpan {
    /// From the bucket after the run before (from bucket zero for the first).
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Buckets in the run.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// Labels in the order that the protocol wants.
pub fn labels<'l>(pairs: impl IntoIterator<Item = (&'l str, &'l str)>) -> Vec<Label> {
    let mut labels: Vec<Label> =
        pairs.into_iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels
}

/// The body of the request: protobuf in snappy's block format.
pub fn encode(request: &WriteRequest) -> Vec<u8> {
    // The encoder fails above 4 GiB only, and a request is a batch.
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap_or_default()
}
