//! What crosses a broker, as every plain client shows it.

use libtest_mimic::Failed;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parcel {
    /// The content type is among them, wherever the broker has it.
    #[serde(default)]
    pub(crate) headers: Map<String, Value>,
    /// The key beside them, where the broker has one.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// `None` where the broker can tell no body from an empty one.
    pub(crate) body: Option<String>,
}

impl Parcel {
    /// A body and nothing else.
    pub(crate) fn of(body: impl Into<String>) -> Self {
        Self { body: Some(body.into()), ..Self::default() }
    }

    pub(crate) fn from_json(text: &str) -> Result<Self, Failed> {
        serde_json::from_str(text).map_err(|fault| format!("{fault} in {text}").into())
    }

    pub(crate) fn to_json(&self) -> Result<String, Failed> {
        Ok(serde_json::to_string(self)?)
    }

    /// The body as JSON.
    pub(crate) fn document(&self) -> Result<Value, Failed> {
        let body = self.body.as_deref().ok_or("no body")?;
        serde_json::from_str(body).map_err(|fault| format!("{fault} in {body}").into())
    }

    /// The attributes in the headers, whose names start with `prefix`, as CloudEvents calls them.
    pub(crate) fn attributes(&self, prefix: &str, text: impl Fn(&str) -> String) -> Map<String, Value> {
        let attribute = |(name, value): (&String, &Value)| {
            let name = match name.as_str() {
                "content-type" => "datacontenttype",
                name => name.strip_prefix(prefix)?,
            };
            Some((name.to_owned(), value.as_str().map_or_else(|| value.clone(), |value| text(value).into())))
        };
        self.headers.iter().filter_map(attribute).collect()
    }
}
