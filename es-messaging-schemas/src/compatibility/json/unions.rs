//! Alternatives of a reader.

use serde_json::Value;

use super::{
    document::Document,
    reader::Check,
    values::accepts,
    writer::{Written, alternatives},
};

impl Check<'_> {
    /// Checks that one of some alternatives takes what is written, and no other does if only one may.
    pub(super) fn union(&mut self, written: &Written, said: &Value, only_one: bool, path: &str, depth: usize) {
        let Some(branches) = said.as_array() else {
            return self.report.untold(path, "a union is no list");
        };
        let mut fitting = None;
        let mut failed = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            let report = self.trial(written, branch, path, depth + 1);
            if report.is_compatible() {
                fitting = Some(index);
                break;
            }
            failed.push((branch, report));
        }
        match fitting {
            Some(index) if only_one => {
                let others = branches.iter().enumerate().filter(|(other, _)| *other != index);
                if others.into_iter().any(|(_, other)| !self.excludes(written, other)) {
                    self.report.untold(path, "more than one alternative of `oneOf` might take this");
                }
            }
            Some(_) => {}
            None => {
                // The one that is meant, if that can be told, says best what is wrong.
                let mut meant = failed.iter().filter(|(branch, _)| !self.excludes(written, branch));
                match (meant.next(), meant.next()) {
                    (Some((_, report)), None) => {
                        let report = report.clone();
                        report.breaks.iter().for_each(|finding| self.report.broken(&finding.path, &finding.problem));
                        report.unknown.iter().for_each(|finding| self.report.untold(&finding.path, &finding.problem));
                    }
                    (None, _) => self.report.broken(path, "no alternative takes this"),
                    _ => self.report.broken(path, "no single alternative takes all of this"),
                }
            }
        }
    }

    /// Whether it is certain that a branch takes nothing of what is written.
    fn excludes(&self, written: &Written, branch: &Value) -> bool {
        if let Some(values) = written.values() {
            return values.iter().all(|value| matches!(accepts(&self.reader, branch, value, 0), Ok(false)));
        }
        let Ok(branches) = alternatives(&self.reader, std::slice::from_ref(branch)) else {
            return false;
        };
        branches.iter().all(|read| self.are_apart(written, read))
    }

    fn are_apart(&self, written: &Written, read: &Written) -> bool {
        if apart(written, read) {
            return true;
        }
        if !written.types().and(read.types()).and(super::types::Types::OBJECT).eq(&written.types().and(read.types())) {
            return false;
        }
        let (always, asked) = (written.required(), read.required());
        let forbids = |schemas: &[Value]| schemas.contains(&Value::Bool(false));
        let never = |name: &String| {
            let is_named = written.named().contains(name);
            if is_named {
                forbids(&written.property(name))
            } else {
                written.further().is_none_or(|schemas| forbids(&schemas))
            }
        };
        always.iter().any(|name| forbids(&read.property(name)))
            || asked.iter().any(never)
            || always.intersection(&asked).any(|name| self.tags_apart(&written.property(name), &read.property(name)))
    }

    /// Whether two schemas of a property that tells alternatives apart have no value in common.
    fn tags_apart(&self, written: &[Value], read: &[Value]) -> bool {
        let of = |document: &Document<'_>, schemas: &[Value]| alternatives(document, schemas);
        match (of(&self.writer, written), of(&self.reader, read)) {
            (Ok(written), Ok(read)) => written.iter().all(|written| read.iter().all(|read| apart(written, read))),
            _ => false,
        }
    }
}

/// Whether two schemas have no value in common, by their types and listed values.
fn apart(written: &Written, read: &Written) -> bool {
    if written.types().and(read.types()).is_empty() {
        return true;
    }
    match (written.values(), read.values()) {
        (Some(written), Some(read)) => !written.iter().any(|value| read.contains(value)),
        _ => false,
    }
}
