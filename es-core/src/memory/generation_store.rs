//! Generations of read models in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Consumers, MemoryStore, lock};
use crate::{
    consumer_name::{ConsumerName, Generation},
    error::StoreError,
    generation_store::{
        BuildClaim, Builder, Claimed, Direction, GenerationInfo, GenerationState, GenerationStore, ReadModelDefinition,
        ReadModelRow, ReadModelSnapshot, Swapped, TableNames,
    },
    partition::{PartitionCheckpoint, position_of_all},
    position::Position,
    timestamp::to_stored_precision,
};

impl Consumers {
    /// Returns the live generation of a consumer, if one is known.
    pub(super) fn live(&self, consumer: &ConsumerName) -> Option<&GenerationInfo> {
        self.of_consumer(consumer).find(|known| known.state == GenerationState::Live)
    }

    fn of_consumer(&self, consumer: &ConsumerName) -> impl Iterator<Item = &GenerationInfo> {
        let base = consumer.base();
        self.generations.values().filter(move |known| known.name.base() == base)
    }

    pub(super) fn position_of(&self, generation: &ConsumerName) -> Option<Position> {
        self.partitions_of(generation).iter().map(|reached| reached.position).min()
    }

    fn with_position(&self, known: &GenerationInfo) -> GenerationInfo {
        GenerationInfo { position: self.position_of(&known.name), ..known.clone() }
    }

    fn add(&mut self, name: ConsumerName, state: GenerationState, definition: &ReadModelDefinition) -> GenerationInfo {
        let info = GenerationInfo::new(name.clone(), state, definition.clone(), self.position_of(&name), now(), None);
        self.generations.insert(name, info.clone());
        info
    }

    fn ensure_live(&mut self, consumer: &ConsumerName, definition: &ReadModelDefinition) -> GenerationInfo {
        match self.live(consumer) {
            Some(live) => self.with_position(live),
            None => self.add(consumer.base(), GenerationState::Live, definition),
        }
    }
}

fn now() -> OffsetDateTime {
    to_stored_precision(OffsetDateTime::now_utc())
}

#[async_trait]
impl GenerationStore for MemoryStore {
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError> {
        let consumers = lock(&self.shared.consumers);
        let mut all: Vec<_> = consumers.of_consumer(consumer).map(|known| consumers.with_position(known)).collect();
        all.sort_by_key(GenerationInfo::generation);
        Ok(all)
    }

    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError> {
        Ok(lock(&self.shared.consumers).ensure_live(consumer, definition))
    }

    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError> {
        let mut consumers = lock(&self.shared.consumers);
        consumers.ensure_live(&claim.consumer, &claim.definition);
        let building = consumers.of_consumer(&claim.consumer).find(|known| known.state == GenerationState::Building);
        let mut info = match building {
            Some(building) => {
                let building = consumers.with_position(building);
                let is_held = |builder: &Builder| builder.by != claim.by && builder.is_held_at(now());
                if building.builder.as_ref().is_some_and(is_held) {
                    return Ok(Claimed::Taken(building));
                }
                if building.definition != claim.definition {
                    return Ok(Claimed::VersionMismatch(building));
                }
                building
            }
            None => {
                let newest = consumers.of_consumer(&claim.consumer).map(GenerationInfo::generation).max();
                let next = claim.consumer.in_generation(newest.map_or(Generation::FIRST, Generation::next));
                consumers.add(next, GenerationState::Building, &claim.definition)
            }
        };
        let now = now();
        let earlier = info.builder.filter(|builder| builder.by == claim.by && builder.until > now);
        let since = earlier.map_or(now, |builder| builder.since.min(now));
        info.builder = Some(Builder::new(claim.by.clone(), since, now + claim.lease).renewed_at(now));
        consumers.generations.insert(info.name.clone(), info.clone());
        Ok(Claimed::Yours(info))
    }

    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError> {
        let mut consumers = lock(&self.shared.consumers);
        if let Some(known) = consumers.generations.get_mut(generation)
            && known.builder.as_ref().is_some_and(|builder| builder.by == by)
        {
            known.builder = None;
        }
        Ok(())
    }

    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError> {
        let mut own_tables = self.shared.tables.lock().await;
        let log = lock(&self.shared.log);
        let mut consumers = lock(&self.shared.consumers);
        let Some(known) = consumers.generations.get(generation) else {
            return Err(StoreError::Refused { reason: "there is no such generation to make live; build it first" });
        };
        let tables = known.definition.tables.clone();
        if let Some(live) = consumers.live(generation).map(|live| live.name.clone()) {
            if live == *generation {
                return Ok(Swapped::Done);
            }
            let old = consumers.partitions_of(&live);
            let furthest = old.iter().map(PartitionCheckpoint::furthest).max();
            if furthest > consumers.position_of(generation) && direction == Direction::Forward {
                return Ok(Swapped::Behind(furthest.unwrap_or_default()));
            }
            let new = consumers.partitions_of(generation);
            new.iter().filter_map(PartitionCheckpoint::witness).try_for_each(|seen| log.check(seen))?;
            if let (2.., 1, Ok(count)) = (old.len(), new.len(), u16::try_from(old.len())) {
                consumers.redistribute(&log, generation, count)?;
            }
            if let Some(live) = consumers.generations.get_mut(&live) {
                live.state = GenerationState::Retired;
            }
        }
        if let Some(known) = consumers.generations.get_mut(generation) {
            (known.state, known.builder) = (GenerationState::Live, None);
        }
        for table in tables {
            let own = TableNames::of(generation, &table);
            own_tables.live.insert(table, own);
        }
        Ok(Swapped::Done)
    }

    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError> {
        let mut own_tables = self.shared.tables.lock().await;
        let mut consumers = lock(&self.shared.consumers);
        if consumers.live(generation).is_some_and(|live| live.name == *generation) {
            return Err(StoreError::Refused { reason: "the live generation cannot be dropped; make another one live" });
        }
        let Some(known) = consumers.generations.remove(generation) else { return Ok(()) };
        consumers.remove(generation);
        consumers.documents.remove(generation);
        consumers.parked.forget_after(generation, Position::ZERO);
        for table in known.definition.tables {
            own_tables.tables.remove(&TableNames::of(generation, &table));
        }
        Ok(())
    }

    async fn open_snapshot(&self, generation: &ConsumerName) -> Result<ReadModelSnapshot, StoreError> {
        let (position, rows) = {
            let own_tables = self.shared.tables.lock().await;
            let consumers = lock(&self.shared.consumers);
            let tables =
                consumers.generations.get(generation).map(|known| known.definition.tables.clone()).unwrap_or_default();
            let rows = if tables.is_empty() {
                let documents = consumers.documents.get(generation).into_iter().flatten();
                let row = |(key, body): (&String, &crate::Payload)| row("", key, body.as_str());
                documents.map(row).collect()
            } else {
                rows_of(&own_tables.tables, generation, &tables)
            };
            (position_of_all(&consumers.partitions_of(generation))?, rows)
        };
        let (snapshot, sender) = ReadModelSnapshot::new(position);
        // The channel has room for one page, and there is no other sender.
        let _ = sender.try_send(Ok(rows));
        Ok(snapshot)
    }
}

fn row(table: &str, key: &str, content: &str) -> ReadModelRow {
    ReadModelRow { table: table.to_owned(), key: key.to_owned(), content: content.to_owned() }
}

fn rows_of(
    own_tables: &BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    generation: &ConsumerName,
    tables: &[String],
) -> Vec<ReadModelRow> {
    let mut rows = Vec::new();
    for table in tables {
        let own = own_tables.get(&TableNames::of(generation, table)).into_iter().flatten();
        rows.extend(own.map(|(key, value)| row(table, key, &value.to_string())));
    }
    rows.sort();
    rows
}
