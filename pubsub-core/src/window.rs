//! Ack window.
