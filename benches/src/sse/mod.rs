//! Live push over HTTP: a server in a process of its own, and a generator of load that reads raw sockets.

pub mod load;
pub mod process;
pub mod publish;
pub mod serve;

/// How many bytes an event's payload has.
pub const SIZE: usize = 256;

/// Which server, asked in which words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The library, by `GET /events`.
    Ours,
    /// The library, by the tRPC subscription.
    Trpc,
    /// Bare axum over one broadcast channel of ready text.
    Limit,
}

impl Side {
    /// What its server's process is started with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours | Self::Trpc => "ours",
            Self::Limit => "limit",
        }
    }

    /// Opens a stream, behind a place where there is one.
    pub(crate) fn subscribe(self, after: Option<&str>) -> String {
        let path = match self {
            Self::Ours => "/events?channel=ticks".to_owned(),
            Self::Trpc => "/trpc/pubsub.subscribe?input=%7B%22channel%22%3A%22ticks%22%7D".to_owned(),
            Self::Limit => "/events".to_owned(),
        };
        let after = after.map(|after| format!("last-event-id: {after}\r\n")).unwrap_or_default();
        format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n{after}\r\n")
    }

    /// How many blocks a stream has before its first event.
    pub(crate) fn greetings(self) -> u64 {
        match self {
            Self::Ours | Self::Limit => 1,
            // That it is connected, and a first sign of life.
            Self::Trpc => 2,
        }
    }

    /// A request that publishes an event.
    pub(crate) fn publish(self) -> Vec<u8> {
        let payload = payload();
        match self {
            Self::Ours | Self::Trpc => {
                post("/channels/ticks/events", &format!(r#"{{"name":"ticks:made","payload":{payload}}}"#))
            }
            Self::Limit => post("/publish", &payload),
        }
    }

    /// A request that sends an event whose action does nothing; the limit publishes.
    pub(crate) fn send(self) -> Vec<u8> {
        match self {
            Self::Ours | Self::Trpc => post("/events", &format!(r#"{{"name":"tocks:sent","payload":{}}}"#, payload())),
            Self::Limit => self.publish(),
        }
    }
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn payload() -> String {
    let bare = r#"{"body":""}"#.len();
    format!(r#"{{"body":"{}"}}"#, "n".repeat(SIZE - bare))
}
