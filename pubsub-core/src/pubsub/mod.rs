//! The portable handle.
