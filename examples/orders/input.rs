//! Reading the input line by line, however long it and its lines are.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    thread,
};

use tokio::sync::mpsc;

use super::{
    args::Source,
    order::{OrderCreated, Reason, Rejection},
};

/// Lines beyond this many bytes are rejected, and never held as a whole.
const MAX_LINE: usize = 16 * 1024;
/// How many lines may wait for the publisher: a slow bus slows the reading down.
const LINES_AHEAD: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line of the input.
#[derive(Debug)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: u64,
    /// How many bytes of the input end with it.
    pub(crate) end: u64,
    /// The order, or what is wrong with the line.
    pub(crate) order: Result<OrderCreated, Rejection>,
}

/// The lines of an input, read by a thread of their own: a terminal may take its time.
#[derive(Debug)]
pub(crate) struct Input {
    name: String,
    size: Option<u64>,
    lines: mpsc::Receiver<io::Result<Line>>,
}

/// Opens the input and starts to read it.
pub(crate) fn open(source: &Source) -> Result<Input, String> {
    let name = source.path().map_or_else(|| source.to_string(), |path| path.display().to_string());
    let mut size = None;
    let bytes: Box<dyn BufRead + Send> = match source.path() {
        Some(path) => {
            let file = File::open(&path).map_err(|error| format!("cannot open {name}: {error}"))?;
            size = file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(io::stdin())),
    };
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    thread::spawn(move || read(bytes, &sender));
    Ok(Input { name, size, lines })
}

impl Input {
    /// The size in bytes, where it is known before the end.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next line; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>, String> {
        let line = self.lines.recv().await.transpose();
        line.map_err(|error| format!("cannot read {}: {error}", self.name))
    }
}

/// Sends every line, until the input ends or nobody takes them any more.
fn read(mut bytes: Box<dyn BufRead + Send>, lines: &mpsc::Sender<io::Result<Line>>) {
    let mut text = Vec::new();
    let (mut number, mut end) = (0, 0);
    loop {
        let sent = match next_line(&mut bytes, &mut text) {
            Ok(0) => return,
            Ok(length) => {
                number += 1;
                end += length;
                lines.blocking_send(Ok(Line { number, end, order: order(number, &text) }))
            }
            Err(error) => {
                let _ = lines.blocking_send(Err(error));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn order(number: u64, mut text: &[u8]) -> Result<OrderCreated, Rejection> {
    if text.len() > MAX_LINE {
        return Err(Rejection::line(Reason::LineTooLong, format!("longer than {MAX_LINE} bytes")));
    }
    if number == 1 {
        text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    }
    OrderCreated::read(text.strip_suffix(b"\r").unwrap_or(text))
}

/// Reads up to the next line feed and returns how many bytes that took, 0 at the end. Of a line that is too long,
/// `line` gets no more than shows it.
fn next_line(bytes: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut length = 0;
    loop {
        let chunk = match bytes.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        let feed = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..feed.unwrap_or(chunk.len())];
        let room = MAX_LINE + 1 - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(feed.is_some());
        bytes.consume(used);
        length += used as u64;
        if used == 0 || feed.is_some() {
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_a_line_feed_or_the_input_and_long_ones_are_cut() -> io::Result<()> {
        let long = "x".repeat(3 * MAX_LINE);
        let input = format!("one\n\n{long}\nlast");
        // A small buffer: lines cross its end.
        let mut bytes = BufReader::with_capacity(7, input.as_bytes());
        let (mut line, mut seen) = (Vec::new(), Vec::new());
        loop {
            let length = next_line(&mut bytes, &mut line)?;
            if length == 0 {
                break;
            }
            seen.push((length, line.len()));
        }
        let long = long.len() as u64;
        assert_eq!(seen, [(4, 3), (1, 0), (long + 1, MAX_LINE + 1), (4, 4)]);
        Ok(())
    }
}
