//! The conformance suite is tested, too: stores that are broken on purpose must each fail the case meant for them, and
//! the same wrapper without a defect must pass every case.

mod append;
mod control;
mod dead_letters;
mod defect;
mod inbox;
mod judge;
mod outbox;
mod parking;
mod reads;
mod records;
mod store;

use defect::Defect;
use judge::{assert_fails, failed_cases};

#[test]
fn the_intact_wrapper_passes_every_case() {
    assert_eq!(failed_cases(Defect::None, &[]), Vec::<String>::new());
}

macro_rules! broken {
    ($($name:ident: $defect:ident => [$($case:literal),+ $(,)?];)*) => {
        $(#[test]
        fn $name() {
            assert_fails(Defect::$defect, &[$($case),+]);
        })*

        #[test]
        fn every_defect_is_judged() {
            assert_eq!([$(Defect::$defect),*], Defect::ALL);
        }
    };
}

broken! {
    a_store_that_forgets_the_version_check_is_found: ForgetsTheVersionCheck => [
        "expected_version::every_expectation_meets_every_state_of_a_stream",
    ];
    a_store_that_checks_the_version_before_the_lock_is_found: ChecksTheVersionBeforeTheLock => [
        "expected_version::concurrent_appends_to_a_new_stream_have_one_winner",
        "expected_version::concurrent_appends_at_the_same_version_have_one_winner",
    ];
    a_store_that_ignores_the_last_event_is_found: IgnoresTheLastEvent => [
        "expected_version::another_last_event_at_the_right_version_conflicts",
    ];
    a_store_that_knows_conflicts_of_one_digit_is_found: KnowsConflictsOfOneDigit => [
        "expected_version::a_conflict_names_the_actual_version_beyond_nine",
    ];
    a_store_that_ignores_guards_is_found: IgnoresGuards => [
        "multi_stream::a_guard_is_checked_and_writes_nothing",
    ];
    a_store_that_tears_an_append_on_a_conflict_is_found: TearsOnConflict => [
        "multi_stream::when_one_streams_expectation_fails_nothing_is_stored",
    ];
    a_store_that_tears_a_dropped_append_is_found: TearsWhenDropped => [
        "concurrency::a_dropped_append_happened_or_not_and_can_be_sent_again",
    ];
    a_store_that_stores_a_repeated_append_again_is_found: StoresRepeatsAgain => [
        "retried_append::the_same_append_again_gives_the_original_outcome",
        "retried_append::concurrent_sendings_of_the_same_append_are_stored_once",
    ];
    a_store_that_asks_the_version_before_the_ids_is_found: AsksTheVersionBeforeTheIds => [
        "retried_append::the_same_append_again_gives_the_original_outcome",
        "retried_append::the_same_key_and_content_give_the_original_outcome",
    ];
    a_store_that_takes_known_ids_with_other_content_is_found: TakesKnownIdsWithOtherContent => [
        "retried_append::known_ids_with_other_content_or_place_are_refused",
        "retried_append::an_append_with_some_known_ids_is_refused",
    ];
    a_store_that_ignores_keys_is_found: IgnoresKeys => [
        "retried_append::the_same_key_and_content_give_the_original_outcome",
        "repository::a_repeated_command_gives_the_original_outcome",
    ];
    a_store_that_compares_the_streams_of_a_key_alone_is_found: ComparesTheStreamsOfAKeyAlone => [
        "retried_append::a_key_used_for_other_content_is_refused",
    ];
    a_store_that_remembers_refused_keys_is_found: RemembersRefusedKeys => [
        "retried_append::the_key_and_ids_of_a_refused_append_are_free",
    ];
    a_store_that_reports_an_event_that_it_lost_is_found: LosesAnEvent => [
        "append::an_append_gives_versions_and_positions_from_one_without_gaps",
        "ordering::positions_are_gapless_under_concurrent_writers",
    ];
    a_store_that_normalises_payloads_is_found: NormalisesPayloads => [
        "append::payloads_keep_their_exact_bytes",
    ];
    a_store_that_keeps_times_by_the_millisecond_is_found: KeepsMilliseconds => [
        "append::metadata_and_times_round_trip_to_the_microsecond",
    ];
    a_store_whose_pages_do_not_say_of_which_log_they_are_is_found: NamesNoEventInPages => [
        "bookmarks::a_page_names_the_event_before_it_and_the_one_at_its_end",
    ];
    a_store_that_verifies_nothing_is_found: VerifiesNothing => [
        "bookmarks::what_was_seen_at_a_place_is_verified",
    ];
    a_store_that_forgets_the_last_event_of_repeats_is_found: ForgetsTheLastEventOfRepeats => [
        "bookmarks::an_append_names_its_last_event",
    ];
    a_store_that_moves_though_the_log_went_back_is_found: MovesThoughTheLogWentBack => [
        "bookmarks::nothing_that_was_read_from_another_log_takes_effect",
    ];
    a_store_that_saves_though_the_log_went_back_is_found: SavesThoughTheLogWentBack => [
        "bookmarks::nothing_that_was_read_from_another_log_takes_effect",
    ];
    a_store_that_forgets_the_event_of_checkpoints_is_found: ForgetsTheEventOfCheckpoints => [
        "bookmarks::a_checkpoint_keeps_the_event_at_its_position",
    ];
    a_store_that_never_wakes_anybody_is_found: NeverWakes => [
        "append::an_append_wakes_the_readers_of_its_handle",
    ];
    a_store_that_leaves_a_gap_after_a_conflict_is_found: LeavesAGapAfterAConflict => [
        "ordering::conflicts_and_refusals_leave_no_gap",
    ];
    a_store_that_skips_a_late_commit_is_found: SkipsALateCommit => [
        "ordering::a_reader_that_follows_by_checkpoint_skips_nothing",
    ];
    a_store_that_uses_a_position_twice_is_found: UsesAPositionTwice => [
        "read_all::pages_of_any_size_give_the_log_once_and_in_order",
        "ordering::positions_are_gapless_under_concurrent_writers",
    ];
    a_store_that_stands_still_at_a_narrow_filter_is_found: StandsStillAtANarrowFilter => [
        "read_all::a_narrow_filter_still_advances_to_the_head",
    ];
    a_store_that_runs_ahead_of_a_full_page_is_found: RunsAheadOfAFullPage => [
        "read_all::a_full_page_never_passes_an_event_that_it_left_out",
    ];
    a_store_that_guesses_the_last_page_is_found: GuessesTheLastPage => [
        "read_stream::a_page_that_is_just_full_and_holds_the_end_is_the_last",
    ];
    a_store_that_forgets_tenants_is_found: ForgetsTenants => [
        "append::streams_of_other_tenants_and_categories_are_other_streams",
        "loading::long_histories_and_tenants_are_loaded_whole_and_apart",
    ];
    a_store_that_puts_readers_back_is_found: PutsReadersBack => [
        "read_all::reading_behind_the_head_gives_nothing_and_stays",
    ];
    a_store_that_reads_any_number_of_bytes_is_found: ReadsAnyNumberOfBytes => [
        "limits::a_page_ends_at_the_most_bytes",
    ];
    a_store_that_scans_without_bound_is_found: ScansWithoutBound => [
        "limits::long_streams_count_on_and_a_read_for_rare_events_is_bounded",
    ];
    a_store_that_lets_old_snapshots_win_is_found: LetsOldSnapshotsWin => [
        "snapshots::the_newest_snapshot_wins",
    ];
    a_store_that_compares_snapshots_by_version_alone_is_found: ComparesSnapshotsByVersionAlone => [
        "snapshots::a_snapshot_with_another_fingerprint_replaces_the_kept_one",
    ];
    a_store_whose_snapshots_run_ahead_is_found: SnapshotsRunAhead => [
        "snapshots::a_snapshot_is_loaded_as_it_was_saved",
        "loading::snapshots_change_no_state",
    ];
    a_store_that_starts_a_consumer_again_is_found: StartsAgain => [
        "checkpoints::a_consumer_starts_once",
        "checkpoints::concurrent_starts_agree",
    ];
    a_store_that_moves_checkpoints_without_comparing_is_found: MovesWithoutComparing => [
        "checkpoints::a_checkpoint_moves_only_from_where_it_is",
        "checkpoints::of_concurrent_moves_one_wins",
    ];
    a_store_that_forgets_the_fence_is_found: ForgetsTheFence => [
        "leases::an_owner_that_slept_through_its_lease_writes_nothing",
        "leases::a_lease_that_was_given_back_is_free_and_nothing_is_written_under_it",
    ];
    a_store_that_gives_everyone_the_lease_is_found: GivesEveryoneTheLease => [
        "leases::a_lease_is_one_owners_until_it_runs_out",
        "leases::of_many_claims_at_once_one_wins",
    ];
    a_store_that_forgets_slot_offsets_is_found: ForgetsSlotOffsets => [
        "partitions::other_partitions_go_on_where_each_slot_was",
        "partitions::slot_offsets_are_taken_back_by_a_step_back",
        "partitions::no_event_is_lost_or_repeated_while_the_partitions_change",
    ];
    a_store_that_moves_in_any_partition_epoch_is_found: MovesInAnyPartitionEpoch => [
        "partitions::whoever_believes_in_other_partitions_is_refused",
    ];
    a_store_that_saves_documents_without_comparing_is_found: SavesWithoutComparing => [
        "documents::documents_and_checkpoint_move_together",
        "documents::of_concurrent_saves_one_wins",
    ];
    a_store_that_saves_documents_although_it_refuses_is_found: SavesThoughRefused => [
        "documents::documents_and_checkpoint_move_together",
    ];
    a_store_that_moves_the_checkpoint_after_the_documents_is_found: MovesTheCheckpointAfterTheDocuments => [
        "concurrency::a_dropped_save_of_documents_happened_or_not",
    ];
    a_store_that_lists_keys_without_regard_to_case_is_found: ListsKeysWithoutRegardToCase => [
        "documents::documents_are_listed_in_the_bytewise_order_of_their_keys",
    ];
    a_store_that_sorts_numbers_as_text_is_found: SortsNumbersAsText => [
        "documents::the_top_by_a_field_is_numeric_and_ends_with_what_has_no_number",
    ];
    a_store_that_applies_a_page_event_by_event_is_found: AppliesEventByEvent => [
        "projections::a_failing_handler_leaves_neither_rows_nor_checkpoint",
    ];
    a_store_that_applies_a_page_twice_is_found: AppliesTwice => [
        "projections::a_page_is_not_applied_twice",
        "projections::of_concurrent_runners_one_applies_a_page",
    ];
    a_store_that_moves_the_checkpoint_after_the_page_is_found: MovesTheCheckpointAfterThePage => [
        "projections::of_concurrent_runners_one_applies_a_page",
        "concurrency::a_dropped_page_was_applied_or_not",
    ];
    a_store_that_forgets_to_park_is_found: ForgetsToPark => [
        "parking::an_event_is_parked_with_the_move_of_the_checkpoint_or_not_at_all",
    ];
    a_store_that_parks_behind_nothing_is_found: ParksBehindNothing => [
        "parking::nothing_waits_behind_a_key_that_is_free",
    ];
    a_store_that_parks_though_the_move_is_refused_is_found: ParksThoughRefused => [
        "parking::an_event_is_parked_with_the_move_of_the_checkpoint_or_not_at_all",
    ];
    a_store_that_applies_parked_events_twice_is_found: AppliesParkedEventsTwice => [
        "parking::a_parked_event_takes_effect_once",
        "parking::an_event_is_discarded_or_takes_effect",
    ];
    a_store_that_lists_the_latest_parked_event_first_is_found: ListsTheLatestFirst => [
        "parking::parked_keys_and_events_are_listed_in_order",
    ];
    a_store_that_discards_without_a_record_is_found: DiscardsWithoutARecord => [
        "parking::what_is_discarded_is_recorded",
    ];
    a_store_that_keeps_what_is_parked_when_it_clears_is_found: KeepsWhatIsParked => [
        "parking::what_comes_again_is_not_parked",
    ];
    a_store_that_publishes_before_the_commit_is_found: EnqueuesAtOnce => [
        "outbox::a_message_is_given_if_its_transaction_commits",
    ];
    a_store_that_skips_messages_of_a_late_commit_is_found: SkipsALateMessage => [
        "outbox::a_late_commit_is_not_skipped",
        "outbox::the_youngest_open_transaction_is_not_skipped",
        "outbox::writers_at_once_lose_nothing_and_keep_the_order_of_their_keys",
    ];
    a_store_that_gives_a_message_once_is_found: GivesAMessageOnce => [
        "outbox::a_batch_comes_again_until_it_is_confirmed",
    ];
    a_store_that_gives_confirmed_messages_again_is_found: ConfirmsBackwards => [
        "outbox::confirming_goes_forward_only",
    ];
    a_store_that_confirms_without_a_lease_is_found: ConfirmsWithoutALease => [
        "outbox::a_relay_that_lost_its_lease_confirms_nothing",
    ];
    a_store_that_gives_messages_in_the_wrong_order_is_found: GivesTheLatestMessageFirst => [
        "outbox::writers_at_once_lose_nothing_and_keep_the_order_of_their_keys",
    ];
    a_store_that_keeps_what_was_published_is_found: KeepsWhatWasPublished => [
        "outbox::a_held_transaction_loses_nothing_and_keeps_nothing_else",
    ];
    a_store_that_does_not_wait_for_a_messages_time_is_found: PublishesBeforeItsTime => [
        "outbox::a_delayed_message_comes_at_its_time",
    ];
    a_store_that_takes_messages_of_any_size_is_found: ReadsAnyNumberOfMessages => [
        "outbox::the_limits_of_the_outbox_are_reached",
    ];
    a_store_that_does_not_tell_what_waits_is_found: TellsOfNoMessages => [
        "outbox::what_waits_is_told",
    ];
    a_store_that_suspends_a_consumer_twice_is_found: SuspendsTwice => [
        "control::a_consumer_is_suspended_until_it_is_resumed",
    ];
    a_store_that_moves_by_hand_wherever_it_is_told_is_found: MovesByHandAnywhere => [
        "control::a_checkpoint_is_overridden_where_that_makes_sense",
    ];
    a_store_that_notes_a_moment_later_is_found: NotesAMomentLater => [
        "control::a_dropped_order_happened_with_its_line_or_not_at_all",
    ];
    a_store_that_keeps_what_belongs_to_a_retired_consumer_is_found: KeepsWhatIsRetired => [
        "control::a_retired_consumer_leaves_nothing",
    ];
    a_store_that_forgets_what_was_handled_is_found: ForgetsWhatWasHandled => [
        "inbox::a_message_that_was_handled_is_not_new_again",
    ];
    a_store_that_handles_repeats_within_a_batch_is_found: HandlesRepeatsWithinABatch => [
        "inbox::of_several_messages_with_one_id_the_first_is_new",
    ];
    a_store_that_knows_messages_by_their_id_alone_is_found: KnowsMessagesByTheirIdAlone => [
        "inbox::another_message_under_a_known_id_is_told",
    ];
    a_store_that_remembers_what_was_rolled_back_is_found: RemembersWhatWasRolledBack => [
        "inbox::a_unit_that_is_rolled_back_or_dropped_leaves_its_messages_new",
        "inbox::a_dropped_unit_happened_or_not",
    ];
    a_store_that_looks_before_it_waits_is_found: LooksBeforeItWaits => [
        "inbox::of_units_at_once_with_one_message_one_handles_it",
        "inbox_partitions::no_message_is_handled_twice_while_partitions_turn",
    ];
    a_store_that_appends_after_the_commit_is_found: AppendsAfterTheCommit => [
        "inbox::a_conflict_of_an_append_rolls_everything_back",
    ];
    a_store_that_rolls_back_rows_alone_is_found: RollsBackRowsAlone => [
        "inbox::a_rollback_takes_back_what_came_after_the_savepoint",
    ];
    a_store_that_rolls_back_to_the_first_savepoint_is_found: RollsBackToTheFirstSavepoint => [
        "inbox::a_rollback_takes_back_what_came_after_the_savepoint",
    ];
    a_store_that_forgets_messages_too_early_is_found: ForgetsTooEarly => [
        "inbox_partitions::old_ids_are_forgotten_and_young_ones_kept",
    ];
    a_store_that_keeps_the_first_failure_is_found: KeepsTheFirstFailure => [
        "dead_letters::a_dead_letter_is_kept_once_with_its_latest_failure",
    ];
    a_store_that_knows_dead_letters_by_their_id_alone_is_found: KnowsDeadLettersByTheirIdAlone => [
        "dead_letters::dead_letters_that_differ_in_anything_are_several",
    ];
    a_store_that_undoes_an_edit_at_a_redelivery_is_found: UndoesAnEditAtARedelivery => [
        "dead_letters::a_redelivery_leaves_an_edit_and_a_requested_retry",
    ];
    a_store_that_forgets_a_retry_at_a_redelivery_is_found: ForgetsARetryAtARedelivery => [
        "dead_letters::a_redelivery_leaves_an_edit_and_a_requested_retry",
    ];
    a_store_that_retries_again_and_again_is_found: RetriesAgainAndAgain => [
        "dead_letters::a_retry_is_requested_and_carried_out",
    ];
    a_store_that_looks_for_any_key_is_found: LooksForAnyKey => [
        "dead_letters::dead_letters_are_found_by_what_is_known_of_them",
    ];
    a_store_that_forgets_what_was_dead_is_found: ForgetsWhatWasDead => [
        "dead_letters::totals_tell_what_there_is_and_ever_was",
    ];
    a_store_that_keeps_the_last_edit_alone_is_found: KeepsTheLastEditAlone => [
        "dead_letters::an_edited_dead_letter_keeps_what_it_was",
    ];
    a_store_that_discards_without_a_reason_is_found: DiscardsWithoutAReason => [
        "dead_letters::what_is_discarded_needs_a_reason_and_is_noted",
    ];
    a_store_that_resolves_what_is_gone_is_found: ResolvesWhatIsGone => [
        "dead_letters::a_dead_letter_is_resolved_once",
        "dead_letters::what_happens_to_a_dead_letter_while_it_is_tried_stands",
        "inbox::everything_in_a_unit_happens_or_nothing",
    ];
    a_store_that_brings_back_what_was_discarded_is_found: BringsBackWhatWasDiscarded => [
        "dead_letters::what_happens_to_a_dead_letter_while_it_is_tried_stands",
    ];
    a_store_that_forgets_an_edit_meanwhile_is_found: ForgetsAnEditMeanwhile => [
        "dead_letters::what_happens_to_a_dead_letter_while_it_is_tried_stands",
    ];
    a_store_that_takes_other_bytes_is_found: TakesOtherBytes => [
        "blobs::a_name_keeps_its_bytes",
    ];
    a_store_that_drops_young_blobs_is_found: DropsYoungBlobs => [
        "blobs::old_blobs_are_dropped",
    ];
    a_store_that_tears_a_batch_of_records_is_found: TearsABatchOfRecords => [
        "records::several_keys_come_from_one_snapshot",
        "records::a_batch_is_committed_as_a_whole_or_not_at_all",
    ];
    a_store_that_does_not_hold_the_conditions_of_a_batch_is_found: LooksAtConditionsWithoutHoldingThem => [
        "records::of_many_commits_at_one_revision_one_wins",
        "records::of_two_commits_that_exclude_each_other_one_wins",
    ];
    a_store_that_lets_records_into_the_scope_of_an_update_is_found: LocksTheRecordsOfAScopeAlone => [
        "record_updates::nothing_in_the_scope_changes_before_the_commit",
        "record_updates::updates_that_count_first_never_admit_too_many",
    ];
    a_store_that_reads_stale_records_is_found: ReadsStaleRecords => [
        "records::what_a_revision_protects_is_what_was_read",
    ];
    a_store_that_skips_a_record_between_pages_is_found: SkipsARecordBetweenPages => [
        "records::scans_return_every_key_once_and_in_order",
    ];
    a_store_that_reuses_revisions_is_found: ReusesRevisions => [
        "records::a_revision_is_never_used_again",
    ];
    a_store_that_clears_rows_and_keeps_the_checkpoint_is_found: ClearsRowsAlone => [
        "projections::clearing_a_projection_resets_rows_and_checkpoint",
        "projections::a_rebuilt_projection_equals_the_live_one",
    ];
}
