//! What is written from a catalog with every kind of type, compared with what people have looked at.
//!
//! `PUBSUB_GOLDEN=overwrite cargo test -p pubsub-codegen --test golden` records it anew.

#[path = "kinds/mod.rs"]
mod kinds;

use std::{env, path::Path};

use pubsub_codegen::{Contracts, DocumentOptions, Files, Kind};

/// All but the client, which is its source whatever the catalog holds.
fn files(contracts: &Contracts) -> pubsub::Result<Files> {
    let options = DocumentOptions::new("Every kind", "1.2.3").base_path("/api/").internal(true);
    let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Client).collect();
    Files::of(contracts, &kinds, &options)
}

#[test]
fn what_is_written_is_what_was_looked_at() -> pubsub::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = files(&Contracts::of(&kinds::catalog()?))?;
    if env::var_os("PUBSUB_GOLDEN").is_some_and(|word| word == "overwrite") {
        files.write(&folder)?;
    }
    let stale = files.stale_in(&folder)?;
    assert!(stale.is_empty(), "{}", stale.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    Ok(())
}

#[test]
fn an_exported_catalog_gives_the_same_files() -> pubsub::Result<()> {
    let catalog = kinds::catalog()?;
    let exported = serde_json::from_str(&catalog.export().to_string()).expect("an export is JSON");
    assert_eq!(files(&Contracts::read(&exported)?)?, files(&Contracts::of(&catalog))?);
    Ok(())
}
