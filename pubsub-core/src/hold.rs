//! Per-key hold.
