//! What a namespace may hold, LimitRange and ResourceQuota, and which claims may grow: as the admission plugins of these names.

pub(crate) mod quota;
pub(crate) mod range;
pub(crate) mod resize;
