//! A value on a cache line of its own.

/// What one thread writes while others read its neighbours: next to them, every write would cost them a miss.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Apart<T>(pub(super) T);
