//! Avro: what its specification says about resolving schemas.

use std::{
    collections::{HashMap, HashSet},
    iter::once,
};

use apache_avro::{
    Schema as Avro,
    schema::{Alias, EnumSchema, RecordSchema},
    schema_compatibility::{Compatibility, SchemaCompatibility},
};

use super::Report;
use crate::{error::SchemaError, limits, schema::Schema};

pub(super) fn can_read(reader: &Schema, writer: &Schema) -> Result<Report, SchemaError> {
    let (reader, writer) = (reader.avro()?, writer.avro()?);
    let (read, written) = (Place { schema: &reader, scope: None }, Place { schema: &writer, scope: None });
    let mut check = Check {
        writer: HashMap::new(),
        reader: HashMap::new(),
        report: Report::default(),
        open: HashSet::new(),
        comparisons: 0,
    };
    collect(written, &mut check.writer);
    collect(read, &mut check.reader);
    check.place(written, read, "$", 0);
    Ok(check.report)
}

/// A schema, and the namespace around it.
#[derive(Clone, Copy)]
struct Place<'a> {
    schema: &'a Avro,
    scope: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// What stands within it.
    fn within(self, schema: &'a Avro) -> Self {
        let own = self.schema.name().and_then(|name| name.namespace());
        Self { schema, scope: own.or(self.scope) }
    }

    fn full_name(self) -> Option<String> {
        self.schema.name().map(|name| name.fullname(self.scope))
    }
}

/// The schemas that have names, by those.
type Named<'a> = HashMap<String, Place<'a>>;

fn collect<'a>(place: Place<'a>, named: &mut Named<'a>) {
    if !matches!(place.schema, Avro::Ref { .. })
        && let Some(name) = place.full_name()
    {
        named.insert(name, place);
    }
    match place.schema {
        Avro::Record(record) => record.fields.iter().for_each(|field| collect(place.within(&field.schema), named)),
        Avro::Union(union) => union.variants().iter().for_each(|variant| collect(place.within(variant), named)),
        Avro::Array(array) => collect(place.within(&array.items), named),
        Avro::Map(map) => collect(place.within(&map.types), named),
        _ => {}
    }
}

/// A check in progress.
struct Check<'a> {
    writer: Named<'a>,
    reader: Named<'a>,
    report: Report,
    /// Records that are being compared around what is compared now: they may refer to themselves.
    open: HashSet<(String, String)>,
    comparisons: usize,
}

impl<'a> Check<'a> {
    /// Checks that all that is written at one place is read there.
    fn place(&mut self, written: Place<'a>, read: Place<'a>, path: &str, depth: usize) {
        self.comparisons += 1;
        if self.comparisons > limits::MAX_COMPARISONS || depth > limits::MAX_DEPTH {
            return self.report.untold(path, "there is too much to compare");
        }
        let (Some(written), Some(read)) = (resolve(&self.writer, written), resolve(&self.reader, read)) else {
            return self.report.untold(path, "a name stands for nothing in its schema");
        };
        match (written.schema, read.schema) {
            (Avro::Union(union), _) => {
                union.variants().iter().for_each(|variant| self.place(written.within(variant), read, path, depth + 1));
            }
            (_, Avro::Union(union)) => self.union(written, read, union.variants(), path, depth),
            (Avro::Record(from), Avro::Record(to)) if is_called(written, read, &to.aliases) => {
                let names = (written.full_name().unwrap_or_default(), read.full_name().unwrap_or_default());
                if self.open.insert(names.clone()) {
                    self.record((written, from), (read, to), path, depth);
                    self.open.remove(&names);
                }
            }
            (Avro::Enum(from), Avro::Enum(to)) if is_called(written, read, &to.aliases) => {
                self.enumeration(from, to, path);
            }
            (Avro::Fixed(from), Avro::Fixed(to)) if is_called(written, read, &to.aliases) && from.size == to.size => {}
            (Avro::Array(from), Avro::Array(to)) => {
                self.place(written.within(&from.items), read.within(&to.items), &format!("{path}[*]"), depth + 1);
            }
            (Avro::Map(from), Avro::Map(to)) => {
                self.place(written.within(&from.types), read.within(&to.types), &format!("{path}.*"), depth + 1);
            }
            (from, to) => self.leaf(from, to, path),
        }
    }

    fn record(
        &mut self,
        from: (Place<'a>, &'a RecordSchema),
        to: (Place<'a>, &'a RecordSchema),
        path: &str,
        depth: usize,
    ) {
        for field in &to.1.fields {
            let path = format!("{path}.{}", field.name);
            let mut names = once(&field.name).chain(&field.aliases);
            match names.find_map(|name| from.1.fields.iter().find(|other| other.name == *name)) {
                Some(other) => {
                    self.place(from.0.within(&other.schema), to.0.within(&field.schema), &path, depth + 1);
                }
                None if field.default.is_none() => self.report.broken(&path, "it has no default, and is not written"),
                None => {}
            }
        }
    }

    fn enumeration(&mut self, from: &EnumSchema, to: &EnumSchema, path: &str) {
        for symbol in from.symbols.iter().filter(|symbol| to.default.is_none() && !to.symbols.contains(symbol)) {
            self.report.broken(path, format!("{symbol} may be written, and is not known"));
        }
    }

    fn union(&mut self, written: Place<'a>, read: Place<'a>, variants: &'a [Avro], path: &str, depth: usize) {
        let mut failed = Vec::new();
        for variant in variants {
            let before = std::mem::take(&mut self.report);
            self.place(written, read.within(variant), path, depth + 1);
            let report = std::mem::replace(&mut self.report, before);
            if report.is_compatible() {
                return;
            }
            // What is wrong within the one that is meant says more than that none fits.
            let inner = report.breaks.iter().chain(&report.unknown).any(|finding| finding.path != path);
            if inner || !report.unknown.is_empty() {
                failed.push(report);
            }
        }
        match <[Report; 1]>::try_from(failed) {
            Ok([report]) => {
                report.breaks.iter().for_each(|finding| self.report.broken(&finding.path, &finding.problem));
                report.unknown.iter().for_each(|finding| self.report.untold(&finding.path, &finding.problem));
            }
            Err(_) => self.report.broken(path, format!("no branch of the union takes {}", kind(written.schema))),
        }
    }

    /// What has nothing inside it. A time in another unit would be read, and be another time.
    fn leaf(&mut self, from: &Avro, to: &Avro, path: &str) {
        let changes_unit = matches!((unit(from), unit(to)), (Some(from), Some(to)) if from != to);
        if changes_unit || !matches!(SchemaCompatibility::can_read(from, to), Ok(Compatibility::Full)) {
            self.report.broken(path, format!("it is {}, and {} is written", kind(to), kind(from)));
        }
    }
}

fn resolve<'a>(named: &Named<'a>, place: Place<'a>) -> Option<Place<'a>> {
    match place.schema {
        Avro::Ref { .. } => named.get(&place.full_name()?).copied(),
        _ => Some(place),
    }
}

/// Whether what is written is called as what is read, or as that was called before: without namespaces, as the specification has it.
fn is_called(written: Place<'_>, read: Place<'_>, aliases: &Option<Vec<Alias>>) -> bool {
    let (Some(from), Some(to)) = (written.schema.name(), read.schema.name()) else { return false };
    from.name() == to.name() || aliases.iter().flatten().any(|alias| alias.name() == from.name())
}

/// The unit of a time.
fn unit(schema: &Avro) -> Option<&'static str> {
    match schema {
        Avro::Date
        | Avro::TimeMillis
        | Avro::TimeMicros
        | Avro::TimestampMillis
        | Avro::TimestampMicros
        | Avro::TimestampNanos
        | Avro::LocalTimestampMillis
        | Avro::LocalTimestampMicros
        | Avro::LocalTimestampNanos => Some(word(schema)),
        _ => None,
    }
}

fn kind(schema: &Avro) -> String {
    match schema {
        Avro::Decimal(decimal) => format!("decimal({}, {})", decimal.precision, decimal.scale),
        Avro::Fixed(fixed) => format!("{} of {} bytes", fixed.name.name(), fixed.size),
        other => other.name().map_or_else(|| word(other).to_owned(), |name| format!("{} {}", word(other), name.name())),
    }
}

fn word(schema: &Avro) -> &'static str {
    match schema {
        Avro::Null => "null",
        Avro::Boolean => "boolean",
        Avro::Int => "int",
        Avro::Long => "long",
        Avro::Float => "float",
        Avro::Double => "double",
        Avro::Bytes => "bytes",
        Avro::String => "string",
        Avro::Array(_) => "array",
        Avro::Map(_) => "map",
        Avro::Union(_) => "union",
        Avro::Record(_) => "record",
        Avro::Enum(_) => "enum",
        Avro::Fixed(_) => "fixed",
        Avro::Decimal(_) => "decimal",
        Avro::BigDecimal => "big-decimal",
        Avro::Uuid(_) => "uuid",
        Avro::Date => "date",
        Avro::TimeMillis => "time-millis",
        Avro::TimeMicros => "time-micros",
        Avro::TimestampMillis => "timestamp-millis",
        Avro::TimestampMicros => "timestamp-micros",
        Avro::TimestampNanos => "timestamp-nanos",
        Avro::LocalTimestampMillis => "local-timestamp-millis",
        Avro::LocalTimestampMicros => "local-timestamp-micros",
        Avro::LocalTimestampNanos => "local-timestamp-nanos",
        Avro::Duration(_) => "duration",
        Avro::Ref { .. } => "name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SchemaFormat;

    /// What is said of reading all that one schema writes by another.
    fn says(reader: &str, writer: &str) -> String {
        let parse = |text: &str| Schema::parse(SchemaFormat::Avro, text).unwrap();
        can_read(&parse(reader), &parse(writer)).unwrap().to_string()
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"Order","namespace":"shop","fields":[{fields}]}}"#)
    }

    fn field(of: &str) -> String {
        record(&format!(r#"{{"name":"f","type":{of}}}"#))
    }

    const SAME: &str = "compatible";

    #[test]
    fn a_type_may_be_widened_for_readers_and_nothing_else() {
        let numbers = [r#""int""#, r#""long""#, r#""float""#, r#""double""#];
        for (from, written) in numbers.iter().enumerate() {
            for (to, read) in numbers.iter().enumerate() {
                let said = says(&field(read), &field(written));
                assert_eq!(said == SAME, to >= from, "{written} as {read}: {said}");
                assert!(to >= from || said.starts_with("$.f: it is "), "{said}");
            }
        }
        assert_eq!(says(&field(r#""bytes""#), &field(r#""string""#)), SAME);
        assert_eq!(says(&field(r#""string""#), &field(r#""int""#)), "$.f: it is string, and int is written");
        let fixed = |size: u32| field(&format!(r#"{{"type":"fixed","name":"F","size":{size}}}"#));
        assert_eq!(says(&fixed(4), &fixed(8)), "$.f: it is F of 4 bytes, and F of 8 bytes is written");
        let decimal =
            |scale: u32| field(&format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}"#));
        assert_eq!(says(&decimal(2), &decimal(3)), "$.f: it is decimal(9, 2), and decimal(9, 3) is written");
        let time = |unit: &str| field(&format!(r#"{{"type":"long","logicalType":"timestamp-{unit}"}}"#));
        let said = says(&time("micros"), &time("millis"));
        assert_eq!(said, "$.f: it is timestamp-micros, and timestamp-millis is written");
        assert_eq!(says(&field(r#""long""#), &time("millis")), SAME);
    }

    #[test]
    fn a_field_that_is_not_written_needs_a_default() {
        let id = r#"{"name":"id","type":"string"}"#;
        let (old, optional) = (record(id), r#"{"name":"note","type":["null","string"],"default":null}"#);
        assert_eq!(says(&record(&format!("{id},{optional}")), &old), SAME);
        assert_eq!(says(&old, &record(&format!("{id},{optional}"))), SAME);
        let required = record(&format!(r#"{id},{{"name":"note","type":["null","string"]}}"#));
        assert_eq!(says(&required, &old), "$.note: it has no default, and is not written");
        // Renamed: an alias of the reader's is what makes it the same.
        let renamed = |aliases: &str| record(&format!(r#"{{"name":"order_id","type":"string"{aliases}}}"#));
        assert_eq!(says(&renamed(""), &old), "$.order_id: it has no default, and is not written");
        assert_eq!(says(&renamed(r#","aliases":["id"]"#), &old), SAME);
        assert_eq!(says(&old, &renamed(r#","aliases":["id"]"#)), "$.id: it has no default, and is not written");
        let other = old.replace("Order", "Purchase");
        assert_eq!(says(&other, &old), "$: it is record Purchase, and record Order is written");
        assert_eq!(says(&other.replace(r#""fields""#, r#""aliases":["Order"],"fields""#), &old), SAME);
        assert_eq!(says(&old.replace("shop", "store"), &old), SAME, "namespaces do not count");
    }

    #[test]
    fn a_symbol_that_is_gone_needs_a_default_for_those_that_are_not_known() {
        let state = |symbols: &str, default: &str| {
            field(&format!(r#"{{"type":"enum","name":"State","symbols":[{symbols}]{default}}}"#))
        };
        let (two, three) = (r#""NEW","PAID""#, r#""NEW","PAID","SENT""#);
        assert_eq!(says(&state(three, ""), &state(two, "")), SAME);
        assert_eq!(says(&state(two, ""), &state(three, "")), "$.f: SENT may be written, and is not known");
        assert_eq!(says(&state(two, r#","default":"NEW""#), &state(three, "")), SAME);
    }

    #[test]
    fn every_branch_that_is_written_is_read_by_one() {
        assert_eq!(says(&field(r#"["null","string"]"#), &field(r#""string""#)), SAME);
        assert_eq!(says(&field(r#"["null","long"]"#), &field(r#"["int","null"]"#)), SAME);
        assert_eq!(
            says(&field(r#""string""#), &field(r#"["null","string"]"#)),
            "$.f: it is string, and null is written"
        );
        let said = says(&field(r#"["null","string"]"#), &field(r#"["null","string","int"]"#));
        assert_eq!(said, "$.f: no branch of the union takes int");
        let line = |more: &str| {
            field(&format!(
                r#"["null",{{"type":"record","name":"Line","fields":[{{"name":"sku","type":"string"}}{more}]}}]"#
            ))
        };
        let said = says(&line(r#",{"name":"count","type":"int"}"#), &line(""));
        assert_eq!(said, "$.f.count: it has no default, and is not written");
    }

    #[test]
    fn a_name_stands_for_what_it_is_in_its_own_schema() {
        let inner = |of: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"x","type":"{of}"}}]}}"#);
        let both = |of: &str| record(&format!(r#"{{"name":"a","type":{}}},{{"name":"b","type":"R"}}"#, inner(of)));
        // The field that explained the name is gone, and the other one explains it.
        let later = |of: &str| record(&format!(r#"{{"name":"b","type":{}}}"#, inner(of)));
        assert_eq!(says(&later("long"), &both("int")), SAME);
        assert_eq!(says(&later("int"), &both("long")), "$.b.x: it is int, and long is written");
        // Both refer to it by name, and only there.
        let beside = |of: &str| {
            let unused = format!(r#"{{"name":"c","type":["null",{}],"default":null}}"#, inner(of));
            record(&format!(r#"{unused},{{"name":"b","type":"R"}}"#))
        };
        assert_eq!(says(&beside("string"), &both("int")), "$.b.x: it is string, and int is written");
        let tree = |of: &str| {
            let fields = format!(r#"{{"name":"value","type":"{of}"}},{{"name":"left","type":["null","Order"]}}"#);
            record(&fields)
        };
        assert_eq!(says(&tree("long"), &tree("int")), SAME);
        assert!(says(&tree("int"), &tree("long")).contains("$.value: it is int, and long is written"));
    }

    #[test]
    fn items_and_values_are_compared() {
        for (of, path) in [("array\",\"items", "[*]"), ("map\",\"values", ".*")] {
            let many = |item: &str| field(&format!(r#"{{"type":"{of}":"{item}"}}"#));
            assert_eq!(says(&many("long"), &many("int")), SAME);
            assert_eq!(says(&many("int"), &many("long")), format!("$.f{path}: it is int, and long is written"));
        }
    }
}
