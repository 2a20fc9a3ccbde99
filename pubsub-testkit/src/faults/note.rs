//! What members tell of their work, one line each, so that a ledger can be kept outside of their processes.

use std::fmt;

/// One thing that a publisher or a consumer did or met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The consumer is subscribed, or the publisher begins.
    Ready,
    /// The event of this serial is about to be published.
    Attempt(usize),
    /// The broker has it.
    Confirmed(usize),
    /// Its publication failed and is repeated with the same id, or given up.
    Failed(usize),
    /// It was delivered.
    Seen(usize),
    /// Its work is done; it is acknowledged next.
    Done(usize),
    /// The acknowledgement was confirmed by the broker.
    Settled(usize),
    /// The acknowledgement was refused, since the lease was gone.
    Stale(usize),
    /// A gap event came.
    Gap,
    /// The subscription says that it is being restored.
    Recovering,
    /// The subscription says that events flow.
    Active,
    /// Something failed that the member lives with.
    Fault(String),
    /// The member gives up.
    Broken(String),
    /// The member has ended in good order.
    Ended,
}

impl Note {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let serial = || rest.parse().ok();
        Some(match word {
            "ready" => Self::Ready,
            "attempt" => Self::Attempt(serial()?),
            "confirmed" => Self::Confirmed(serial()?),
            "failed" => Self::Failed(serial()?),
            "seen" => Self::Seen(serial()?),
            "done" => Self::Done(serial()?),
            "settled" => Self::Settled(serial()?),
            "stale" => Self::Stale(serial()?),
            "gap" => Self::Gap,
            "recovering" => Self::Recovering,
            "active" => Self::Active,
            "fault" => Self::Fault(rest.to_owned()),
            "broken" => Self::Broken(rest.to_owned()),
            "ended" => Self::Ended,
            _ => return None,
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Attempt(serial) => write!(f, "attempt {serial}"),
            Self::Confirmed(serial) => write!(f, "confirmed {serial}"),
            Self::Failed(serial) => write!(f, "failed {serial}"),
            Self::Seen(serial) => write!(f, "seen {serial}"),
            Self::Done(serial) => write!(f, "done {serial}"),
            Self::Settled(serial) => write!(f, "settled {serial}"),
            Self::Stale(serial) => write!(f, "stale {serial}"),
            Self::Gap => f.write_str("gap"),
            Self::Recovering => f.write_str("recovering"),
            Self::Active => f.write_str("active"),
            Self::Fault(text) => write!(f, "fault {}", one_line(text)),
            Self::Broken(text) => write!(f, "broken {}", one_line(text)),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// Short enough for one write that the kernel does not take apart.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(400).collect()
}

/// Where a member writes its notes. The order in which notes are taken is the order in which things happened.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a notebook of the fault suite",
    note = "implement `Notebook` of `pubsub_testkit::faults`"
)]
pub trait Notebook: Send + Sync {
    /// Takes a note.
    fn note(&self, note: Note);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        let fault = Note::Fault("two\nlines".to_owned());
        for note in
            [Note::Ready, Note::Confirmed(7), Note::Stale(0), Note::Gap, Note::Ended, Note::Broken("x y".into())]
        {
            assert_eq!(Note::parse(&note.to_string()), Some(note));
        }
        assert_eq!(Note::parse(&fault.to_string()), Some(Note::Fault("two lines".to_owned())));
        assert_eq!(Note::parse("seen x"), None);
    }
}
