//! The grammars of event names and channels, with a reason for each refusal.

/// Bytes that an event name or a channel may have.
const MAX: usize = 128;

/// What is wrong with an event name: `^[^:\s]+:[^:\s]+$`, at most 128 bytes, no control characters.
pub(crate) fn event_fault(name: &str) -> Option<String> {
    let form = "an event name is `category:event`, for example `orders:created`";
    if name.is_empty() {
        return Some(format!("the event name is empty: {form}"));
    }
    if name.len() > MAX {
        return Some(format!("the event name has {} bytes, at most {MAX} are allowed", name.len()));
    }
    if name.chars().any(char::is_whitespace) {
        return Some(format!("the event name contains whitespace: {form}"));
    }
    if name.chars().any(char::is_control) {
        return Some(format!("the event name contains a control character: {form}"));
    }
    match name.split_once(':') {
        None => Some(format!("the event name has no colon: {form}")),
        Some((_, event)) if event.contains(':') => Some(format!("the event name has more than one colon: {form}")),
        Some(("", _)) => Some(format!("the event name has nothing before the colon: {form}")),
        Some((_, "")) => Some(format!("the event name has nothing after the colon: {form}")),
        Some(_) => None,
    }
}

/// The part of a valid event name before the colon.
pub(crate) fn category(name: &str) -> &str {
    name.split_once(':').map_or(name, |(category, _)| category)
}

/// What is wrong with a channel: `^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`.
pub(crate) fn channel_fault(channel: &str) -> Option<String> {
    let Some(first) = channel.chars().next() else {
        return Some("a channel cannot be empty".to_owned());
    };
    if channel.len() > MAX {
        return Some(format!("a channel has at most {MAX} bytes, this one has {}", channel.len()));
    }
    if !first.is_ascii_alphanumeric() {
        return Some(format!("a channel starts with an ASCII letter or digit, not with {first:?}"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let foreign = channel.chars().find(|c| !allowed(*c))?;
    Some(format!("a channel consists of ASCII letters, digits, `.`, `_` and `-`, it cannot contain {foreign:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names() {
        let longest = format!("a:{}", "b".repeat(126));
        for name in ["orders:created", "a:b", "Größe:λ", "a/b:c.d-e_f", "_:*", &longest] {
            assert_eq!(event_fault(name), None, "{name}");
        }
        let long = format!("{longest}b");
        for (name, reason) in [
            ("", "empty"),
            ("orders", "no colon"),
            ("a:b:c", "more than one colon"),
            ("::", "more than one colon"),
            (":created", "nothing before"),
            ("orders:", "nothing after"),
            ("orders: created", "whitespace"),
            ("orders\u{2003}:created", "whitespace"),
            ("orders:\u{7}", "control character"),
            (&long, "129 bytes"),
        ] {
            let fault = event_fault(name).unwrap_or_default();
            assert!(fault.contains(reason), "{name:?}: {fault}");
        }
    }

    #[test]
    fn length_counts_bytes_not_letters() {
        let name = format!("a:{}", "ß".repeat(64));
        assert!(event_fault(&name).is_some_and(|fault| fault.contains("130 bytes")));
    }

    #[test]
    fn channels() {
        let longest = "c".repeat(128);
        for channel in ["orders", "0", "a.b_c-d", "EU.orders", &longest] {
            assert_eq!(channel_fault(channel), None, "{channel}");
        }
        let long = "c".repeat(129);
        for (channel, reason) in [
            ("", "empty"),
            ("_dlq.a.b", "'_'"),
            (".a", "'.'"),
            ("a b", "' '"),
            ("a:b", "':'"),
            ("a\n", "'\\n'"),
            ("größe", "'ö'"),
            (&long, "129"),
        ] {
            let fault = channel_fault(channel).unwrap_or_default();
            assert!(fault.contains(reason), "{channel:?}: {fault}");
        }
    }

    #[test]
    fn the_category_is_the_part_before_the_colon() {
        assert_eq!(category("orders:created"), "orders");
    }
}
