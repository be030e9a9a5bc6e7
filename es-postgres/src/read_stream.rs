//! Pages of one stream, and how the events of any page are read.

use es_core::{PageSize, RecordedEvent, StoreError, StreamId, StreamPage, Version, limits};
use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::Query};

use crate::{
    rows::{End, EventRows, to_bigint},
    statements::PageStatement,
    store::Shared,
};

pub(crate) async fn read_stream(
    shared: &Shared,
    stream: &StreamId,
    after: Version,
    page: PageSize,
) -> Result<StreamPage, StoreError> {
    let mut session = shared.session().await?;
    let reading = PageReading {
        shared,
        statement: &shared.statements.pages.of_stream,
        place: |event| event.version().get(),
        bind: |query: PgQuery| query.bind(stream.as_str().to_owned()),
    };
    let (rows, end) = reading.read(&mut session, after.get(), page).await?;
    session.finish().await?;
    Ok(StreamPage::new(rows.events, end != End::More))
}

/// A statement with what is bound to it so far.
pub(crate) type PgQuery = Query<'static, Postgres, PgArguments>;

/// How the events of a page are read, whatever kind of page it is.
pub(crate) struct PageReading<'a, B> {
    pub(crate) shared: &'a Shared,
    pub(crate) statement: &'a PageStatement,
    /// After what the next event comes: its version or its position.
    pub(crate) place: fn(&RecordedEvent) -> u64,
    /// Binds what the statement's condition needs, from $4 on.
    pub(crate) bind: B,
}

impl<B> PageReading<'_, B>
where
    B: Fn(PgQuery) -> PgQuery,
{
    /// Payloads up to this size, in bytes, are sent whatever else the page holds.
    const SMALL_PAYLOAD_BYTES: usize = 4 * 1_024;

    /// The events after a place, and whether there are more.
    ///
    /// Small payloads are counted here as they come, which bounds what is kept; large ones are counted by the server, so that
    /// it does not send a thousand of them for a page of sixteen.
    pub(crate) async fn read(
        &self,
        connection: &mut PgConnection,
        after: u64,
        page: PageSize,
    ) -> Result<(EventRows, End), StoreError> {
        let most = (page.get(), limits::MAX_PAGE_BYTES);
        let small_bytes = (limits::MAX_PAGE_BYTES / page.get()).max(Self::SMALL_PAYLOAD_BYTES);
        let mut rows = EventRows::default();
        let small = self.query(&self.statement.small, after, page.get(), small_bytes);
        let mut end = rows.add(small.fetch(&mut *connection), most).await?;
        if end == End::Large {
            // A later statement than the first: what it sees may be more, but not less.
            let after = rows.events.last().map_or(after, self.place);
            let (events_left, bytes_left) = (page.get() - rows.events.len(), most.1 - rows.payload_bytes);
            let large = self.query(&self.statement.large, after, events_left, bytes_left);
            end = match rows.add(large.fetch(connection), most).await? {
                End::Large => End::More,
                end => end,
            };
        }
        Ok((rows, end))
    }

    fn query(&self, sql: &sqlx::SqlStr, after: u64, events: usize, bytes: usize) -> PgQuery {
        // One more than there is room for, which tells that there are more.
        let query = self.shared.query(sql).bind(to_bigint(after)).bind(to_bigint(events as u64 + 1));
        (self.bind)(query.bind(to_bigint(bytes as u64)))
    }
}
