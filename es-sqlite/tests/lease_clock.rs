//! Leases that a clock granted which was ahead and has been set back since.

mod common;

use std::time::Duration;

use common::TempFolder;
use es_core::{BuildClaim, Claimed, ConsumerName, GenerationStore, LeaseStore, Leased, ReadModelDefinition};
use es_sqlite::sqlx;

const TIME: Duration = Duration::from_secs(30);
/// In microseconds.
const A_YEAR: i64 = 365 * 24 * 3_600 * 1_000_000;

#[tokio::test]
async fn a_lease_that_a_clock_granted_which_was_a_year_ahead_is_not_in_force() {
    let folder = TempFolder::new();
    let (store, name) = (folder.store().await, ConsumerName::new("balance").unwrap());
    let of = |by| BuildClaim::new(&name, by, ReadModelDefinition::default(), TIME).unwrap();
    store.claim_lease(&name, "dead", TIME).await.unwrap();
    store.heartbeat("dead", std::slice::from_ref(&name), TIME).await.unwrap();
    assert!(matches!(store.claim_build(&of("dead")).await.unwrap(), Claimed::Yours(_)));
    assert!(matches!(store.claim_lease(&name, "ann", TIME).await.unwrap(), Leased::Taken(_)));
    assert!(matches!(store.claim_build(&of("ann")).await.unwrap(), Claimed::Taken(_)));
    let mut connection = folder.connection().await;
    for sql in [
        "UPDATE es_leases SET since = since + ?1, renewed = renewed + ?1, until = until + ?1",
        "UPDATE es_members SET renewed = renewed + ?1, until = until + ?1",
        "UPDATE es_generations SET building_since = building_since + ?1, building_renewed = building_renewed + ?1, \
         building_until = building_until + ?1 WHERE builder IS NOT NULL",
    ] {
        sqlx::query(sql).bind(A_YEAR).execute(&mut connection).await.unwrap();
    }
    assert_eq!(store.leases().await.unwrap(), []);
    assert_eq!(store.heartbeat("ann", &[], TIME).await.unwrap().members, []);
    assert!(matches!(store.claim_lease(&name, "ann", TIME).await.unwrap(), Leased::Yours(_)));
    assert!(matches!(store.claim_build(&of("ann")).await.unwrap(), Claimed::Yours(_)));
    assert!(matches!(store.claim_lease(&name, "bob", TIME).await.unwrap(), Leased::Taken(_)));
    assert!(matches!(store.claim_build(&of("bob")).await.unwrap(), Claimed::Taken(_)));
}
