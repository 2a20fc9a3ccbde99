//! What a failed part's log says of the tests that failed: the reports of libtest, of its likes, and of Node's runner.

/// A test that failed, and the first lines of its report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) test: String,
    pub(crate) report: Vec<String>,
}

/// How many lines of one report are kept.
const LINES: usize = 20;

/// Where in a log the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    /// In the list at the end of a run of Node, between reports.
    Listed,
    /// In a report of libtest.
    Rust,
    /// In a report of that list.
    Node,
    /// In the lines that explain a `not ok`.
    Tap,
}

impl Failure {
    /// All failed tests of a log, in its order.
    pub(crate) fn of_log(log: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let mut place = Place::Between;
        for line in log.lines() {
            let text = line.trim();
            if let Some((test, begun)) = begins(line, place) {
                found.push(Self { test: test.to_owned(), report: Vec::new() });
                place = begun;
                continue;
            }
            let next = goes_on(text, place);
            if next == place
                && matches!(place, Place::Rust | Place::Node | Place::Tap)
                && let Some(failure) = found.last_mut()
            {
                failure.report.push(line.trim_end().to_owned());
            }
            place = next;
        }
        for failure in &mut found {
            failure.trim();
        }
        // A suite of Node fails because of what is in it, which is told by itself.
        found.retain(|failure| !failure.report.iter().any(|line| line.contains("subtestsFailed")));
        for failure in &mut found {
            failure.report.truncate(LINES);
        }
        found
    }

    /// Takes the empty lines around the report away.
    fn trim(&mut self) {
        let is_full = |line: &String| !line.trim().is_empty();
        let end = self.report.iter().rposition(is_full).map_or(0, |last| last + 1);
        self.report.truncate(end);
        let begin = self.report.iter().position(is_full).unwrap_or(0);
        self.report.drain(..begin);
    }
}

/// The test whose report begins with this line.
fn begins(line: &str, place: Place) -> Option<(&str, Place)> {
    if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
        return Some((name.strip_suffix(" stdout").unwrap_or(name), Place::Rust));
    }
    let text = line.trim_start();
    if matches!(place, Place::Listed | Place::Node)
        && let Some(name) = text.strip_prefix("✖ ")
    {
        return Some((name, Place::Node));
    }
    // `not ok 3 - name`; what is to be done some day does not fail.
    let name = text.strip_prefix("not ok ")?.split_once(" - ")?.1;
    (!name.contains(" # TODO")).then_some((name, Place::Tap))
}

/// Where the reader is after a line with which no report begins.
fn goes_on(text: &str, place: Place) -> Place {
    match place {
        _ if text == "✖ failing tests:" => Place::Listed,
        // Who called whom is long, and says less than what is before it.
        Place::Rust if text == "failures:" || text == "stack backtrace:" || text.starts_with("test result: ") => {
            Place::Between
        }
        Place::Node if text.starts_with("test at ") => Place::Listed,
        Place::Listed | Place::Node if text.starts_with("$ ") => Place::Between,
        Place::Tap if text == "..." => Place::Between,
        _ => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(log: &str) -> Vec<(String, String)> {
        Failure::of_log(log).into_iter().map(|failure| (failure.test, failure.report.join("\n"))).collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(test, report)| ((*test).to_owned(), (*report).to_owned())).collect()
    }

    #[test]
    fn reports_of_libtest_and_its_likes_are_read() {
        let log = "\
running 3 tests
test one ... FAILED
test two ... ok

failures:

---- one stdout ----

thread 'one' (12) panicked at tests/a.rs:3:5:
assertion failed: x
note: more
stack backtrace:
   0: core

---- src/lib.rs - shelf (line 7) stdout ----
error[E0308]: mismatched types


failures:
    one

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s

     Running tests/b.rs
failures:

---- redis: lives on ----
only 3 events


failures:
    redis: lives on
";
        let expected = [
            ("one", "thread 'one' (12) panicked at tests/a.rs:3:5:\nassertion failed: x\nnote: more"),
            ("src/lib.rs - shelf (line 7)", "error[E0308]: mismatched types"),
            ("redis: lives on", "only 3 events"),
        ];
        assert_eq!(found(log), pairs(&expected));
    }

    #[test]
    fn reports_of_node_are_read_in_both_of_its_forms() {
        let spec = "\
✖ streams go on (12ms)
✔ another (3ms)
ℹ fail 1

✖ failing tests:

test at test/a.test.mjs:1:1
✖ streams go on (12ms)
  AssertionError: 1 !== 2
      at file

test at test/b.test.mjs:1:1
✖ it ends (1ms)
  'test timed out'
";
        let expected = [
            ("streams go on (12ms)", "  AssertionError: 1 !== 2\n      at file"),
            ("it ends (1ms)", "  'test timed out'"),
        ];
        assert_eq!(found(spec), pairs(&expected));
        let tap = "\
    not ok 1 - inner
      ---
      error: 'no'
      ...
not ok 1 - outer
  ---
  failureType: 'subtestsFailed'
  ...
ok 2 - good
not ok 3 - later # TODO
";
        assert_eq!(found(tap), pairs(&[("inner", "      ---\n      error: 'no'")]));
    }

    #[test]
    fn reports_are_bounded_and_what_passed_has_none() {
        let long = format!("---- long stdout ----\n{}", "line\n".repeat(100));
        assert_eq!(Failure::of_log(&long)[0].report.len(), LINES);
        assert!(found("test one ... ok\ntest result: ok. 1 passed; 0 failed;\n✔ two\nok 1 - two\n").is_empty());
    }
}
