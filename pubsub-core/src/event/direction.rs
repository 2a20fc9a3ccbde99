//! `Direction`: which way an event may cross the web edge.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which way an event may cross the web edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// The server may push it to clients.
    #[serde(rename = "SSE")]
    Sse,
    /// Clients may send it.
    #[serde(rename = "CSE")]
    Cse,
    /// Both of these.
    #[serde(rename = "BOTH")]
    Both,
    /// It stays among services.
    #[default]
    #[serde(rename = "INTERNAL")]
    Internal,
}

impl Direction {
    /// Whether the server may push it to clients.
    pub const fn to_clients(self) -> bool {
        matches!(self, Self::Sse | Self::Both)
    }

    /// Whether clients may send it.
    pub const fn from_clients(self) -> bool {
        matches!(self, Self::Cse | Self::Both)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sse => "SSE",
            Self::Cse => "CSE",
            Self::Both => "BOTH",
            Self::Internal => "INTERNAL",
        })
    }
}
