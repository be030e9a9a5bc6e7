//! Goes through a reader's schema, place by place.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    document::{Document, refers},
    values::accepts,
    writer::{Written, alternatives},
};
use crate::{compatibility::Report, limits};

/// A check in progress.
pub(super) struct Check<'a> {
    pub(super) writer: Document<'a>,
    pub(super) reader: Document<'a>,
    pub(super) report: Report,
    /// Both have the same definitions, so that the same reference is the same schema.
    same_definitions: bool,
    /// What is being compared around what is compared now: schemas may refer to themselves.
    open: HashSet<(String, String)>,
    comparisons: usize,
}

impl<'a> Check<'a> {
    pub(super) fn new(writer: Document<'a>, reader: Document<'a>) -> Self {
        let same_definitions = writer.definitions() == reader.definitions();
        Self { writer, reader, report: Report::default(), same_definitions, open: HashSet::new(), comparisons: 0 }
    }

    pub(super) fn run(mut self) -> Report {
        let (writer, reader) = (self.writer.root().clone(), self.reader.root().clone());
        self.place(&[writer], &reader, "$", 0);
        self.report
    }

    /// Checks that all that is written by some schemas at one place is read by a schema.
    pub(super) fn place(&mut self, written: &[Value], read: &Value, path: &str, depth: usize) {
        self.comparisons += 1;
        if self.comparisons > limits::MAX_COMPARISONS || depth > limits::MAX_DEPTH {
            self.report.untold(path, "there is too much to compare");
            return;
        }
        if let [one] = written
            && one == read
            && self.writer.speaks_as(&self.reader)
            && (!refers(read, 0) || (self.same_definitions && !refers_to_root(read)))
        {
            return;
        }
        let key = (Value::from(written.to_vec()).to_string(), read.to_string());
        if !self.open.insert(key.clone()) {
            return;
        }
        match alternatives(&self.writer, written) {
            Ok(alternatives) => {
                for written in alternatives {
                    self.alternative(&written, read, path, depth);
                }
            }
            Err(reason) => self.report.untold(path, reason),
        }
        self.open.remove(&key);
    }

    /// Checks one alternative.
    pub(super) fn alternative(&mut self, written: &Written, read: &Value, path: &str, depth: usize) {
        self.comparisons += 1;
        if self.comparisons > limits::MAX_COMPARISONS || depth > limits::MAX_DEPTH {
            self.report.untold(path, "there is too much to compare");
            return;
        }
        let map = match read {
            Value::Bool(true) => return,
            Value::Object(map) => map,
            _ => return self.report.broken(path, "nothing is taken here"),
        };
        let (own, others) = match self.reader.parts(map) {
            Ok(parts) => parts,
            Err(reason) => return self.report.untold(path, reason),
        };
        for other in others {
            self.alternative(written, &other, path, depth + 1);
        }
        if own.is_empty() {
            return;
        }
        match written.values() {
            Some(values) => self.listed(&values, own, path),
            None => {
                for (keyword, said) in &own {
                    self.keyword(written, &own, keyword, said, path, depth);
                }
            }
        }
    }

    fn listed(&mut self, values: &[Value], own: Map<String, Value>, path: &str) {
        let schema = Value::Object(own);
        for value in values {
            match accepts(&self.reader, &schema, value, 0) {
                Ok(true) => {}
                Ok(false) => {
                    let text: String = value.to_string().chars().take(80).collect();
                    self.report.broken(path, format!("{text} is not taken"));
                }
                Err(reason) => return self.report.untold(path, reason),
            }
        }
    }

    /// Checks without a report of its own: what would be reported.
    pub(super) fn trial(&mut self, written: &Written, read: &Value, path: &str, depth: usize) -> Report {
        let before = std::mem::take(&mut self.report);
        self.alternative(written, read, path, depth);
        std::mem::replace(&mut self.report, before)
    }
}

fn refers_to_root(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            let own = map.get("$ref").is_some_and(|reference| {
                !reference
                    .as_str()
                    .is_some_and(|text| text.starts_with("#/$defs/") || text.starts_with("#/definitions/"))
            });
            own || map.contains_key("$dynamicRef") || map.values().any(refers_to_root)
        }
        Value::Array(items) => items.iter().any(refers_to_root),
        _ => false,
    }
}
