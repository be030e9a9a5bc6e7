//! The order in which consumers start.

use std::{collections::HashMap, sync::Arc};

use es_core::ConsumerName;
use tokio::sync::watch;

use crate::{consumer_loop::ConsumerLoop, error::RunnerError};

/// Makes every consumer wait for the one that its options name.
///
/// # Errors
/// Returns [`RunnerError::StartOrder`] for a name that the runner does not have, and for a cycle.
pub(crate) fn set_start_order(loops: &[Arc<ConsumerLoop>]) -> Result<(), RunnerError> {
    let find = |name: &str| loops.iter().find(|it| it.name().as_str() == name);
    for consumer in loops {
        let Some(after) = consumer.options().start_after else { continue };
        let refuse = |problem| {
            Err(RunnerError::StartOrder { consumer: consumer.name().clone(), after: after.to_owned(), problem })
        };
        let Some(other) = find(after) else { return refuse("which is not in this runner") };
        let mut next = Some(other);
        // A chain longer than the number of consumers is a cycle.
        for _ in 0..loops.len() {
            if next.is_some_and(|it| it.name() == consumer.name()) {
                return refuse("which starts after it: the two would wait for each other");
            }
            next = next.and_then(|it| it.options().start_after).and_then(find);
        }
        consumer.suspension_check().start_after(other.name().clone(), Arc::clone(other.consumer_state()));
    }
    Ok(())
}

/// Waits until the consumer that this one starts after has caught up in the same `catch_up` call.
pub(crate) async fn arrival(
    consumer: &ConsumerLoop,
    outcomes: &HashMap<ConsumerName, watch::Sender<Option<bool>>>,
) -> Result<(), RunnerError> {
    let Some((after, outcome)) = consumer.suspension_check().after().and_then(|after| outcomes.get_key_value(after))
    else {
        return Ok(());
    };
    match outcome.subscribe().wait_for(Option::is_some).await.map(|outcome| *outcome) {
        Ok(Some(true)) => Ok(()),
        _ => Err(RunnerError::NotStarted { consumer: consumer.name().clone(), after: after.clone() }),
    }
}
