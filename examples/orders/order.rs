//! The event, and what makes a line of the input one.

use std::fmt;

use pubsub::Payload;
use serde::{Serialize, de::IgnoredAny};

/// A customer has placed an order.
#[pubsub::event("orders:created", direction = "both")]
#[derive(Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderCreated {
    pub(crate) order_id: String,
    /// The ordering key: a customer's orders are handled in the order in which they were placed.
    #[event(key)]
    pub(crate) user_id: String,
    pub(crate) email: Option<String>,
    pub(crate) currency: Currency,
    pub(crate) lines: Vec<OrderLine>,
    pub(crate) total: f64,
}

/// So many of one thing, at so much each.
#[pubsub::payload]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OrderLine {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
    pub(crate) price: f64,
}

/// Currencies of a hundred cents.
#[pubsub::payload]
#[derive(Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Currency {
    Eur,
    Usd,
    Gbp,
    Chf,
}

/// Why a line is not an order that can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    BlankLine,
    LineTooLong,
    NotUtf8,
    NotJson,
    BadField,
    BadAmount,
    TotalMismatch,
    Duplicate,
    Conflict,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A unit variant is written as its name.
        self.serialize(f)
    }
}

/// What is wrong with a line, and where in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rejection {
    #[serde(skip)]
    pub(crate) reason: Reason,
    /// A JSON pointer; empty for the whole line.
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Rejection {
    pub(crate) fn new(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }

    /// A fault of the whole line.
    pub(crate) fn line(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(reason, "", message)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl OrderCreated {
    /// The order of a line, if it is one and adds up.
    pub(crate) fn read(line: &[u8]) -> Result<Self, Rejection> {
        if line.trim_ascii().is_empty() {
            return Err(Rejection::line(Reason::BlankLine, "blank"));
        }
        let not_json = |error: serde_json::Error| {
            Rejection::line(Reason::NotJson, format!("not JSON: {}", without_place(&error.to_string())))
        };
        let text = std::str::from_utf8(line).map_err(|error| {
            Rejection::line(Reason::NotUtf8, format!("not UTF-8 after {} bytes", error.valid_up_to()))
        })?;
        serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
        if !line.trim_ascii_start().starts_with(b"{") {
            // A list of the values in the right order would be taken for the fields.
            return Err(Rejection::line(Reason::BadField, "not a JSON object"));
        }
        let order: Self = Payload::json(line.to_vec()).decode().map_err(|error| bad_field(&error))?;
        order.check()?;
        Ok(order)
    }
}

fn bad_field(error: &pubsub::Error) -> Rejection {
    match error.faults().first() {
        Some(fault) => Rejection::new(Reason::BadField, &fault.pointer, &fault.message),
        None => Rejection::line(Reason::BadField, error.message()),
    }
}

/// The line number in the parser's message is always 1: it sees one line of the input.
fn without_place(message: &str) -> &str {
    message.split_once(" at line ").map_or(message, |(text, _)| text)
}

impl OrderCreated {
    /// What the types cannot say.
    fn check(&self) -> Result<(), Rejection> {
        check_id("/orderId", &self.order_id)?;
        check_id("/userId", &self.user_id)?;
        if self.lines.is_empty() {
            return Err(Rejection::new(Reason::BadField, "/lines", "empty"));
        }
        let mut sum = 0;
        for (index, line) in self.lines.iter().enumerate() {
            let field = |name| format!("/lines/{index}/{name}");
            if line.quantity == 0 {
                return Err(Rejection::new(Reason::BadField, field("quantity"), "zero"));
            }
            sum += i128::from(line.quantity) * i128::from(cents(&field("price"), line.price)?);
        }
        let total = i128::from(cents("/total", self.total)?);
        if total != sum {
            let message = format!("{:.2}, but the lines make {}.{:02}", self.total, sum / 100, sum % 100);
            return Err(Rejection::new(Reason::TotalMismatch, "/total", message));
        }
        Ok(())
    }
}

fn check_id(field: &str, id: &str) -> Result<(), Rejection> {
    let sound = (1..=64).contains(&id.len()) && !id.contains(|c: char| c.is_whitespace() || c.is_control());
    let message = "not 1 to 64 bytes without white space";
    if sound { Ok(()) } else { Err(Rejection::new(Reason::BadField, field, message)) }
}

/// An amount in whole cents. A binary fraction is a little off most of them, so it is rounded, but not far.
fn cents(field: &str, amount: f64) -> Result<i64, Rejection> {
    const MAX: f64 = 1e9;
    let bad = |message: &str| Err(Rejection::new(Reason::BadAmount, field, message));
    let rounded = (amount * 100.0).round();
    if amount < 0.0 {
        bad("negative")
    } else if amount > MAX {
        bad("larger than any order")
    } else if (amount * 100.0 - rounded).abs() > 1e-3 {
        bad("a part of a cent")
    } else {
        Ok(rounded as i64)
    }
}
