//! Leases that a clock granted which was ahead and has been set back since.

mod common;

use std::time::Duration;

use common::{Schema, connection, execute};
use es_core::{BuildClaim, Claimed, ConsumerName, GenerationStore, LeaseStore, Leased, ReadModelDefinition};

const TIME: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_lease_that_a_clock_granted_which_was_an_hour_ahead_is_not_in_force() {
    let schema = Schema::new();
    let (store, name) = (schema.store().await, ConsumerName::new("balance").unwrap());
    let of = |by| BuildClaim::new(&name, by, ReadModelDefinition::default(), TIME).unwrap();
    store.claim_lease(&name, "dead", TIME).await.unwrap();
    store.heartbeat("dead", std::slice::from_ref(&name), TIME).await.unwrap();
    assert!(matches!(store.claim_build(&of("dead")).await.unwrap(), Claimed::Yours(_)));
    assert!(matches!(store.claim_lease(&name, "ann", TIME).await.unwrap(), Leased::Taken(_)));
    assert!(matches!(store.claim_build(&of("ann")).await.unwrap(), Claimed::Taken(_)));
    let mut connection = connection().await;
    for (table, columns) in [
        ("leases", ["since", "renewed", "until"]),
        ("members", ["renewed", "renewed", "until"]),
        ("generations", ["building_since", "building_renewed", "building_until"]),
    ] {
        let mut columns = columns.to_vec();
        columns.dedup();
        let ahead: Vec<_> = columns.iter().map(|column| format!("{column} = {column} + interval '1 hour'")).collect();
        execute(&mut connection, format!("UPDATE {}.{table} SET {}", schema.name, ahead.join(", "))).await;
    }
    assert_eq!(store.leases().await.unwrap(), []);
    assert_eq!(store.heartbeat("ann", &[], TIME).await.unwrap().members, []);
    assert!(matches!(store.claim_lease(&name, "ann", TIME).await.unwrap(), Leased::Yours(_)));
    assert!(matches!(store.claim_build(&of("ann")).await.unwrap(), Claimed::Yours(_)));
    assert!(matches!(store.claim_lease(&name, "bob", TIME).await.unwrap(), Leased::Taken(_)));
    assert!(matches!(store.claim_build(&of("bob")).await.unwrap(), Claimed::Taken(_)));
}
