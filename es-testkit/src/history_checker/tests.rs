//! Every violation is found, and a good history has none.

use es_core::{
    Append, Appended, AppendedStream, EventFilter, EventPage, EventType, ExpectedVersion, NewEvent, Payload, Position,
    RecordedEvent, StreamId, Version,
};
use time::{Duration, OffsetDateTime};

use super::{HistoryChecker, Violation};

fn stream(id: &str) -> StreamId {
    StreamId::new("account", id).unwrap()
}

/// An append of `count` events that lies behind `log`, as a good store would store it.
fn appended(log: &mut Vec<RecordedEvent>, id: &str, count: usize) -> (Append, Appended) {
    let events = (0..count).map(|_| NewEvent::new(EventType::new("Noted").unwrap(), Payload::trusted("{}"))).collect();
    let append = Append::to(stream(id), ExpectedVersion::Any, events).build().unwrap();
    let before = log.iter().filter(|event| *event.stream() == stream(id)).count() as u64;
    let place = AppendedStream {
        stream: stream(id),
        first_version: Version::new(before + 1),
        last_version: Version::new(before + count as u64),
        first_position: Position::new(log.len() as u64 + 1),
    };
    let time = OffsetDateTime::UNIX_EPOCH + Duration::seconds(log.len() as i64);
    let outcome = Appended::new(vec![place], time, false);
    log.extend(append.recorded(&outcome));
    (append, outcome)
}

fn at(event: &RecordedEvent, version: u64, position: u64, time: OffsetDateTime) -> RecordedEvent {
    NewEvent::new(EventType::new(event.event_type()).unwrap(), event.payload().clone()).with_id(event.id()).recorded(
        event.stream().clone(),
        Version::new(version),
        Position::new(position),
        time,
    )
}

/// A history of three acknowledged appends: positions 1 and 2 of `a`, 3 of `b`, 4 to 6 of `a`.
fn history() -> (HistoryChecker, Vec<RecordedEvent>) {
    let (history, mut log) = (HistoryChecker::new(), Vec::new());
    for (id, count) in [("a", 2), ("b", 1), ("a", 3)] {
        let (append, outcome) = appended(&mut log, id, count);
        history.acknowledged(&append, &outcome);
    }
    (history, log)
}

fn page(events: &[RecordedEvent], scanned_to: u64) -> EventPage {
    EventPage::new(events.to_vec(), Position::new(scanned_to), Position::new(scanned_to))
}

fn read(history: &HistoryChecker, after: u64, page: &EventPage) {
    history.read("reader", &EventFilter::all(), Position::new(after), page);
}

fn violations(history: &HistoryChecker, log: &[RecordedEvent]) -> Vec<Violation> {
    history.check(log).violations().to_vec()
}

macro_rules! assert_found {
    ($violations:expr, $pattern:pat $(if $guard:expr)?) => {
        let violations = $violations;
        assert!(violations.iter().any(|found| matches!(found, $pattern $(if $guard)?)), "{violations:#?}");
    };
}

#[test]
fn a_good_history_is_clean() {
    let (history, mut log) = history();
    read(&history, 0, &page(&log[..2], 2));
    read(&history, 2, &page(&log[2..], 6));
    let (late, _) = appended(&mut log, "c", 2);
    history.unacknowledged(&late);
    let (never, _) = appended(&mut log.clone(), "c", 2);
    history.unacknowledged(&never);
    let (refused, _) = appended(&mut log.clone(), "a", 1);
    history.refused(&refused);
    history.check(&log).assert_clean();
}

#[test]
fn a_refused_append_that_was_accepted_later_is_no_violation() {
    let (history, mut log) = history();
    let (append, outcome) = appended(&mut log, "a", 1);
    history.refused(&append);
    history.acknowledged(&append, &outcome);
    history.check(&log).assert_clean();
}

#[test]
fn a_lost_event_is_found() {
    let (history, log) = history();
    let lost = log[5].id();
    assert_found!(violations(&history, &log[..5]), Violation::Lost { event, .. } if *event == lost);
}

#[test]
fn a_gap_in_positions_is_found() {
    let (history, mut log) = history();
    log.remove(2);
    assert_found!(
        violations(&history, &log),
        Violation::Gap { after, next } if (after.get(), next.get()) == (2, 4)
    );
}

#[test]
fn an_event_that_is_stored_twice_is_found() {
    let (history, mut log) = history();
    log.push(at(&log[5], 6, 7, log[5].recorded_at()));
    assert_found!(
        violations(&history, &log),
        Violation::Duplicated { first, second, .. } if (first.get(), second.get()) == (6, 7)
    );
}

#[test]
fn versions_out_of_order_are_found() {
    let (history, mut log) = history();
    (log[3], log[4]) = (at(&log[3], 4, 4, log[3].recorded_at()), at(&log[4], 3, 5, log[4].recorded_at()));
    assert_found!(
        violations(&history, &log),
        Violation::OutOfOrder { expected: 3, found, .. } if found.get() == 4
    );
}

#[test]
fn an_event_in_another_place_than_was_told_is_found() {
    let (history, mut log) = history();
    let time = log[3].recorded_at();
    let (third, fourth) = (log[3].id(), log[4].id());
    (log[3], log[4]) = (at(&log[4], 3, 4, time), at(&log[3], 4, 5, time));
    assert_found!(violations(&history, &log), Violation::Moved { event, .. } if *event == third);
    assert_found!(violations(&history, &log), Violation::Moved { event, .. } if *event == fourth);
}

#[test]
fn an_event_with_other_content_is_found() {
    let (history, mut log) = history();
    log[2] = NewEvent::new(EventType::new("Noted").unwrap(), Payload::trusted("[]")).with_id(log[2].id()).recorded(
        stream("b"),
        Version::new(1),
        Position::new(3),
        log[2].recorded_at(),
    );
    assert_found!(violations(&history, &log), Violation::Changed { position, .. } if position.get() == 3);
}

#[test]
fn a_time_that_goes_back_is_found() {
    let (history, mut log) = history();
    log[2] = at(&log[2], 1, 3, OffsetDateTime::UNIX_EPOCH - Duration::seconds(1));
    assert_found!(violations(&history, &log), Violation::TimeWentBack { position } if position.get() == 3);
}

#[test]
fn half_of_an_unacknowledged_append_is_found() {
    let (history, mut log) = history();
    let (append, _) = appended(&mut log, "c", 2);
    history.unacknowledged(&append);
    log.pop();
    assert_found!(violations(&history, &log), Violation::Torn { stored: 1, sent: 2, .. });
}

#[test]
fn a_refused_append_that_is_stored_is_found() {
    let (history, mut log) = history();
    let (append, _) = appended(&mut log, "c", 1);
    history.refused(&append);
    assert_found!(violations(&history, &log), Violation::StoredThoughRefused { stream: on, .. } if *on == stream("c"));
}

#[test]
fn an_event_that_a_reader_skips_is_found() {
    let (history, log) = history();
    read(&history, 0, &page(&[log[0].clone(), log[2].clone()], 3));
    read(&history, 3, &page(&log[3..], 6));
    assert_found!(violations(&history, &log), Violation::Skipped { position, .. } if position.get() == 2);
}

#[test]
fn only_what_passes_the_readers_filter_can_be_skipped() {
    let (history, log) = history();
    let filter = EventFilter::all().or_stream(stream("b"));
    history.read("reader", &filter, Position::ZERO, &page(&log[2..3], 6));
    history.check(&log).assert_clean();
    history.read("other", &filter, Position::ZERO, &page(&[], 6));
    assert_found!(violations(&history, &log), Violation::Skipped { reader, .. } if reader == "other");
}

#[test]
fn what_a_reader_has_not_reached_is_not_skipped() {
    let (history, log) = history();
    read(&history, 1, &page(&log[1..3], 3));
    history.check(&log).assert_clean();
}

#[test]
fn an_event_that_a_reader_gets_twice_is_found() {
    let (history, log) = history();
    read(&history, 0, &page(&log[..2], 2));
    read(&history, 2, &page(&log[1..], 6));
    assert_found!(violations(&history, &log), Violation::ReadTwice { position, .. } if position.get() == 2);
}

#[test]
fn an_event_that_a_reader_saw_and_that_is_gone_is_found() {
    let (history, log) = history();
    let mut seen = log.clone();
    appended(&mut seen, "c", 1);
    read(&history, 0, &page(&seen, 7));
    assert_found!(violations(&history, &log), Violation::Vanished { position, .. } if position.get() == 7);
}

#[test]
fn a_reader_that_does_not_go_on_where_it_was_is_found() {
    let (history, log) = history();
    read(&history, 0, &page(&log[..2], 2));
    read(&history, 4, &page(&log[4..], 6));
    assert_found!(
        violations(&history, &log),
        Violation::ReaderJumped { from, to, .. } if (from.get(), to.get()) == (2, 4)
    );
}

#[test]
#[should_panic(expected = "after position 5 comes 7")]
fn an_unclean_report_panics_with_what_is_wrong() {
    let (history, mut log) = history();
    log[5] = at(&log[5], 5, 7, log[5].recorded_at());
    history.check(&log).assert_clean();
}
