//! What the documents say of the program itself.

/// What OpenAPI and AsyncAPI say of the program, beside its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentOptions {
    pub(crate) title: String,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
    pub(crate) base_path: String,
    pub(crate) servers: Vec<String>,
    pub(crate) internal: bool,
}

impl DocumentOptions {
    /// A program of this title and version. Its HTTP router is mounted at `/`, and internal events are left out.
    pub fn new(title: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            version: version.into(),
            description: None,
            base_path: String::new(),
            servers: Vec::new(),
            internal: false,
        }
    }

    /// Adds what the program is for; CommonMark.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the path under which the HTTP router is mounted, such as `/api`; a slash at its end is dropped.
    #[must_use]
    pub fn base_path(mut self, path: &str) -> Self {
        let path = path.trim_matches('/');
        self.base_path = if path.is_empty() { String::new() } else { format!("/{path}") };
        self
    }

    /// Adds a server, such as `https://shop.example`, or `nats://broker.example:4222` for AsyncAPI. In OpenAPI without
    /// any, paths are relative to where the document is.
    #[must_use]
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.servers.push(url.into());
        self
    }

    /// Sets whether events that stay among services are in the AsyncAPI document, too. They never are in OpenAPI.
    #[must_use]
    pub fn internal(mut self, shown: bool) -> Self {
        self.internal = shown;
        self
    }

    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }
}
