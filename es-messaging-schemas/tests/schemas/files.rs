//! A registry in files.

use std::{collections::BTreeMap, fs, path::Path};

use es_messaging_schemas::{
    Change, Compatibility, FileRegistry, RegistryError, Schema, SchemaId, SchemaRegistry, SchemaVersion,
};
use serde_json::{Value, json};

fn order(more: &Value, required: &Value) -> Schema {
    let mut properties = json!({"id": {"type": "string"}});
    properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Schema::json_schema(&json!({"type": "object", "properties": properties, "required": required})).unwrap()
}

fn first() -> Schema {
    order(&json!({}), &json!(["id"]))
}

fn second() -> Schema {
    order(&json!({"note": {"type": "string"}}), &json!(["id"]))
}

fn breaking() -> Schema {
    order(&json!({"cents": {"type": "integer"}}), &json!(["id", "cents"]))
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.display().to_string(), fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

#[tokio::test]
async fn what_is_registered_is_found_again_by_whoever_opens_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FileRegistry::create(folder.path(), Compatibility::Backward).unwrap();
    assert_eq!(registry.register("order", &first()).await.unwrap(), SchemaId(1));
    assert_eq!(registry.register("order", &second()).await.unwrap(), SchemaId(2));
    assert_eq!(registry.register("order", &first()).await.unwrap(), SchemaId(1));
    assert_eq!(registry.register("copy", &second()).await.unwrap(), SchemaId(2));
    let again = FileRegistry::open(folder.path()).unwrap();
    for registry in [&registry, &again] {
        assert_eq!(registry.subjects(), ["copy", "order"]);
        assert_eq!(registry.versions("order").await.unwrap(), [SchemaVersion(1), SchemaVersion(2)]);
        assert_eq!(registry.latest("order").await.unwrap().schema, second());
        assert_eq!(registry.version("order", SchemaVersion(1)).await.unwrap().schema, first());
        assert_eq!(registry.schema(SchemaId(2)).await.unwrap(), second());
        assert!(matches!(registry.schema(SchemaId(3)).await, Err(RegistryError::NoSchema { .. })));
        assert!(matches!(registry.versions("none").await, Err(RegistryError::NoSubject { .. })));
        assert!(matches!(registry.latest("none").await, Err(RegistryError::NoSubject { .. })));
        let none = registry.version("order", SchemaVersion(3)).await;
        assert!(matches!(none, Err(RegistryError::NoVersion { .. })));
    }
    assert!(matches!(FileRegistry::create(folder.path(), Compatibility::Full), Err(RegistryError::Corrupt { .. })));
}

#[test]
fn the_same_calls_write_the_same_files() {
    let write = || {
        let folder = tempfile::tempdir().unwrap();
        let registry = FileRegistry::create(folder.path(), Compatibility::Full).unwrap();
        registry.add("b", &second()).unwrap();
        registry.add("a", &first()).unwrap();
        let files = files(folder.path());
        files
            .into_iter()
            .map(|(path, text)| (path.replace(folder.path().to_str().unwrap(), ""), text))
            .collect::<Vec<_>>()
    };
    let written = write();
    assert_eq!(written, write());
    let names: Vec<&str> = written.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["/a/1.json", "/b/1.json", "/registry.json"]);
}

#[test]
fn what_does_not_go_with_those_before_it_is_not_registered() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FileRegistry::create(folder.path(), Compatibility::BackwardTransitive).unwrap();
    registry.add("order", &first()).unwrap();
    let before = files(folder.path());
    let error = registry.add("order", &breaking()).unwrap_err().to_string();
    assert!(error.contains("$.cents: it is required, and may be missing"), "{error}");
    assert_eq!(files(folder.path()), before);
    // What somebody has to decide is decided for the subject, and that is seen in the files.
    registry.set_compatibility("order", Compatibility::None).unwrap();
    registry.add("order", &breaking()).unwrap();
    registry.set_compatibility("order", Compatibility::Backward).unwrap();
    assert_eq!(FileRegistry::open(folder.path()).unwrap().compatibility("order"), Compatibility::Backward);
}

#[test]
fn levels_look_as_far_back_as_they_say() {
    // The second has a property that the third takes away and the fourth brings back as something else.
    let versions = [second(), first(), order(&json!({"note": {"type": "integer"}}), &json!(["id"]))];
    let check = |level: Compatibility| level.check(&versions[2], &versions[..2]).unwrap();
    assert!(check(Compatibility::Backward).is_compatible());
    assert!(!check(Compatibility::BackwardTransitive).is_compatible());
    assert!(check(Compatibility::Full).is_compatible());
    assert!(!check(Compatibility::ForwardTransitive).is_compatible());
    assert!(check(Compatibility::None).is_compatible());
    let loose = order(&json!({}), &json!([]));
    assert!(Compatibility::Backward.check(&loose, &[first()]).unwrap().is_compatible());
    assert!(!Compatibility::Forward.check(&loose, &[first()]).unwrap().is_compatible());
}

#[test]
fn a_check_of_every_change_says_what_is_to_be_done() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FileRegistry::create(folder.path(), Compatibility::Backward).unwrap();
    registry.add("order", &first()).unwrap();
    let changes = |schema: &Schema| registry.changes([("order", schema)]).unwrap();
    assert_eq!(changes(&first()), []);
    assert_eq!(changes(&second()), [Change::Compatible { subject: "order".to_owned() }]);
    let [Change::Incompatible { report, .. }] = &changes(&breaking())[..] else { panic!() };
    assert!(report.to_string().contains("$.cents"), "{report}");
    let new = registry.changes([("other", &first())]).unwrap();
    assert_eq!(new[0].to_string(), "other is not registered");
    registry.set_compatibility("order", Compatibility::None).unwrap();
    registry.add("order", &breaking()).unwrap();
    registry.set_compatibility("order", Compatibility::Backward).unwrap();
    let [Change::Registered { version, .. }] = changes(&breaking())[..] else { panic!() };
    assert_eq!(version, SchemaVersion(2));
}

#[test]
fn whatever_was_changed_by_hand_is_found() {
    let change = |change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        let registry = FileRegistry::create(folder.path(), Compatibility::Backward).unwrap();
        registry.add("order", &first()).unwrap();
        registry.add("order", &second()).unwrap();
        change(folder.path());
        FileRegistry::open(folder.path()).map(|_| ()).map_err(|error| error.to_string())
    };
    let edit = |file: &'static str, from: &'static str, to: &'static str| {
        change(&|folder| {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(folder.join(file), text.replacen(from, to, 1)).unwrap();
        })
    };
    assert_eq!(edit("order/1.json", "\n", "\n\n"), Ok(()), "spaces say nothing");
    assert!(edit("order/1.json", "string", "integer").unwrap_err().contains("changed after it was registered"));
    assert!(edit("order/1.json", "{", "").unwrap_err().contains("1.json"));
    assert!(edit("registry.json", "\"version\": 2", "\"version\": 3").unwrap_err().contains("where 2 should be"));
    assert!(edit("registry.json", "\"id\": 2", "\"id\": 1").unwrap_err().contains("two different schemas"));
    assert!(edit("registry.json", "BACKWARD", "SIDEWAYS").unwrap_err().contains("SIDEWAYS"));
    assert!(edit("registry.json", "\"order\"", "\"../order\"").unwrap_err().contains("no name of a subject"));
    assert!(change(&|folder| fs::remove_file(folder.join("order/2.json")).unwrap()).unwrap_err().contains("2.json"));
    assert!(
        change(&|folder| fs::write(folder.join("order/3.json"), "{}").unwrap()).unwrap_err().contains("does not list")
    );
    assert!(change(&|folder| fs::create_dir(folder.join("more")).unwrap()).unwrap_err().contains("does not list"));
    assert_eq!(change(&|folder| fs::write(folder.join("README.md"), "notes").unwrap()), Ok(()));
}

#[test]
fn a_subject_is_a_name_and_no_path() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FileRegistry::create(folder.path(), Compatibility::Backward).unwrap();
    for wrong in ["", "..", ".git", "a/b", "a\\b", "größe", &"x".repeat(201)] {
        assert!(matches!(registry.add(wrong, &first()), Err(RegistryError::Subject { .. })), "{wrong}");
    }
    assert!(matches!(FileRegistry::open(folder.path().join("none")), Err(RegistryError::Io { .. })));
}
