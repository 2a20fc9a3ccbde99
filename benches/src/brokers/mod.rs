//! What is done with every broker, once through the library and once through the bare client.

pub mod clock;
pub mod ours;
pub mod side;
pub mod work;
