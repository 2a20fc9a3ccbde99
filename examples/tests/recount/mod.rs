//! The rules of the input, written down a second time: over untyped JSON, with the whole input at hand, and without
//! a line of the example or the library.

use std::collections::BTreeMap;

use serde_json::Value;

const DISCONTINUED: [&str; 3] = ["LAMP-LAVA", "CHAIR-BAG", "RADIO-TUBE"];

/// What an input must lead to.
#[derive(Debug, Default)]
pub(crate) struct Recount {
    pub(crate) read: u64,
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    pub(crate) accepted: BTreeMap<String, Order>,
}

/// An accepted order.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) line: u64,
    content: Content,
}

/// What distinguishes one order from another of the same id.
#[derive(Debug, PartialEq)]
struct Content {
    user: String,
    email: Option<String>,
    currency: String,
    items: Vec<(String, u64, i64)>,
    total: i64,
}

impl Recount {
    pub(crate) fn of(input: &[u8]) -> Self {
        let mut recount = Self::default();
        let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
        let mut lines: Vec<_> = input.split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        for line in lines {
            recount.read += 1;
            if let Err(reason) = recount.enter(line) {
                *recount.rejected.entry(reason).or_default() += 1;
            }
        }
        recount
    }

    fn enter(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.len() > 16 * 1024 {
            return Err("line_too_long");
        }
        if line.trim_ascii().is_empty() {
            return Err("blank_line");
        }
        let text = std::str::from_utf8(line).map_err(|_| "not_utf8")?;
        let document = serde_json::from_str(&tamed(text)).map_err(|_| "not_json")?;
        let (id, content) = read(&document)?;
        match self.accepted.get(&id) {
            Some(known) if known.content == content => return Err("duplicate"),
            Some(_) => return Err("conflict"),
            None => self.accepted.insert(id, Order { line: self.read, content }),
        };
        Ok(())
    }

    /// The ids that must be dead letters of this group, in order.
    pub(crate) fn doomed(&self, group: &str) -> Vec<&str> {
        let doomed = |content: &Content| match group {
            "stock" => content.items.iter().any(|(sku, ..)| DISCONTINUED.contains(&sku.as_str())),
            "notifications" => content.email.is_none(),
            _ => false,
        };
        self.accepted.iter().filter(|(_, order)| doomed(&order.content)).map(|(id, _)| id.as_str()).collect()
    }

    /// How often work of this group must fail.
    pub(crate) fn failures(&self, group: &str) -> usize {
        match group {
            "stock" => 4 * self.doomed(group).len(),
            "notifications" => self.doomed(group).len(),
            _ => self
                .accepted
                .keys()
                .map(|id| if dice(id, 1) >= 5 { 0 } else { 1 + usize::from(dice(id, 2) < 20) })
                .sum(),
        }
    }
}

/// FNV-1a over the id and the attempt, as a number below 100.
fn dice(id: &str, attempt: u32) -> u64 {
    let mut hash = 14_695_981_039_346_656_037_u64;
    for byte in id.bytes().chain(attempt.to_le_bytes()) {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    hash % 100
}

/// The text without what an untyped reading cannot hold although it is JSON: deep nesting, and numbers beyond `f64`.
fn tamed(text: &str) -> String {
    let mut text = text.replace(": 1e999", ": \"beyond\"");
    while text.contains("[[]]") {
        text = text.replace("[[]]", "[]");
    }
    text
}

fn read(document: &Value) -> Result<(String, Content), &'static str> {
    let field = "bad_field";
    let id = |name: &str| match document[name].as_str() {
        Some(id) if !id.is_empty() && id.len() <= 64 && !id.contains(char::is_whitespace) => Ok(id.to_owned()),
        _ => Err(field),
    };
    let order_id = id("orderId")?;
    let user = id("userId")?;
    let email = match &document["email"] {
        Value::Null => None,
        Value::String(email) => Some(email.clone()),
        _ => return Err(field),
    };
    let currency = document["currency"].as_str().filter(|code| ["EUR", "USD", "GBP", "CHF"].contains(code));
    let currency = currency.ok_or(field)?.to_owned();
    let lines = document["lines"].as_array().filter(|lines| !lines.is_empty()).ok_or(field)?;
    if !document["total"].is_number() {
        return Err(field);
    }
    let mut items = Vec::new();
    for line in lines {
        let sku = line["sku"].as_str().ok_or(field)?.to_owned();
        let quantity = line["quantity"].as_u64().filter(|quantity| *quantity > 0).ok_or(field)?;
        items.push((sku, quantity, cents(&line["price"])?));
    }
    let total = cents(&document["total"])?;
    let sum: i64 = items.iter().map(|(_, quantity, price)| i64::try_from(*quantity).unwrap() * price).sum();
    if total != sum {
        return Err("total_mismatch");
    }
    Ok((order_id, Content { user, email, currency, items, total }))
}

/// An amount by its digits, at most two of them behind the point.
fn cents(amount: &Value) -> Result<i64, &'static str> {
    let text = amount.as_number().ok_or("bad_field")?.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if fraction.len() > 2 {
        return Err("bad_amount");
    }
    format!("{whole}{fraction:0<2}").parse().ok().filter(|cents| *cents >= 0).ok_or("bad_amount")
}
