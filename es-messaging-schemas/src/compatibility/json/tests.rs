use serde_json::{Value, json};

use super::can_read;

/// Whether the reader takes all of the writer, and what is said if not.
fn says(reader: &Value, writer: &Value) -> String {
    can_read(reader, writer).unwrap().to_string()
}

fn order() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Order",
        "type": "object",
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": 20},
            "cents": {"type": "integer", "format": "int64", "minimum": 0},
            "note": {"type": ["string", "null"]},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "minItems": 1},
        },
        "required": ["id", "cents", "lines"],
        "$defs": {
            "Line": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
        },
    })
}

/// The order with something else in one place.
fn with(pointer: &str, value: Value) -> Value {
    let mut order = order();
    *order.pointer_mut(pointer).unwrap() = value;
    order
}

#[test]
fn each_change_is_told_with_its_place() {
    let same = "compatible";
    for (pointer, value, new_reads_old, old_reads_new) in [
        ("/title", json!("Purchase"), same, same),
        ("/properties/id/maxLength", json!(40), same, "$.id: at most 20 characters"),
        ("/properties/id/minLength", json!(0), same, "$.id: at least 1 characters"),
        (
            "/properties/id",
            json!({"type": "integer"}),
            "$.id: string may be written, and only integer",
            "$.id: integer may be",
        ),
        (
            "/properties/id",
            json!({"type": "string", "pattern": "^a"}),
            "$.id: cannot tell: its `pattern`",
            "$.id: at most 20",
        ),
        ("/properties/cents", json!({"type": "number"}), same, "$.cents: its format is \"int64\", and was none"),
        ("/properties/cents/minimum", json!(1), "$.cents: less than its minimum 1", same),
        ("/properties/cents/format", json!("int32"), "$.cents: its format is \"int32\", and was \"int64\"", same),
        ("/properties/note", json!({"type": "string"}), "$.note: null is not taken", same),
        ("/properties/lines/minItems", json!(2), "$.lines: at least 2 items", same),
        ("/$defs/Line/properties/sku", json!({"type": "string", "maxLength": 3}), "$.lines[*].sku: at most 3", same),
        ("/$defs/Line/required", json!([]), same, "$.lines[*].sku: it is required, and may be missing"),
        ("/required", json!(["id", "cents", "lines", "note"]), "$.note: it is required", same),
        ("/required", json!(["id", "cents"]), same, "$.lines: it is required"),
    ] {
        let new = with(pointer, value);
        let (backward, forward) = (says(&new, &order()), says(&order(), &new));
        assert!(backward.starts_with(new_reads_old), "{pointer}, new reads old: {backward}");
        assert!(forward.starts_with(old_reads_new), "{pointer}, old reads new: {forward}");
    }
}

#[test]
fn an_optional_property_more_is_compatible_unless_it_is_forbidden() {
    let mut new = order();
    new["properties"]["gift"] = json!({"type": "boolean"});
    assert_eq!(says(&new, &order()), "compatible");
    assert_eq!(says(&order(), &new), "compatible");
    let (mut closed, mut closed_new) = (order(), new);
    closed["additionalProperties"] = json!(false);
    closed_new["additionalProperties"] = json!(false);
    assert_eq!(says(&closed_new, &closed), "compatible");
    assert_eq!(says(&closed, &closed_new), "$.gift: it is not taken, and may be written");
    // A map may hold anything under that name.
    let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let gift = json!({"type": "object", "properties": {"gift": {"type": "boolean"}}, "additionalProperties": true});
    assert!(says(&gift, &map).starts_with("$.gift: string may be written"));
}

#[test]
fn listed_values_may_be_added_for_readers_alone() {
    let state = |values: &[&str]| json!({"type": "string", "enum": values});
    assert_eq!(says(&state(&["new", "paid", "sent"]), &state(&["new", "paid"])), "compatible");
    assert_eq!(says(&state(&["new", "paid"]), &state(&["new", "paid", "sent"])), "$: \"sent\" is not taken");
    assert_eq!(says(&json!({"type": "string"}), &state(&["new"])), "compatible");
    assert!(says(&state(&["new"]), &json!({"type": "string"})).contains("only listed values"));
    assert_eq!(says(&json!({"enum": [true, false, null]}), &json!({"type": ["boolean", "null"]})), "compatible");
}

#[test]
fn alternatives_with_a_tag_are_compared_one_by_one() {
    let card = json!({"type": "object", "properties": {"kind": {"const": "card"}, "last": {"type": "string"}}, "required": ["kind", "last"]});
    let cash = json!({"type": "object", "properties": {"kind": {"const": "cash"}}, "required": ["kind"]});
    let mut loose_card = card.clone();
    loose_card["required"] = json!(["kind"]);
    let old = json!({"oneOf": [card, cash]});
    let more = json!({"oneOf": [cash, loose_card, {"type": "object", "properties": {"kind": {"const": "gift"}}, "required": ["kind"]}]});
    assert_eq!(says(&more, &old), "compatible");
    let back = says(&old, &more);
    assert!(back.contains("$.last: it is required, and may be missing"), "{back}");
    assert!(back.contains("$: no alternative takes this"), "{back}");
    // Nothing tells these two apart.
    let overlapping = json!({"oneOf": [{"type": "integer"}, {"type": "integer", "minimum": 0}]});
    assert!(
        says(&overlapping, &json!({"type": "integer", "minimum": 5}))
            .contains("cannot tell: more than one alternative")
    );
    assert_eq!(
        says(&json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), &json!({"type": ["null", "integer"]})),
        "compatible"
    );
    // Tags outside, as enums have them.
    let tagged = |names: &[&str]| -> Value {
        let one = |name: &&str| json!({"type": "object", "properties": {*name: {"type": "object"}}, "required": [*name], "additionalProperties": false});
        json!({"oneOf": names.iter().map(one).collect::<Vec<_>>()})
    };
    assert_eq!(says(&tagged(&["A", "B"]), &tagged(&["A"])), "compatible");
    assert!(says(&tagged(&["A"]), &tagged(&["A", "B"])).contains("no alternative takes this"));
}

#[test]
fn what_is_not_understood_is_never_called_compatible() {
    for unknown in [
        json!({"type": "object", "patternProperties": {"^x": {"type": "string"}}}),
        json!({"not": {"type": "string"}}),
        json!({"if": {}, "then": {"type": "object"}}),
        json!({"type": "object", "unevaluatedProperties": false}),
        json!({"type": "object", "somethingNew": 1}),
        json!({"$ref": "https://example.com/other.json"}),
        json!({"$ref": "#/$defs/missing"}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"}),
    ] {
        let report = can_read(&unknown, &json!({"type": "object", "properties": {}})).unwrap();
        assert!(!report.unknown.is_empty(), "{unknown}: {report}");
        // What did not change is compatible with itself, whatever it means.
        assert!(can_read(&unknown, &unknown).unwrap().is_compatible());
        let wrapped = |extra: Value| json!({"type": "object", "properties": {"same": unknown, "other": extra}});
        let report =
            can_read(&wrapped(json!({"type": "string"})), &wrapped(json!({"type": "string", "maxLength": 1}))).unwrap();
        assert_eq!(report.is_compatible(), !unknown.to_string().contains("$ref\":\"http"), "{unknown}: {report}");
    }
}

#[test]
fn schemas_that_refer_to_themselves_come_to_an_end() {
    let tree = |extra: &str| {
        json!({"$ref": "#/$defs/Node", "$defs": {"Node": {
            "type": "object",
            "properties": {"value": {"type": extra}, "left": {"$ref": "#/$defs/Node"}, "right": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
            "required": ["value"],
        }}})
    };
    assert_eq!(says(&tree("number"), &tree("integer")), "compatible");
    assert!(says(&tree("integer"), &tree("number")).contains("value: a number with a fraction"));
    let endless = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
    assert!(!can_read(&json!({"type": "string"}), &endless).unwrap().unknown.is_empty());
    assert!(!can_read(&endless, &json!({"type": "string"})).unwrap().is_compatible());
}

#[test]
fn older_drafts_ignore_what_stands_beside_a_reference() {
    let schema = |draft: &str| json!({"$schema": draft, "definitions": {"T": {"type": "string"}}, "properties": {"a": {"$ref": "#/definitions/T", "maxLength": 3}}, "type": "object"});
    let reader = json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 5}}});
    assert_eq!(says(&reader, &schema("https://json-schema.org/draft/2020-12/schema")), "compatible");
    assert!(says(&reader, &schema("http://json-schema.org/draft-07/schema#")).starts_with("$.a: at most 5"));
}

#[test]
fn large_numbers_are_compared_exactly() {
    let at_most = |max: u64| json!({"type": "integer", "maximum": max});
    assert_eq!(says(&at_most(u64::MAX), &at_most(u64::MAX - 1)), "compatible");
    assert!(says(&at_most(u64::MAX - 1), &at_most(u64::MAX)).contains("maximum"));
}

#[test]
fn keywords_of_the_writer_that_are_not_understood_may_name_any_property() {
    let reader = json!({"type": "object", "properties": {"xa": {"type": "string"}}});
    for writer in [
        json!({"type": "object", "properties": {}, "patternProperties": {"^x": {}}, "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {}}, "if": {}, "then": {"properties": {"xa": {"type": "integer"}}}}),
        json!({"type": "object", "properties": {"a": {}}, "dependentSchemas": {"a": {"properties": {"xa": {}}}}}),
    ] {
        assert!(says(&reader, &writer).starts_with("$.xa: "), "{writer}");
    }
}

#[test]
fn the_same_text_of_two_drafts_may_mean_two_things() {
    let of = |draft: &str, part: &Value| json!({"$schema": draft, "$defs": {"T": {"type": "string"}}, "type": "object", "properties": {"a": part}});
    let (old, new) = ("http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema");
    let beside = json!({"$ref": "#/$defs/T", "maxLength": 3});
    assert_eq!(
        says(&of(new, &beside), &of(old, &beside)),
        "$.a: at most 3 characters are taken, and more may be written"
    );
    assert_eq!(says(&of(old, &beside), &of(new, &beside)), "compatible");
    let tuple = json!({"type": "array", "prefixItems": [{"type": "string"}]});
    assert!(says(&of(new, &tuple), &of(old, &tuple)).starts_with("$.a[0]: "), "an older draft says nothing of it");
    assert_eq!(says(&of(old, &tuple), &of(new, &tuple)), "compatible");
}

#[test]
fn ends_of_whole_numbers_are_the_same_with_and_without_the_number_itself() {
    let range = |of: &str, low: (&str, i64), high: (&str, i64)| json!({"type": of, low.0: low.1, high.0: high.1});
    let inner = |of| range(of, ("minimum", 1), ("maximum", 9));
    let outer = |of| range(of, ("exclusiveMinimum", 0), ("exclusiveMaximum", 10));
    assert_eq!(says(&inner("integer"), &outer("integer")), "compatible");
    assert_eq!(says(&outer("integer"), &inner("integer")), "compatible");
    assert!(says(&inner("number"), &outer("number")).contains("less than its minimum 1 may be written"));
    assert_eq!(says(&outer("number"), &inner("number")), "compatible");
}

#[test]
fn what_is_asked_and_was_not_before_breaks_whatever_stands_for_it_otherwise() {
    let old = json!({"type": "object", "properties": {"a": {"type": "string", "default": "x"}}});
    let required =
        json!({"type": "object", "properties": {"a": {"type": "string", "default": "x"}}, "required": ["a"]});
    // A default is a note: nothing puts it in.
    assert_eq!(says(&required, &old), "$.a: it is required, and may be missing");
    let mut bare = old.clone();
    bare["properties"]["a"].as_object_mut().unwrap().remove("default");
    assert_eq!((says(&bare, &old), says(&old, &bare)), ("compatible".to_owned(), "compatible".to_owned()));
    let renamed = json!({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]});
    assert_eq!(says(&renamed, &required), "$.b: it is required, and may be missing");
    // Deep inside, behind references, lists and maps.
    let deep = |inner: Value| json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"type": "object", "additionalProperties": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]}}}, "B": inner}});
    let (loose, strict) = (json!({"enum": ["x", "y"]}), json!({"enum": ["x"]}));
    assert_eq!(says(&deep(loose.clone()), &deep(strict.clone())), "compatible");
    assert!(says(&deep(strict), &deep(loose)).starts_with("$[*].*: "));
    // Further properties may be forbidden for whoever wrote none but named ones.
    let open =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}});
    let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    assert!(says(&closed, &open).starts_with("$.*: it is not taken"));
    assert_eq!(says(&open, &closed), "compatible");
    let text =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}});
    assert!(says(&text, &open).starts_with("$.*: integer may be written"));
}
