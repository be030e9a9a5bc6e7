//! What is called compatible is: whatever is written by one schema is valid by the other.

use es_messaging_schemas::{Schema, can_read};
use serde_json::Value;

use crate::generated::{Random, change, instance, schema};

#[test]
fn whatever_a_compatible_writer_writes_is_valid_for_the_reader() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut compatible, mut changed, mut checked) = (0, 0, 0);
    for round in 0..4_000 {
        let old = schema(&mut random, 3);
        let mut new = old.clone();
        for _ in 0..1 + random.below(3) {
            change(&mut random, &mut new);
        }
        let report = can_read(&Schema::json_schema(&new).unwrap(), &Schema::json_schema(&old).unwrap()).unwrap();
        changed += usize::from(new != old);
        if new == old || !report.is_compatible() {
            continue;
        }
        compatible += 1;
        let (reader, writer) = (compile(&new), compile(&old));
        for _ in 0..20 {
            let Some(value) = instance(&mut random, &old, &old) else { break };
            assert!(writer.is_valid(&value), "the generator is wrong: {value} by {old}");
            assert!(
                reader.is_valid(&value),
                "seed {seed}, round {round}: {value}\nis written by {old}\nand not read by {new}"
            );
            checked += 1;
        }
    }
    println!("{changed} changed, {compatible} compatible, {checked} values");
    assert!(compatible > 500 && checked > 5_000, "{changed} changed, {compatible} compatible, {checked} values");
    assert!(changed - compatible > 500, "what breaks must be found too: {changed} changed, {compatible} compatible");
}

fn compile(schema: &Value) -> jsonschema::Validator {
    jsonschema::validator_for(schema).unwrap()
}
