//! Schemas, changes of schemas, and what is written by them, at random.

use serde_json::{Map, Value, json};

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A schema of the kinds that types and people make.
pub(crate) fn schema(random: &mut Random, depth: u64) -> Value {
    let mut document = part(random, depth);
    if let Some(map) = document.as_object_mut()
        && random.one_in(2)
    {
        map.insert("$defs".to_owned(), json!({"D": part(random, 1)}));
        if let Some(Value::Object(properties)) = map.get_mut("properties") {
            properties.insert("a".to_owned(), json!({"$ref": "#/$defs/D"}));
        }
    }
    document
}

fn part(random: &mut Random, depth: u64) -> Value {
    match random.below(if depth == 0 { 5 } else { 10 }) {
        0 => {
            let mut number = json!({"type": random.pick(&["integer", "number"])});
            if random.one_in(2) {
                number["minimum"] = json!(random.below(10) as i64 - 5);
            }
            if random.one_in(2) {
                number["maximum"] = json!(random.below(10) + 6);
            }
            number
        }
        1 => {
            let mut text = json!({"type": "string"});
            if random.one_in(2) {
                text["maxLength"] = json!(2 + random.below(5));
            }
            if random.one_in(3) {
                text["minLength"] = json!(random.below(2));
            }
            text
        }
        2 => json!({"type": ["string", "null"]}),
        3 => json!({"enum": NAMES[..1 + random.below(4) as usize]}),
        4 => json!({"type": random.pick(&["boolean", "null"])}),
        5 => {
            let mut list = json!({"type": "array", "items": part(random, depth - 1)});
            if random.one_in(2) {
                list["maxItems"] = json!(1 + random.below(4));
            }
            if random.one_in(3) {
                list["minItems"] = json!(random.below(2));
            }
            list
        }
        6 => json!({"anyOf": [part(random, depth - 1), {"type": "null"}]}),
        7 => {
            let count = 1 + random.below(3) as usize;
            let variant = |random: &mut Random, name: &str| {
                let mut object = object(random, depth - 1);
                object["properties"]["kind"] = json!({"const": name});
                object["required"].as_array_mut().unwrap().push(json!("kind"));
                object
            };
            json!({"oneOf": NAMES[..count].iter().map(|name| variant(random, name)).collect::<Vec<_>>()})
        }
        8 => json!({"type": "object", "additionalProperties": part(random, depth - 1)}),
        _ => object(random, depth - 1),
    }
}

fn object(random: &mut Random, depth: u64) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for name in &NAMES[..random.below(4) as usize] {
        properties.insert((*name).to_owned(), part(random, depth));
        if random.one_in(2) {
            required.push(*name);
        }
    }
    let mut object = json!({"type": "object", "properties": properties, "required": required});
    if random.one_in(4) {
        object["additionalProperties"] = json!(random.one_in(2));
    }
    object
}

/// Changes something somewhere: most often so that more is taken.
pub(crate) fn change(random: &mut Random, schema: &mut Value) {
    let mut places = Vec::new();
    collect(schema, String::new(), &mut places);
    let place = random.pick(&places).clone();
    let Some(target) = schema.pointer_mut(&place) else { return };
    let fresh = part(random, 1);
    let Some(map) = target.as_object_mut() else { return };
    let keys: Vec<String> = map.keys().cloned().collect();
    match random.below(8) {
        // Something is no longer asked.
        0 => {
            let loose = ["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "required"];
            keys.iter().filter(|key| loose.contains(&key.as_str())).for_each(|key| {
                map.remove(key);
            });
        }
        1 => {
            for key in ["maximum", "maxLength", "maxItems"] {
                if let Some(bound) = map.get(key).and_then(Value::as_i64) {
                    map.insert(key.to_owned(), json!(bound + random.below(4) as i64 - 1));
                }
            }
        }
        2 => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                properties.insert((*random.pick(&NAMES)).to_owned(), fresh);
            }
        }
        3 => {
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.push(json!(*random.pick(&["x", "y"])));
                values.dedup();
            }
        }
        4 => {
            if map.get("type") == Some(&json!("integer")) {
                map.insert("type".to_owned(), json!("number"));
            } else if map.get("type") == Some(&json!("string")) {
                map.insert("type".to_owned(), json!(["null", "string"]));
            }
        }
        5 => {
            let union = if map.contains_key("oneOf") { "oneOf" } else { "anyOf" };
            if let Some(Value::Array(branches)) = map.get_mut(union) {
                branches.push(if random.one_in(2) { fresh } else { json!({"type": "boolean"}) });
            }
        }
        6 => {
            map.remove("additionalProperties");
        }
        _ => *target = fresh,
    }
}

/// Where there are schemas.
fn collect(value: &Value, path: String, places: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    places.push(path.clone());
    for (key, inner) in map {
        match (key.as_str(), inner) {
            ("properties" | "$defs", Value::Object(named)) => {
                named.iter().for_each(|(name, inner)| collect(inner, format!("{path}/{key}/{name}"), places));
            }
            ("items" | "additionalProperties", _) => collect(inner, format!("{path}/{key}"), places),
            ("oneOf" | "anyOf", Value::Array(branches)) => {
                (0..).zip(branches).for_each(|(index, inner)| collect(inner, format!("{path}/{key}/{index}"), places));
            }
            _ => {}
        }
    }
}

/// Something that is written by a schema; `None` if nothing can be.
pub(crate) fn instance(random: &mut Random, document: &Value, schema: &Value) -> Option<Value> {
    let map = match schema {
        Value::Bool(true) => return Some(json!(random.below(100))),
        Value::Object(map) => map,
        _ => return None,
    };
    if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
        return instance(random, document, document.pointer(&reference[1..])?);
    }
    for union in ["anyOf", "oneOf"] {
        if let Some(Value::Array(branches)) = map.get(union) {
            let branch = random.pick(branches).clone();
            return instance(random, document, &branch);
        }
    }
    if let Some(value) = map.get("const") {
        return Some(value.clone());
    }
    if let Some(Value::Array(values)) = map.get("enum") {
        return Some(random.pick(values).clone());
    }
    let bound = |key: &str| map.get(key).and_then(Value::as_i64);
    let kind = match map.get("type") {
        Some(Value::Array(kinds)) => random.pick(kinds).clone(),
        Some(kind) => kind.clone(),
        None => json!(*random.pick(&["null", "string", "integer"])),
    };
    let between = |random: &mut Random, low: i64, high: i64| low + random.below((high - low + 1).max(1) as u64) as i64;
    Some(match kind.as_str()? {
        "null" => Value::Null,
        "boolean" => json!(random.one_in(2)),
        "integer" => {
            let low = bound("minimum").unwrap_or(-1_000);
            json!(between(random, low, bound("maximum").unwrap_or(1_000)))
        }
        "number" => {
            let (low, high) = (bound("minimum").unwrap_or(-1_000), bound("maximum").unwrap_or(1_000));
            let whole = between(random, low, high);
            if whole < high && random.one_in(2) { json!(whole as f64 + 0.5) } else { json!(whole) }
        }
        "string" => {
            let low = bound("minLength").unwrap_or(0);
            let length = between(random, low, bound("maxLength").unwrap_or(12));
            json!((0..length).map(|_| *random.pick(&['a', 'b', 'ö', '日'])).collect::<String>())
        }
        "array" => {
            let low = bound("minItems").unwrap_or(0);
            let length = between(random, low, bound("maxItems").unwrap_or(5));
            let items = map.get("items").cloned().unwrap_or(Value::Bool(true));
            Value::Array((0..length).map(|_| instance(random, document, &items)).collect::<Option<_>>()?)
        }
        "object" => {
            let mut object = Map::new();
            let required = map.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            let named = map.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            for (name, schema) in &named {
                if required.contains(&json!(name)) || random.one_in(2) {
                    object.insert(name.clone(), instance(random, document, schema)?);
                }
            }
            // What is spoken of and not named may have any name.
            if let Some(further) = map.get("additionalProperties").filter(|further| **further != Value::Bool(false)) {
                for name in ["a", "b", "x", "y"] {
                    if !named.contains_key(name) && random.one_in(2) {
                        object.insert(name.to_owned(), instance(random, document, further)?);
                    }
                }
            }
            Value::Object(object)
        }
        _ => return None,
    })
}
