//! Metrics that come by OTLP: Prometheus's translation of names, units, attributes, and histograms.
//!
//! | module | what it does |
//! |---|---|
//! | [`names`] | metric and label names by translation strategy |
//! | [`translate`] | from an export request to a write request |
//! | [`receive`] | `/api/v1/otlp/v1/metrics`: from a request to appended samples and a response |
//!
//! What cannot be translated (delta temporality, metrics without points, scales below -4) is left out and counted; as in
//! Prometheus, that is no error to the client.

pub mod names;
pub mod receive;
pub mod translate;
