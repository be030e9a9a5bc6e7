//! Protobuf: what stays readable on the wire, by numbers, types and labels.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::Report;
use crate::{error::SchemaError, schema::Schema};

/// Messages and enums of a file by their names, without the package, with dots between nested ones.
struct File {
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, EnumDescriptorProto>,
    package: String,
    closed_enums: bool,
}

/// What a field holds, with references looked up.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Scalar(Type),
    Message(String),
    Enum(String),
    Elsewhere(String),
}

impl File {
    fn new(schema: &Schema) -> Result<Self, SchemaError> {
        let file: FileDescriptorProto = schema.descriptor()?;
        let closed_enums = file.syntax() != "proto3";
        let package = file.package().to_owned();
        let mut own = Self { messages: BTreeMap::new(), enums: BTreeMap::new(), package, closed_enums };
        for message in &file.message_type {
            own.add(message, "");
        }
        own.enums.extend(file.enum_type.into_iter().map(|of| (of.name().to_owned(), of)));
        Ok(own)
    }

    fn add(&mut self, message: &DescriptorProto, scope: &str) {
        let name = format!("{scope}{}", message.name());
        let inner = format!("{name}.");
        message.nested_type.iter().for_each(|nested| self.add(nested, &inner));
        self.enums.extend(message.enum_type.iter().map(|of| (format!("{inner}{}", of.name()), of.clone())));
        self.messages.insert(name, message.clone());
    }

    fn kind(&self, field: &FieldDescriptorProto, scope: &str) -> Kind {
        let Some(reference) = &field.type_name else {
            return Kind::Scalar(field.r#type());
        };
        let in_package = |name: &str| name.strip_prefix(&format!("{}.", self.package)).unwrap_or(name).to_owned();
        let candidates: Vec<String> = match reference.strip_prefix('.') {
            Some(full) => vec![in_package(full)],
            None => {
                // From the innermost scope outwards.
                let parts: Vec<&str> = scope.split('.').collect();
                let scopes = (0..=parts.len()).rev().map(|count| parts[..count].join("."));
                let inner = scopes
                    .map(|scope| if scope.is_empty() { reference.clone() } else { format!("{scope}.{reference}") });
                inner.chain([in_package(reference)]).collect()
            }
        };
        for name in &candidates {
            if self.messages.contains_key(name) {
                return Kind::Message(name.clone());
            }
            if self.enums.contains_key(name) {
                return Kind::Enum(name.clone());
            }
        }
        Kind::Elsewhere(reference.trim_start_matches('.').to_owned())
    }
}

pub(super) fn can_read(reader: &Schema, writer: &Schema) -> Result<Report, SchemaError> {
    let (reader, writer) = (File::new(reader)?, File::new(writer)?);
    let mut report = Report::default();
    for (name, written) in &writer.messages {
        match reader.messages.get(name) {
            None => report.broken(name, "there is no such message any more"),
            Some(read) => message(&reader, read, &writer, written, name, &mut report),
        }
    }
    for (name, written) in &writer.enums {
        match reader.enums.get(name) {
            None => report.broken(name, "there is no such enum any more"),
            Some(read) => enumeration(read, written, reader.closed_enums, name, &mut report),
        }
    }
    Ok(report)
}

fn message(
    reader: &File,
    read: &DescriptorProto,
    writer: &File,
    written: &DescriptorProto,
    name: &str,
    report: &mut Report,
) {
    for field in &read.field {
        let path = format!("{name}.{}", field.name());
        let other = written.field.iter().find(|other| other.number() == field.number());
        match other {
            Some(other) => {
                let (read, written) = (reader.kind(field, name), writer.kind(other, name));
                if let Some(problem) = problem_of_kinds(&read, &written) {
                    report.broken(&path, problem);
                }
                if other.label() == Label::Repeated && field.label() != Label::Repeated {
                    report.broken(&path, "several values may be written, and one is read");
                }
                if field.default_value() != other.default_value() {
                    let shown = |of: &FieldDescriptorProto| match of.default_value() {
                        "" => "none".to_owned(),
                        value => value.to_owned(),
                    };
                    let problem = format!("what is not written means {}, and meant {}", shown(field), shown(other));
                    report.broken(&path, problem);
                }
                if field.label() == Label::Required && other.label() != Label::Required {
                    report.broken(&path, "it is required, and may be missing");
                }
            }
            None if field.label() == Label::Required => report.broken(&path, "it is required, and never written"),
            None => {}
        }
    }
    // Of fields that could be set together only the last is read once they are in one `oneof`.
    let mut of_oneof: BTreeMap<i32, BTreeSet<String>> = BTreeMap::new();
    for field in &read.field {
        let (Some(oneof), false) = (field.oneof_index, field.proto3_optional()) else { continue };
        let other = written.field.iter().find(|other| other.number() == field.number());
        if let Some(other) = other {
            let together = match other.oneof_index {
                Some(oneof) if !other.proto3_optional() => format!("oneof {oneof}"),
                _ => format!("field {}", other.number()),
            };
            of_oneof.entry(oneof).or_default().insert(together);
        }
    }
    if of_oneof.values().any(|before| before.len() > 1) {
        report.broken(name, "fields that could be set together are in one `oneof`");
    }
}

fn enumeration(
    read: &EnumDescriptorProto,
    written: &EnumDescriptorProto,
    is_closed: bool,
    name: &str,
    report: &mut Report,
) {
    for value in &written.value {
        let path = format!("{name}.{}", value.name());
        let same: Vec<_> = read.value.iter().filter(|other| other.number() == value.number()).collect();
        if same.is_empty() && is_closed {
            report.broken(&path, format!("the number {} is not known to a closed enum", value.number()));
        } else if !same.is_empty() && !same.iter().any(|other| other.name() == value.name()) {
            let other = same.first().map(|other| other.name()).unwrap_or_default();
            report.broken(&path, format!("the number {} means {other}", value.number()));
        }
    }
}

/// Why what is written as one kind is not read as another without loss.
fn problem_of_kinds(read: &Kind, written: &Kind) -> Option<String> {
    use Type::{Bool, Bytes, Enum, Int32, Int64, Sint32, Sint64, String as Text, Uint32, Uint64};
    let fits = match (read, written) {
        (read, written) if read == written => true,
        (Kind::Scalar(read), Kind::Scalar(written)) => matches!(
            (read, written),
            (Int64, Int32 | Uint32 | Bool)
                | (Int32 | Uint32 | Uint64, Bool)
                | (Uint64, Uint32)
                | (Sint64, Sint32)
                | (Bytes, Text)
        ),
        (Kind::Scalar(read), Kind::Enum(_)) => matches!(read, Int32 | Int64 | Enum),
        (Kind::Scalar(Bytes), Kind::Message(_)) => true,
        _ => false,
    };
    let shown = |kind: &Kind| match kind {
        Kind::Scalar(of) => of.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
        Kind::Message(name) | Kind::Enum(name) | Kind::Elsewhere(name) => name.clone(),
    };
    (!fits).then(|| format!("it is {}, and {} is written", shown(read), shown(written)))
}

/// What a new schema must not do to the one before it, whoever reads: use numbers again, or leave them free to be.
pub(super) fn successor(new: &Schema, old: &Schema) -> Result<Report, SchemaError> {
    let (new, old) = (File::new(new)?, File::new(old)?);
    let mut report = Report::default();
    for (name, before) in &old.messages {
        if let Some(after) = new.messages.get(name) {
            Numbers::of_message(after).succeed(&Numbers::of_message(before), name, &mut report);
        }
    }
    for (name, before) in &old.enums {
        if let Some(after) = new.enums.get(name) {
            Numbers::of_enum(after).succeed(&Numbers::of_enum(before), name, &mut report);
        }
    }
    Ok(report)
}

/// The numbers of a message's fields or of an enum's values.
struct Numbers<'a> {
    used: Vec<(&'a str, i64)>,
    /// The first, and the first behind the last.
    reserved: Vec<(i64, i64)>,
}

impl<'a> Numbers<'a> {
    fn of_message(of: &'a DescriptorProto) -> Self {
        Self {
            used: of.field.iter().map(|field| (field.name(), field.number().into())).collect(),
            reserved: of.reserved_range.iter().map(|range| (range.start().into(), range.end().into())).collect(),
        }
    }

    fn of_enum(of: &'a EnumDescriptorProto) -> Self {
        let ranges = of.reserved_range.iter();
        Self {
            used: of.value.iter().map(|value| (value.name(), value.number().into())).collect(),
            reserved: ranges.map(|range| (range.start().into(), i64::from(range.end()) + 1)).collect(),
        }
    }

    fn reserves(&self, number: i64) -> bool {
        self.reserved.iter().any(|(first, end)| (*first..*end).contains(&number))
    }

    /// The first number of a range that is neither reserved nor used.
    fn first_free(&self, (first, end): (i64, i64)) -> Option<i64> {
        let mut number = first;
        while number < end {
            let range = self.reserved.iter().find(|(first, end)| (*first..*end).contains(&number));
            number = match range {
                Some((_, end)) => *end,
                None if self.used.iter().any(|(_, used)| *used == number) => number + 1,
                None => return Some(number),
            };
        }
        None
    }

    fn succeed(&self, before: &Self, name: &str, report: &mut Report) {
        for (own, number) in &before.used {
            if !self.used.iter().any(|(_, other)| other == number) && !self.reserves(*number) {
                report.broken(&format!("{name}.{own}"), format!("it was removed; reserve its number {number}"));
            }
        }
        for (own, number) in self.used.iter().filter(|(_, number)| before.reserves(*number)) {
            report.broken(&format!("{name}.{own}"), format!("its number {number} was reserved"));
        }
        if let Some(number) = before.reserved.iter().find_map(|range| self.first_free(*range)) {
            report.broken(name, format!("the number {number} was reserved; keep it so, or somebody uses it again"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compatibility, SchemaFormat};

    fn proto(body: &str) -> Schema {
        Schema::parse(SchemaFormat::Protobuf, &format!("syntax = \"proto3\";\npackage shop;\n{body}")).unwrap()
    }

    fn check(old: &str, new: &str) -> String {
        Compatibility::Full.check(&proto(new), &[proto(old)]).unwrap().to_string()
    }

    const ORDER: &str = "message Order { string id = 1; int32 cents = 2; repeated Line lines = 3; State state = 4; \
                         message Line { string sku = 1; } } enum State { NEW = 0; PAID = 1; }";

    #[test]
    fn a_new_field_or_value_is_compatible_both_ways() {
        assert_eq!(check(ORDER, ORDER), "compatible");
        assert_eq!(
            check(ORDER, &ORDER.replace("string id = 1;", "string id = 1; shop.Order.Line gift = 7;")),
            "compatible"
        );
        assert_eq!(check(ORDER, &ORDER.replace("PAID = 1;", "PAID = 1; SHIPPED = 2;")), "compatible");
        assert_eq!(check(ORDER, &ORDER.replace("string id = 1;", "string order_id = 1;")), "compatible");
        assert_eq!(check(ORDER, &ORDER.replace("string id = 1;", "reserved 1;")), "compatible");
    }

    #[test]
    fn what_changes_the_meaning_of_a_number_breaks() {
        for (from, to, says) in [
            ("string id = 1;", "", "reserve its number 1"),
            ("string id = 1;", "int64 id = 1;", "Order.id: it is int64, and string is written"),
            ("int32 cents = 2;", "int64 cents = 2;", "it is int32, and int64 is written"),
            ("int32 cents = 2;", "repeated int32 cents = 2;", "several values may be written"),
            ("repeated Line lines = 3;", "repeated State lines = 3;", "it is State, and Order.Line is written"),
            ("NEW = 0;", "FRESH = 0;", "the number 0 means"),
            ("message Line { string sku = 1; }", "message Row { string sku = 1; }", "no such message"),
            ("string id = 1; int32 cents = 2;", "oneof x { string id = 1; int32 cents = 2; }", "one `oneof`"),
        ] {
            let report = check(
                ORDER,
                &ORDER
                    .replace(from, to)
                    .replace("repeated Line", if to.contains("Row") { "repeated Row" } else { "repeated Line" }),
            );
            assert!(report.contains(says), "{from} -> {to}: {report}");
        }
        let widened = ORDER.replace("int32 cents", "int64 cents");
        assert!(can_read(&proto(&widened), &proto(ORDER)).unwrap().is_compatible());
        let reserved = ORDER.replace("int32 cents = 2;", "reserved 2;");
        assert!(check(&reserved, ORDER).contains("its number 2 was reserved"));
    }

    #[test]
    fn closed_enums_and_required_fields_are_stricter() {
        let proto2 =
            |body: &str| Schema::parse(SchemaFormat::Protobuf, &format!("syntax = \"proto2\";\n{body}")).unwrap();
        let old = proto2("message M { optional E e = 1; } enum E { A = 0; }");
        let new = proto2("message M { optional E e = 1; required int32 n = 2; } enum E { A = 0; B = 1; }");
        assert!(can_read(&new, &old).unwrap().to_string().contains("required, and never written"));
        assert!(can_read(&old, &new).unwrap().to_string().contains("closed enum"));
    }
    #[test]
    fn a_number_stays_reserved_also_two_versions_later_and_in_enums() {
        let reserved = ORDER.replace("int32 cents = 2;", "reserved 2;");
        let free = ORDER.replace("int32 cents = 2;", "");
        assert_eq!(check(&reserved, &reserved), "compatible");
        assert_eq!(check(&reserved, &reserved.replace("reserved 2;", "reserved 2 to 2, 9;")), "compatible");
        assert!(check(&reserved, &free).contains("Order: the number 2 was reserved; keep it so"));
        let wide = ORDER.replace("int32 cents = 2;", "reserved 2, 10 to max;");
        assert_eq!(check(&wide, &wide.replace("10 to max", "10 to 20, 21 to max")), "compatible");
        assert!(check(&wide, &wide.replace("10 to max", "10 to 20, 22 to max")).contains("the number 21 was"));
        assert!(
            check(ORDER, &ORDER.replace("PAID = 1;", "")).contains("State.PAID: it was removed; reserve its number 1")
        );
        let kept = ORDER.replace("PAID = 1;", "reserved 1;");
        assert_eq!(check(ORDER, &kept), "compatible");
        assert!(
            check(&kept, &ORDER.replace("PAID = 1;", "SENT = 1;")).contains("State.SENT: its number 1 was reserved")
        );
        assert!(check(&kept, &ORDER.replace("PAID = 1;", "")).contains("State: the number 1 was reserved"));
    }

    #[test]
    fn what_an_absent_field_means_stays() {
        let with = |default: &str| {
            let text = format!("syntax = \"proto2\"; message M {{ optional int32 n = 1 {default}; }}");
            Schema::parse(SchemaFormat::Protobuf, &text).unwrap()
        };
        for (old, new, says) in [
            ("[default = 5]", "[default = 5]", "compatible"),
            ("[default = 5]", "", "M.n: what is not written means none, and meant 5"),
            ("", "[default = 5]", "M.n: what is not written means 5, and meant none"),
        ] {
            assert_eq!(can_read(&with(new), &with(old)).unwrap().to_string(), says);
        }
    }

    #[test]
    fn members_of_a_oneof_move_one_at_a_time() {
        let two = "message M { oneof x { string a = 1; string b = 2; } string c = 3; }";
        let joined = "message M { oneof x { string a = 1; string b = 2; string c = 3; } }";
        let apart = "message M { string a = 1; string b = 2; string c = 3; }";
        let one = "message M { string a = 1; string b = 2; oneof y { string c = 3; } }";
        assert!(can_read(&proto(joined), &proto(two)).unwrap().to_string().contains("in one `oneof`"));
        assert!(can_read(&proto(two), &proto(joined)).unwrap().is_compatible());
        assert!(can_read(&proto(two), &proto(apart)).unwrap().to_string().contains("in one `oneof`"));
        assert!(can_read(&proto(apart), &proto(two)).unwrap().is_compatible());
        assert_eq!(check(apart, one), "compatible");
        let more = two.replace("string b = 2;", "string b = 2; string d = 4;");
        assert_eq!(check(two, &more), "compatible");
    }
}
