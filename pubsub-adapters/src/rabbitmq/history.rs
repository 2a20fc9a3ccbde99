//! Reading history without subscribing.

use pubsub_core::{
    Error, ErrorKind, Result, StartPosition,
    driver::{History, HistoryRange, Stored},
};

use super::{
    adapter::RabbitMq,
    stream::{Bounds, From, Reader, bounds, position, resolve},
};

const OPERATION: &str = "read history";

/// Reads a page.
pub(super) async fn read(adapter: &RabbitMq, range: &HistoryRange) -> Result<History> {
    let channel = &range.channel;
    let Bounds { first, next, born } = bounds(&adapter.topology, channel, OPERATION).await?;
    let from = resolve(&range.from, Bounds { first, next, born }, OPERATION).map_err(|error| error.on(channel))?;
    let mut events = Vec::new();
    let empty = match from {
        From::Offset(offset) => offset >= next,
        From::Time(_) => first >= next,
    };
    // The last offset that was passed, whatever lay there.
    let mut passed = match from {
        From::Offset(offset) => offset.checked_sub(1),
        From::Time(_) => next.checked_sub(1).filter(|_| empty),
    };
    if !empty && range.limit > 0 {
        let mut reader = Reader::of(&adapter.topology, channel, from, OPERATION).await?;
        while events.len() < range.limit {
            let Some(raw) = reader.next_stored(from).await? else {
                // Nothing is younger than the time.
                passed = next.checked_sub(1);
                break;
            };
            let Some(offset) = raw.offset() else { continue };
            if let From::Offset(expected) = from {
                if offset < expected {
                    continue; // the beginning of a chunk
                }
                let begins = passed == expected.checked_sub(1);
                if let (true, true, StartPosition::After(position)) = (begins, offset > expected, &range.from) {
                    // Retention was quicker than we.
                    let text = format!("events after position `{position}` are gone");
                    return Err(Error::new(ErrorKind::PositionExpired, OPERATION, text).on(channel));
                }
            }
            passed = Some(offset);
            if let (false, Some(position)) = (raw.is_expired() || raw.mark().is_some(), position(offset, born)) {
                events.push(Stored::new(adapter.sender.wire.decode(&raw, channel).0, position));
            }
            if offset + 1 >= next {
                break;
            }
        }
    }
    let at_end = passed.map_or(0, |passed| passed + 1) >= next;
    let after = match (passed, &range.from) {
        (Some(passed), _) => position(passed, born),
        (None, StartPosition::After(position)) => Some(position.clone()),
        // Before the first event of all there is no position to start after.
        (None, _) => None,
    };
    Ok(History::new(events, after, at_end).dropped(first))
}
