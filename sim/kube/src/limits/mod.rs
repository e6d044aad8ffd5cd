//! What a namespace may hold: LimitRange and ResourceQuota, as the admission plugins of these names.

pub(crate) mod quota;
pub(crate) mod range;
