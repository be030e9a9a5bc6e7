//! What each keyword of a reader asks of what is written.

use serde_json::{Map, Value};

use super::{
    formats,
    reader::Check,
    types::{Types, of_schema},
    values::compare,
    writer::{Written, item_of},
};

impl Check<'_> {
    pub(super) fn keyword(
        &mut self,
        written: &Written,
        own: &Map<String, Value>,
        keyword: &str,
        said: &Value,
        path: &str,
        depth: usize,
    ) {
        let types = written.types();
        let (is_text, is_list, is_object) =
            (types.has(Types::STRING), types.has(Types::ARRAY), types.has(Types::OBJECT));
        match keyword {
            "type" => {
                let taken = of_schema(own);
                let excess = types.without(taken);
                if !excess.is_empty() {
                    let problem = format!("{} may be written, and only {} is taken", excess.names(), taken.names());
                    self.report.broken(path, problem);
                }
            }
            "enum" | "const" => {
                self.report.broken(path, "only listed values are taken, and others may be written");
            }
            "anyOf" | "oneOf" => self.union(written, said, keyword == "oneOf", path, depth),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if types.has(Types::NUMBER) => {
                self.number(written, keyword, said, path);
            }
            "multipleOf" if types.has(Types::NUMBER) => {
                let fits = |own: &Value| match (own.as_u64(), said.as_u64()) {
                    (Some(own), Some(said)) => said > 0 && own % said == 0,
                    _ => own == said,
                };
                let whole = said.as_u64() == Some(1) && !types.has(Types::FRACTION);
                if !whole && !written.given("multipleOf").iter().any(fits) {
                    self.report.broken(path, format!("only multiples of {said} are taken"));
                }
            }
            "format" => self.format(written, said, path),
            "minLength" if is_text => self.at_least(written.at_least(keyword), said, "characters", path),
            "maxLength" if is_text => self.at_most(written.at_most(keyword), said, "characters", path),
            "pattern" | "contentEncoding" | "contentMediaType" if is_text => {
                if !written.says(keyword, said) {
                    self.report.untold(path, format!("its `{keyword}` is another one"));
                }
            }
            "minItems" if is_list => self.at_least(written.at_least(keyword), said, "items", path),
            "maxItems" if is_list => {
                let prefix = written.prefix();
                let ends = written.item(prefix).is_none().then_some(prefix as u64);
                let most = written.at_most(keyword).into_iter().chain(ends).min();
                self.at_most(most, said, "items", path);
            }
            "uniqueItems" if is_list => {
                let is_unique = written.says(keyword, said) || written.at_most("maxItems").is_some_and(|max| max <= 1);
                if *said == Value::Bool(true) && !is_unique {
                    self.report.broken(path, "items may not be there twice, and might be written so");
                }
            }
            "prefixItems" | "items" if is_list => {
                if keyword == "prefixItems" || !own.contains_key("prefixItems") {
                    self.items(written, own, path, depth);
                }
            }
            "minProperties" if is_object => {
                let least = written.at_least(keyword).max(written.required().len() as u64);
                self.at_least(least, said, "properties", path);
            }
            "maxProperties" if is_object => {
                let named = written.further().is_none().then(|| written.named().len() as u64);
                let most = written.at_most(keyword).into_iter().chain(named).min();
                self.at_most(most, said, "properties", path);
            }
            "required" if is_object => {
                let always = written.required();
                for name in said.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if !always.contains(name) {
                        self.report.broken(&format!("{path}.{name}"), "it is required, and may be missing");
                    }
                }
            }
            "properties" if is_object => self.properties(written, said, path, depth),
            "additionalProperties" if is_object && !own.contains_key("patternProperties") => {
                self.additional(written, own, said, path, depth);
            }
            // Of a type that is not written.
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" | "minLength"
            | "maxLength" | "pattern" | "contentEncoding" | "contentMediaType" | "minItems" | "maxItems"
            | "uniqueItems" | "prefixItems" | "items" | "minProperties" | "maxProperties" | "required"
            | "properties" => {}
            "additionalProperties" if !is_object => {}
            other => self.report.untold(path, format!("the keyword `{other}` is not understood")),
        }
    }

    fn number(&mut self, written: &Written, keyword: &str, said: &Value, path: &str) {
        let (types, lower) = (written.types(), matches!(keyword, "minimum" | "exclusiveMinimum"));
        let bound = if lower {
            written.number("minimum", "exclusiveMinimum", true)
        } else {
            written.number("maximum", "exclusiveMaximum", false)
        };
        // Between whole numbers, an end that is left out is the next one.
        let end = |value: &Value, exclusive: bool| {
            let step = if lower { 1 } else { -1 };
            whole(value).filter(|_| !types.has(Types::FRACTION)).map(|value| value + i128::from(exclusive) * step)
        };
        let fits = bound.is_some_and(|bound| {
            let is_exclusive = keyword.starts_with("exclusive");
            if let (Some(own), Some(asked)) = (end(&bound.value, bound.exclusive), end(said, is_exclusive)) {
                return if lower { own >= asked } else { own <= asked };
            }
            let order = compare(&bound.value, said);
            let order = if lower { order } else { order.reverse() };
            order.is_gt() || (order.is_eq() && (bound.exclusive || !is_exclusive))
        });
        // A format that is a range may be narrower.
        let range = written.given("format").iter().filter_map(formats::range).next();
        let in_range = range.zip(whole(said)).is_some_and(|((low, high), said)| match keyword {
            "minimum" => low >= said,
            "exclusiveMinimum" => low > said,
            "maximum" => high <= said,
            _ => high < said,
        });
        if !fits && !in_range {
            let word = if lower { "less" } else { "more" };
            self.report.broken(path, format!("{word} than its {keyword} {said} may be written"));
        }
    }

    fn format(&mut self, written: &Written, said: &Value, path: &str) {
        let types = written.types();
        if written.says("format", said) || !(types.has(Types::STRING) || types.has(Types::NUMBER)) {
            return;
        }
        let given = written.given("format");
        let fits = match (said.as_str(), formats::range(said)) {
            (_, Some((low, high))) => {
                let inside = given.iter().filter_map(formats::range).any(|(from, to)| from >= low && to <= high);
                let from = written.number("minimum", "exclusiveMinimum", true).and_then(|bound| whole(&bound.value));
                let to = written.number("maximum", "exclusiveMaximum", false).and_then(|bound| whole(&bound.value));
                inside || (from.is_some_and(|from| from >= low) && to.is_some_and(|to| to <= high))
            }
            (Some("double"), _) => !types.has(Types::STRING),
            _ => false,
        };
        if !fits {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            let given = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
            self.report.broken(path, format!("its format is {said}, and was {given}"));
        }
    }

    fn at_least(&mut self, written: u64, said: &Value, what: &str, path: &str) {
        let least = said.as_u64().unwrap_or(u64::MAX);
        if written < least {
            self.report.broken(path, format!("at least {said} {what} are taken, and fewer may be written"));
        }
    }

    fn at_most(&mut self, written: Option<u64>, said: &Value, what: &str, path: &str) {
        if written.is_none_or(|most| most > said.as_u64().unwrap_or(0)) {
            self.report.broken(path, format!("at most {said} {what} are taken, and more may be written"));
        }
    }

    fn items(&mut self, written: &Written, own: &Map<String, Value>, path: &str, depth: usize) {
        if own.get("items").is_some_and(Value::is_array) {
            self.report.untold(path, "a list under `items` is of an older draft, which is not understood");
            return;
        }
        let prefix = own.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
        let count = prefix.max(written.prefix());
        for index in 0..=count {
            if let (Some(item), Some(read)) = (written.item(index), item_of(own, index)) {
                let path = if index == count { format!("{path}[*]") } else { format!("{path}[{index}]") };
                self.place(&item, read, &path, depth + 1);
            }
        }
    }

    fn properties(&mut self, written: &Written, said: &Value, path: &str, depth: usize) {
        let (named, further) = (written.named(), written.further());
        for (name, read) in said.as_object().into_iter().flatten() {
            let schemas = if named.contains(name) { Some(written.property(name)) } else { further.clone() };
            if let Some(schemas) = schemas
                && !schemas.contains(&Value::Bool(false))
            {
                self.place(&schemas, read, &format!("{path}.{name}"), depth + 1);
            }
        }
    }

    fn additional(&mut self, written: &Written, own: &Map<String, Value>, said: &Value, path: &str, depth: usize) {
        let known = own.get("properties").and_then(Value::as_object);
        let mut one = |schemas: &[Value], path: &str| {
            if schemas.contains(&Value::Bool(false)) {
            } else if *said == Value::Bool(false) {
                self.report.broken(path, "it is not taken, and may be written");
            } else {
                self.place(schemas, said, path, depth + 1);
            }
        };
        for name in written.named() {
            if known.is_none_or(|known| !known.contains_key(&name)) {
                one(&written.property(&name), &format!("{path}.{name}"));
            }
        }
        if let Some(schemas) = written.further() {
            one(&schemas, &format!("{path}.*"));
        }
    }
}

fn whole(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}
