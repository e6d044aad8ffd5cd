//! Samples that come and go by remote write (1.0 and 2.0).
//!
//! | module | what it does |
//! |---|---|
//! | [`messages`] | the protobuf messages |
//! | [`histogram`] | native histograms between store and wire |
//! | [`receive`] | `/api/v1/write`: from a request to appended samples and a response |

pub mod histogram;
pub mod messages;
mod plain;
pub mod receive;
