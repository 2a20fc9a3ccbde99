//! Runs the example `orders` as a program, and counts its input once more in another way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use serde_json::Value;

mod recount;

use recount::Recount;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/orders.jsonl");

/// The program, built once. Cargo tells the path of a built example only in the messages of a build.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut cargo = Command::new(env!("CARGO"));
    // Set for this test, and to whoever compiles for it a reason to compile everything anew.
    cargo.env_remove("CARGO_MANIFEST_DIR");
    cargo.args(["build", "--quiet", "--package", "pubsub-examples", "--example", "orders", "--message-format=json"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(built.status.success(), "the example does not build");
    let messages = String::from_utf8(built.stdout).unwrap();
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    executables.next_back().expect("cargo names the executable")
});

/// Runs the program with these arguments, this input, and `PUBSUB_URL` if one is given.
fn run(args: &[&str], input: &[u8], url: Option<&str>) -> Output {
    let mut command = Command::new(&*PROGRAM);
    command.args(args).env_remove("PUBSUB_URL").envs(url.map(|url| ("PUBSUB_URL", url)));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the example runs");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    std::thread::scope(|scope| {
        // A program that does not read its input closes the pipe: not the test's concern.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("the example ends")
    })
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The report of a run that must succeed.
fn report(args: &[&str], input: &[u8], url: Option<&str>) -> Value {
    let output = run(args, input, url);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    serde_json::from_slice(&output.stdout).expect("standard output is one JSON document and nothing else")
}

/// Holds a report against what the input says when it is counted independently.
fn assert_reconciles(report: &Value, input: &[u8]) {
    let recount = Recount::of(input);
    assert_eq!(report["reconciled"], true);
    assert_eq!(report["read"], recount.read);
    assert_eq!(report["accepted"], recount.accepted.len());
    let rejected: u64 = recount.rejected.values().sum();
    assert_eq!(report["rejected"], rejected);
    assert_eq!(recount.read, recount.accepted.len() as u64 + rejected);
    let rejected_by = report["rejectedBy"].as_object().unwrap();
    let counts = rejected_by.iter().map(|(reason, rejected)| (reason.as_str(), rejected["count"].as_u64().unwrap()));
    assert!(counts.eq(recount.rejected.iter().map(|(reason, count)| (*reason, *count))), "{rejected_by:?}");

    for (index, group) in ["billing", "stock", "notifications"].into_iter().enumerate() {
        let told = &report["groups"][index];
        let doomed = recount.doomed(group);
        assert_eq!(told["group"], group);
        assert_eq!(told["applied"], recount.accepted.len() - doomed.len(), "{group}");
        assert_eq!(told["failures"], recount.failures(group), "{group}");
        assert_eq!(told["outOfOrder"], 0, "{group}");
        for finding in ["lost", "twice", "unknown", "misjudged"] {
            assert_eq!(told[finding], serde_json::json!([]), "{group}");
        }
        let letters = report["deadLetters"].as_array().unwrap().iter().filter(|letter| letter["group"] == group);
        let mut dead: Vec<_> = letters.clone().map(|letter| letter["orderId"].as_str().unwrap()).collect();
        dead.sort_unstable();
        assert_eq!(dead, doomed, "{group}");
        for letter in letters {
            let reason = letter["reason"].as_str().unwrap();
            let (attempts, expected) = if group == "stock" { (4, "no stock of ") } else { (1, "no address") };
            assert_eq!(letter["attempts"], attempts, "{letter}");
            assert!(reason.contains(expected), "{letter}");
            assert_eq!(letter["line"], recount.accepted[letter["orderId"].as_str().unwrap()].line, "{letter}");
        }
    }
}

#[test]
fn the_shipped_orders_reconcile_and_hold_every_flaw() {
    let input = std::fs::read(SHIPPED).unwrap();
    let told = report(&["--json"], b"", None);
    assert_reconciles(&told, &input);
    // What `generate.py` says of the file.
    assert_eq!((&told["read"], &told["accepted"]), (&3199.into(), &3001.into()));
    let reasons: Vec<_> = told["rejectedBy"].as_object().unwrap().keys().collect();
    let all = [
        "bad_amount",
        "bad_field",
        "blank_line",
        "conflict",
        "duplicate",
        "line_too_long",
        "not_json",
        "not_utf8",
        "total_mismatch",
    ];
    assert_eq!(reasons, all);
    assert_eq!(told["deadLetters"].as_array().unwrap().len(), 34 + 90);
}

#[test]
fn a_bus_that_is_nearly_always_full_loses_nothing() {
    let input = std::fs::read(SHIPPED).unwrap();
    assert_reconciles(&report(&["--json"], b"", Some("memory:?capacity=8")), &input);
}

#[test]
fn two_runs_tell_the_same() {
    let [mut first, mut second] = [(); 2].map(|()| report(&["--json", SHIPPED], b"", None));
    for told in [&mut first, &mut second] {
        told["elapsedMs"] = Value::Null;
    }
    assert_eq!(first, second);
}

#[test]
fn the_table_fits_a_terminal() {
    let output = run(&[], b"", None);
    assert_eq!(output.status.code(), Some(0));
    let table = stdout(&output);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.contains("read 3199 = accepted 3001 + rejected 198\nreconciled: nothing lost, nothing twice\n"));
    // Without a terminal, progress is plain lines.
    let progress = stderr(&output);
    assert!(progress.contains("1000 lines read") && !progress.contains('\r') && !progress.contains('\x1b'));
}

/// An order over standard input: `{id}` and `{total}` vary.
fn line(id: &str, total: &str) -> String {
    let lines = r#"[{"sku":"MUG-BLUE","quantity":2,"price":8.95}]"#;
    format!(
        r#"{{"orderId":"{id}","userId":"C-1","email":"a@shop.example","currency":"EUR","lines":{lines},"total":{total}}}"#
    )
}

#[test]
fn standard_input_is_checked_line_by_line() {
    let lines = [
        format!("\u{feff}{}\r", line("A-1", "17.90")),
        line("A-2", "17.9").replace("\"total\"", "\"gift\":true,\"total\""),
        String::new(),
        line("A-3", "18.00"),
        line("A-4", "-17.90"),
        line("A-5", "\"17.90\""),
        line("A-6", "NaN"),
        line("A-1", "17.90"),
        line("A-1", "17.90").replace("MUG-BLUE", "MUG-WHITE"),
        line("A-7", "17.90").replace("8.95", "\"8.95\""),
        line("A-3", "17.90"),
        "x".repeat(5_000_000),
        line("A-8", "17.90").replace("MUG-BLUE", "LAMP-LAVA"),
    ];
    let input = lines.join("\n");
    let output = run(&["--json", "--show-rejected", "-"], input.as_bytes(), None);
    assert_eq!(output.status.code(), Some(0));
    assert_reconciles(&serde_json::from_slice(&output.stdout).unwrap(), input.as_bytes());
    let told = stderr(&output);
    let told: Vec<_> = told.lines().filter(|told| told.starts_with("line ")).collect();
    let expected = [
        "line 3: blank",
        "line 4: /total: 18.00, but the lines make 17.90",
        "line 5: /total: negative",
        "line 6: /total: invalid type: string \"17.90\", expected f64",
        "line 7: not JSON: expected value",
        "line 8: /orderId: repeats an earlier order",
        "line 9: /orderId: belongs to an earlier, different order",
        "line 10: /lines/0/price: invalid type: string \"8.95\", expected f64",
        "line 12: longer than 16384 bytes",
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_empty_input_reconciles() {
    assert_reconciles(&report(&["--json", "-"], b"", None), b"");
}

#[test]
fn what_cannot_begin_says_why_and_ends_with_2() {
    let cases: [(&[&str], Option<&str>, &str); 7] = [
        (&["no/such/file.jsonl"], None, "cannot open no/such/file.jsonl"),
        (&[env!("CARGO_MANIFEST_DIR")], None, "cannot read"),
        (&["--jsno"], None, "usage: orders"),
        (&["a", "b"], None, "usage: orders"),
        (&["-"], Some("amqp://localhost:1"), "the feature `rabbitmq` of pubsub-kit"),
        (&["-"], Some("redis://localhost:1"), "the feature `redis` of pubsub-kit"),
        (&["-"], Some("memory:?capacity=0"), "`capacity`"),
    ];
    for (args, url, expected) in cases {
        let output = run(args, b"", url);
        assert_eq!(output.status.code(), Some(2), "{args:?} {url:?}");
        assert!(stderr(&output).contains(expected), "{args:?} {url:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?} {url:?}");
    }
}

#[test]
fn help_is_printed() {
    let output = run(&["--help"], b"", None);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("usage: orders") && stdout(&output).contains("PUBSUB_URL"));
}
