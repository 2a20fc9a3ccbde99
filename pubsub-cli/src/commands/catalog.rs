//! `pubsub catalog`: the events of a program.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    Fault,
    output::{Output, printable},
};

pub(crate) fn show(file: &Path, output: Output) -> Result<(), Fault> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let catalog: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let events = catalog["events"].as_array().ok_or_else(|| format!("{}: no list of events", file.display()))?;
    for event in events {
        output.say(event, || {
            let text = |key: &str| printable(event[key].as_str().unwrap_or("-"));
            let reply = if event["replySchema"].is_null() { "" } else { "  replies" };
            let (name, channel, direction) = (text("name"), text("channel"), text("direction"));
            format!("{name:<40} v{:<3} {channel:<24} {direction:<8}{reply}", event["version"])
        });
    }
    Ok(())
}
