//! How far it has come: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal, a line after every so many lines of the input.
const EVERY: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For an input of so many bytes, if that is known.
    pub(crate) fn new(size: Option<u64>) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            if let (Some(_), Ok(style)) = (size, ProgressStyle::with_template("{bar:20} {percent:>3} % {wide_msg}")) {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    /// So many bytes and lines are read, and so many orders published.
    pub(crate) fn published(&self, bytes: u64, lines: u64, orders: usize) {
        let text = || format!("{lines} lines read, {orders} orders published");
        match &self.bar {
            Some(bar) => {
                bar.set_position(bytes);
                bar.set_message(text());
            }
            None if lines.is_multiple_of(EVERY) => eprintln!("{}", text()),
            None => {}
        }
    }

    /// Every group has settled so many of its orders. Called only when the numbers have changed.
    pub(crate) fn settled(&self, groups: &[(&str, usize)], orders: usize) {
        let counts: Vec<_> = groups.iter().map(|(group, settled)| format!("{group} {settled}")).collect();
        let text = format!("settled of {orders}: {}", counts.join(", "));
        match &self.bar {
            Some(bar) => {
                bar.set_length((orders * groups.len()) as u64);
                bar.set_position(groups.iter().map(|(_, settled)| *settled as u64).sum());
                bar.set_message(text);
            }
            None => eprintln!("{text}"),
        }
    }

    /// Says something on a line of its own.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
