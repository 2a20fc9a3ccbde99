//! The JSON document form.
