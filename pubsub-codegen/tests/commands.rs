//! The command line over real folders.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
};

use pubsub::{Catalog, Direction, EventDefinition};
use pubsub_codegen::{DocumentOptions, Source, run};
use serde_json::{Value, json};

/// A folder of its own, which goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("commands-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// Runs a command line in which `@` is this folder. Returns whether it succeeded, and what was said.
    fn run(&self, source: Source<'_>, line: &str) -> (bool, String) {
        let folder = self.0.display().to_string();
        let words: Vec<String> = line.split(' ').map(|word| word.replace('@', &folder)).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run(source, DocumentOptions::new("Shop", "1.0.0"), &words, &mut out, &mut err);
        let said = String::from_utf8([out, err].concat()).unwrap();
        (status == ExitCode::SUCCESS, said)
    }

    fn succeeds(&self, catalog: &Catalog, line: &str) -> String {
        let (well, said) = self.run(Source::Catalog(catalog), line);
        assert!(well, "{line}: {said}");
        said
    }

    fn fails(&self, catalog: &Catalog, line: &str) -> String {
        let (well, said) = self.run(Source::Catalog(catalog), line);
        assert!(!well, "{line}: {said}");
        said
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn order(version: u32, total: &str) -> EventDefinition {
    let schema = json!({
        "type": "object", "properties": { (total): { "type": "number" } }, "required": [total],
    });
    EventDefinition::dynamic("orders:created", "orders", version, schema).unwrap().with_direction(Direction::Both)
}

fn catalog(definitions: impl IntoIterator<Item = EventDefinition>) -> Catalog {
    let mut catalog = Catalog::new();
    for definition in definitions {
        catalog.insert(definition).unwrap();
    }
    catalog
}

#[test]
fn a_folder_is_written_once_and_is_then_fresh() {
    let (folder, first) = (Folder::new(), catalog([order(1, "total")]));
    assert!(folder.fails(&first, "codegen --out @ --check").contains("openapi.json is missing"));
    assert!(!folder.0.join("openapi.json").exists());
    folder.succeeds(&first, "codegen --out @");
    assert!(folder.succeeds(&first, "codegen --out @").contains("9 files, 0 of them changed"));
    folder.succeeds(&first, "codegen --out @ --check");
    // Git on other systems changes line breaks.
    let text = folder.read("client.ts").replace('\n', "\r\n");
    fs::write(folder.0.join("client.ts"), text).unwrap();
    folder.succeeds(&first, "codegen --out @ --check");

    fs::write(folder.0.join("contracts.d.ts"), "export {}").unwrap();
    let said = folder.fails(&first, "codegen --out @ --check");
    assert!(said.contains("contracts.d.ts is stale") && !said.contains("openapi.json is"), "{said}");
}

#[test]
fn schemas_of_events_that_are_no_more_are_left_over() {
    let folder = Folder::new();
    let other = || EventDefinition::dynamic("chat:said", "chat", 1, json!(true)).unwrap();
    folder.succeeds(&catalog([order(1, "total"), other()]), "codegen --out @ --only schemas");
    fs::write(folder.0.join("schemas/README.md"), "mine").unwrap();
    fs::write(folder.0.join("schemas/chat/notes.txt"), "mine").unwrap();
    let now = catalog([order(1, "total")]);
    let said = folder.fails(&now, "codegen --out @ --only schemas --check");
    assert!(said.contains("schemas/chat/said.v1.schema.json is left over"), "{said}");
    folder.succeeds(&now, "codegen --out @ --only schemas");
    assert!(!folder.0.join("schemas/chat/said.v1.schema.json").exists());
    assert_eq!(
        (folder.read("schemas/README.md"), folder.read("schemas/chat/notes.txt")),
        ("mine".into(), "mine".into())
    );
}

#[test]
fn what_was_published_is_never_overwritten() {
    let folder = Folder::new();
    folder.succeeds(&catalog([order(1, "total")]), "codegen --out @");
    let before = (folder.read("contracts.lock.json"), folder.read("openapi.json"));
    let broken = catalog([order(1, "amount")]);
    let said = folder.fails(&broken, "codegen --out @");
    assert!(said.contains("smallest legal change: make the new form version 2"), "{said}");
    assert_eq!((folder.read("contracts.lock.json"), folder.read("openapi.json")), before);

    let lock = "--lock @/contracts.lock.json";
    assert_eq!(folder.fails(&broken, &format!("contracts check {lock}")), said);
    assert_eq!(folder.fails(&broken, &format!("contracts lock {lock}")), said);
    let next = catalog([order(2, "amount").upcast(1, Ok)]);
    let said = folder.succeeds(&next, &format!("contracts check {lock}"));
    assert!(said.contains("`orders:created` version 2 is new"), "{said}");
    folder.succeeds(&next, &format!("contracts lock {lock}"));
    assert!(!folder.succeeds(&next, &format!("contracts check {lock}")).contains("is new"));
}

#[test]
fn pins_are_kept_in_the_lock() {
    let folder = Folder::new();
    let lock = "--lock @/contracts.lock.json";
    folder.succeeds(&catalog([order(1, "total")]), &format!("contracts lock {lock}"));
    let next = catalog([order(2, "amount").upcast(1, Ok)]);
    folder.succeeds(&next, &format!("contracts pin billing orders:created 1 {lock}"));
    assert!(folder.fails(&next, "codegen --out @").contains("version 1 is gone, and billing pins it"));
    assert!(folder.fails(&next, &format!("contracts retire orders:created 1 {lock}")).contains("is pinned by billing"));
    let both = catalog([order(1, "total"), order(2, "amount").upcast(1, Ok)]);
    folder.succeeds(&both, "codegen --out @");
    let document: Value = serde_json::from_str(&folder.read("contracts.lock.json")).unwrap();
    assert_eq!(document["consumers"], json!({ "billing": { "orders:created": [1] } }));
    folder.succeeds(&next, &format!("contracts unpin billing orders:created 1 {lock}"));
    folder.succeeds(&next, "codegen --out @");
}

#[test]
fn an_exported_catalog_does_as_well() {
    let folder = Folder::new();
    let catalog =
        catalog([order(1, "total"), EventDefinition::dynamic("audit:noted", "audit", 1, json!(true)).unwrap()]);
    fs::write(folder.0.join("exported.json"), catalog.export().to_string()).unwrap();
    let (well, said) = folder.run(Source::File, "codegen --catalog @/exported.json --out @/a");
    assert!(well, "{said}");
    folder.succeeds(&catalog, "codegen --out @/a --check");
    folder.succeeds(&catalog, "codegen --out @/b --public");
    for (name, hidden) in
        [("catalog.json", true), ("asyncapi.json", true), ("events.md", true), ("contracts.lock.json", false)]
    {
        assert!(folder.read(&format!("a/{name}")).contains("audit:noted"), "{name}");
        assert_eq!(folder.read(&format!("b/{name}")).contains("audit:noted"), !hidden, "{name}");
    }
    let (well, said) = folder.run(Source::File, "codegen --catalog @/none.json");
    assert!(!well && said.contains("none.json"), "{said}");
    fs::write(folder.0.join("broken.json"), "{").unwrap();
    assert!(!folder.run(Source::File, "contracts check --catalog @/broken.json").0);
}

#[test]
fn the_documents_say_what_the_command_line_says() {
    let (folder, catalog) = (Folder::new(), catalog([order(1, "total")]));
    let options = "--title Orders --api-version 7 --base-path /api --server https://shop.example";
    folder.succeeds(&catalog, &format!("codegen --out @ --only openapi,asyncapi {options}"));
    let document: Value = serde_json::from_str(&folder.read("openapi.json")).unwrap();
    assert_eq!(document["info"], json!({ "title": "Orders", "version": "7" }));
    assert_eq!(document["servers"], json!([{ "url": "https://shop.example/api" }]));
    assert!(document["paths"]["/trpc/orders.onCreated"]["get"].is_object());
    let files: Vec<_> = fs::read_dir(&folder.0).unwrap().collect();
    assert_eq!(files.len(), 2);
    assert!(!Path::new("contracts").exists());
}
