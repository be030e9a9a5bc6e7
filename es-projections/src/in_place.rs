//! Rebuilds in place: empties the read model, applies all events again, and compares the result with the previous
//! content.

use std::sync::Arc;

use es_core::{ConsumerName, ReadModelSnapshot, RunnerStore, StoreError};

use crate::{
    comparison::Comparison,
    consumer_loop::ConsumerLoop,
    dump::Dump,
    error::RunnerError,
    goal::Goal,
    rebuild::{RebuildMeter, RebuildProgress},
    side_by_side::Verification,
    status::ConsumerKind,
    stop::Stop,
};

/// Rebuilds a read model in place, up to the current head of the log.
pub(crate) async fn rebuild(
    store: &Arc<dyn RunnerStore>,
    local: &ConsumerLoop,
    verification: Verification,
    on_progress: &mut (dyn FnMut(RebuildProgress) + Send),
) -> Result<Option<Comparison>, RunnerError> {
    let consumer = local.name();
    if local.kind() == ConsumerKind::Reactor {
        return Err(RunnerError::NoReadModel { consumer: consumer.clone() });
    }
    let before = match verification {
        Verification::Skip => None,
        _ => Some(remember(store, local).await?),
    };
    let head = store.head().await?;
    let mut meter = RebuildMeter::start(consumer.clone(), head);
    tracing::info!(%consumer, head = head.get(), "rebuild started");
    let mut on_advance = |position| on_progress(meter.at(position));
    let (comparison, goal) = match before {
        None => (None, Goal::Rebuild(head)),
        Some((live, before)) => {
            let end = before.position();
            let rebuilt = {
                let _end = local.steps().await.end_at(end);
                local.drive(Goal::Rebuild(end), Stop::never(), &mut on_advance).await?;
                // Another loop of this runner may have come this far and only scanned the last events.
                let _ = local.steps().await.save_scanned().await;
                // Until the snapshot is open, that loop must not continue past `end` either.
                store.open_snapshot(&live).await
            };
            (Some(compare(&live, before, rebuilt).await), Goal::Reach(head))
        }
    };
    local.drive(goal, Stop::never(), &mut on_advance).await?;
    tracing::info!(%consumer, head = head.get(), "rebuild finished");
    on_advance(head);
    match comparison.transpose()? {
        Some(comparison) if !comparison.is_same() && verification == Verification::MustMatch => {
            Err(RunnerError::ReadModelsDiffer(Box::new(comparison)))
        }
        comparison => Ok(comparison),
    }
}

/// Returns the name and a dump of the live read model.
async fn remember(store: &Arc<dyn RunnerStore>, local: &ConsumerLoop) -> Result<(ConsumerName, Dump), RunnerError> {
    let consumer = local.name();
    let definition = local.blueprint().and_then(|consumer| consumer.definition());
    // Without table names, the documents of a view would be read instead.
    let definition =
        definition.filter(|definition| local.kind() == ConsumerKind::View || !definition.tables.is_empty());
    let definition = definition.ok_or_else(|| RunnerError::NotComparable { consumer: consumer.clone() })?;
    let live = store.live_generation(consumer, &definition).await?.name;
    let dump = Dump::take(store.open_snapshot(&live).await?).await?;
    Ok((live, dump))
}

async fn compare(
    live: &ConsumerName,
    before: Dump,
    rebuilt: Result<ReadModelSnapshot, StoreError>,
) -> Result<Comparison, RunnerError> {
    let rebuilt = rebuilt?;
    if rebuilt.position() != before.position() {
        let (before, after) = (before.position(), rebuilt.position());
        return Err(RunnerError::NotCompared { consumer: live.clone(), before, after });
    }
    Ok(before.compare(rebuilt).await?)
}
