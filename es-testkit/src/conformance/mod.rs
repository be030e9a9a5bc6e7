//! The conformance suite: what every store must do, one case for each promise.
//!
//! A store runs it with its own [`StoreHarness`]:
//!
//! ```
//! # mod test {
//! es_testkit::conformance!(es_testkit::MemoryHarness);
//! # }
//! ```
//!
//! This makes a test of each case, in modules by subject. The expression is evaluated inside each test's runtime. To run
//! the suite on two settings of one store, put each call into a module of its own.

pub mod append;
pub mod blobs;
pub mod bookmarks;
pub mod checkpoints;
pub mod concurrency;
pub mod control;
pub mod dead_letters;
pub mod documents;
pub mod expected_version;
pub mod generations;
pub mod inbox;
pub mod inbox_partitions;
pub mod leases;
pub mod limits;
pub mod loading;
pub mod multi_stream;
pub mod ordering;
pub mod outbox;
pub mod parking;
pub mod partitions;
pub mod projections;
pub mod read_all;
pub mod read_stream;
pub mod record_updates;
pub mod records;
pub mod repository;
pub mod retried_append;
pub mod snapshots;
mod support;
mod switching_store;
pub mod values;
pub mod warm_aggregates;

use std::{fmt, pin::Pin, time::Duration};

use crate::harness::StoreHarness;

/// How long one case may take before it counts as hanging.
pub const LONGEST_CASE: Duration = Duration::from_secs(180);

/// A case on its way.
pub type CaseFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One case of the suite.
pub struct Case<H> {
    /// What it is about: the module it stands in.
    pub subject: &'static str,
    /// The promise that it checks.
    pub name: &'static str,
    /// Runs it; it panics if the store breaks the promise.
    pub run: fn(&H) -> CaseFuture<'_>,
}

impl<H> fmt::Debug for Case<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.subject, self.name)
    }
}

/// Gives every case, subject by subject, to another macro: the one list of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($callback:ident!($($argument:tt)*)) => {
        $crate::$callback! { ($($argument)*)
            append {
                an_append_gives_versions_and_positions_from_one_without_gaps
                what_was_appended_is_read_back_as_it_was_given
                payloads_keep_their_exact_bytes
                metadata_and_times_round_trip_to_the_microsecond
                the_recorded_time_is_shared_by_an_append_and_never_decreases
                odd_stream_ids_are_names_and_nothing_else
                streams_of_other_tenants_and_categories_are_other_streams
                another_handle_sees_every_append
                an_append_wakes_the_readers_of_its_handle
                events_can_be_read_as_streams
            }
            expected_version {
                every_expectation_meets_every_state_of_a_stream
                a_conflict_names_the_actual_version_beyond_nine
                concurrent_appends_to_a_new_stream_have_one_winner
                concurrent_appends_at_the_same_version_have_one_winner
                another_last_event_at_the_right_version_conflicts
            }
            retried_append {
                the_same_append_again_gives_the_original_outcome
                a_repeated_append_over_several_streams_gives_the_original_outcome
                an_append_with_some_known_ids_is_refused
                known_ids_with_other_content_or_place_are_refused
                known_ids_in_another_order_are_refused
                the_same_key_and_content_give_the_original_outcome
                a_key_used_for_other_content_is_refused
                a_key_used_for_another_stream_is_refused
                an_append_is_found_by_its_key
                the_key_and_ids_of_a_refused_append_are_free
                concurrent_appends_with_the_same_key_are_stored_once
                concurrent_sendings_of_the_same_append_are_stored_once
            }
            multi_stream {
                streams_get_consecutive_positions_in_the_order_given
                when_one_streams_expectation_fails_nothing_is_stored
                a_guard_is_checked_and_writes_nothing
                appends_over_the_same_streams_in_opposite_orders_all_come_through
                a_reader_never_sees_half_an_append
            }
            read_stream {
                an_unknown_stream_is_an_empty_last_page
                after_is_exclusive_in_a_stream
                pages_of_any_size_give_a_stream_once_and_in_order
                a_page_that_is_just_full_and_holds_the_end_is_the_last
            }
            read_all {
                an_empty_log_is_an_empty_page
                pages_of_any_size_give_the_log_once_and_in_order
                a_filter_passes_exactly_what_it_names
                a_narrow_filter_still_advances_to_the_head
                a_full_page_never_passes_an_event_that_it_left_out
                reading_behind_the_head_gives_nothing_and_stays
                what_was_waited_for_is_durable
                whoever_follows_the_log_reads_what_every_other_handle_reads
                a_filter_that_wants_nothing_gets_nothing_and_moves_on
            }
            ordering {
                positions_are_gapless_under_concurrent_writers
                a_reader_that_follows_by_checkpoint_skips_nothing
                conflicts_and_refusals_leave_no_gap
                everything_up_to_the_head_can_be_read
            }
            concurrency {
                a_dropped_append_happened_or_not_and_can_be_sent_again
                dropped_appends_do_not_disturb_other_writers
                a_dropped_page_was_applied_or_not
                a_dropped_save_of_documents_happened_or_not
                many_tasks_share_one_handle
            }
            limits {
                a_payload_at_the_limit_is_stored_and_one_byte_more_is_refused
                the_largest_append_is_stored_at_once
                an_append_over_the_most_streams_is_stored_at_once
                a_filter_of_the_most_selectors_works_and_one_more_is_refused
                the_longest_names_and_the_most_metadata_are_kept
                a_page_ends_at_the_most_bytes
                long_streams_count_on_and_a_read_for_rare_events_is_bounded
            }
            snapshots {
                a_snapshot_is_loaded_as_it_was_saved
                the_newest_snapshot_wins
                a_snapshot_with_another_fingerprint_replaces_the_kept_one
                each_aggregate_of_a_stream_has_a_snapshot_of_its_own
                a_snapshot_at_the_limit_is_kept_and_a_larger_one_is_refused
            }
            generations {
                a_consumer_begins_with_one_generation_which_is_live
                the_next_generation_is_built_by_one_at_a_time
                what_is_left_half_built_goes_on_where_it_was
                readers_of_a_view_are_given_the_live_generation
                readers_of_a_projection_are_given_the_live_generation
                a_retired_generation_does_not_move
                a_generation_that_is_behind_takes_no_readers_back_unless_told_to
                a_dropped_generation_leaves_nothing
                a_snapshot_holds_the_rows_of_one_position_in_order
                no_reader_sees_an_empty_or_a_mixed_read_model_while_generations_change
            }
            leases {
                a_lease_is_one_owners_until_it_runs_out
                of_many_claims_at_once_one_wins
                an_owner_that_slept_through_its_lease_writes_nothing
                a_lease_that_was_given_back_is_free_and_nothing_is_written_under_it
                a_heartbeat_extends_leases_and_is_seen_by_all
                a_seized_lease_is_the_seizers_until_it_is_given_back_or_runs_out
                an_operator_revokes_the_leases_of_a_consumer
            }
            outbox {
                a_message_is_given_if_its_transaction_commits
                a_batch_comes_again_until_it_is_confirmed
                confirming_goes_forward_only
                a_relay_that_lost_its_lease_confirms_nothing
                a_late_commit_is_not_skipped
                the_youngest_open_transaction_is_not_skipped
                a_held_transaction_loses_nothing_and_keeps_nothing_else
                a_delayed_message_comes_at_its_time
                the_limits_of_the_outbox_are_reached
                what_waits_is_told
                a_message_of_a_unit_is_given_if_the_unit_commits
                writers_at_once_lose_nothing_and_keep_the_order_of_their_keys
            }
            parking {
                an_event_is_parked_with_the_move_of_the_checkpoint_or_not_at_all
                nothing_waits_behind_a_key_that_is_free
                a_parked_event_takes_effect_once
                a_failing_handler_leaves_its_event_parked
                parked_keys_and_events_are_listed_in_order
                a_retry_is_asked_for_with_an_edit_and_recorded
                what_is_discarded_is_recorded
                an_event_is_discarded_or_takes_effect
                what_comes_again_is_not_parked
                every_generation_has_a_queue_of_its_own
            }
            partitions {
                partitions_are_started_together_and_once
                concurrent_starts_agree_on_the_partitions
                a_partition_moves_by_itself_and_writes_what_all_write
                other_partitions_go_on_where_each_slot_was
                whoever_believes_in_other_partitions_is_refused
                slot_offsets_are_taken_back_by_a_step_back
                generations_with_partitions_take_each_others_place
                a_snapshot_needs_all_partitions_at_one_position
                each_partition_has_a_lease_of_its_own
                no_event_is_lost_or_repeated_while_the_partitions_change
            }
            checkpoints {
                a_consumer_starts_once
                a_checkpoint_moves_only_from_where_it_is
                checkpoints_are_listed_by_name
                of_concurrent_moves_one_wins
                concurrent_starts_agree
            }
            bookmarks {
                a_page_names_the_event_before_it_and_the_one_at_its_end
                what_was_seen_at_a_place_is_verified
                an_append_names_its_last_event
                nothing_that_was_read_from_another_log_takes_effect
                a_checkpoint_keeps_the_event_at_its_position
            }
            control {
                a_consumer_is_suspended_until_it_is_resumed
                a_checkpoint_is_overridden_where_that_makes_sense
                an_override_defeats_the_page_that_was_under_way
                a_dropped_order_happened_with_its_line_or_not_at_all
                the_log_of_operations_is_read_newest_first
                a_retired_consumer_leaves_nothing
                a_store_that_is_idle_waits_for_nobody
            }
            documents {
                a_view_that_was_never_prepared_has_no_documents
                documents_and_checkpoint_move_together
                documents_are_replaced_deleted_and_kept_byte_for_byte
                documents_are_listed_in_the_bytewise_order_of_their_keys
                the_top_by_a_field_is_numeric_and_ends_with_what_has_no_number
                the_top_by_an_odd_field_name_finds_that_field
                numbers_of_any_size_are_ordered_exactly
                documents_are_found_by_ranges_of_a_field_page_by_page
                a_cleared_view_starts_again
                of_concurrent_saves_one_wins
                the_most_documents_are_read_at_once_and_more_are_refused
                a_view_is_the_fold_of_its_events
            }
            projections {
                preparing_a_projection_does_not_start_it
                every_event_takes_effect_once_whatever_the_pages
                a_page_is_not_applied_twice
                of_concurrent_runners_one_applies_a_page
                a_failing_handler_leaves_neither_rows_nor_checkpoint
                an_unreadable_event_leaves_neither_rows_nor_checkpoint
                an_empty_page_moves_the_checkpoint
                clearing_a_projection_resets_rows_and_checkpoint
                a_rebuilt_projection_equals_the_live_one
                projections_keep_up_beside_writers
            }
            inbox {
                a_message_that_was_handled_is_not_new_again
                of_several_messages_with_one_id_the_first_is_new
                another_message_under_a_known_id_is_told
                a_unit_that_is_rolled_back_or_dropped_leaves_its_messages_new
                of_units_at_once_with_one_message_one_handles_it
                a_dropped_unit_happened_or_not
                everything_in_a_unit_happens_or_nothing
                a_conflict_of_an_append_rolls_everything_back
                appends_of_a_unit_are_as_one_after_the_other
                a_rollback_takes_back_what_came_after_the_savepoint
                the_most_messages_and_appends_are_taken_and_more_are_refused
            }
            inbox_partitions {
                old_ids_are_forgotten_and_young_ones_kept
                no_message_is_handled_twice_while_partitions_turn
            }
            dead_letters {
                a_dead_letter_is_kept_once_with_its_latest_failure
                dead_letters_that_differ_in_anything_are_several
                a_redelivery_leaves_an_edit_and_a_requested_retry
                dead_letters_are_found_by_what_is_known_of_them
                totals_tell_what_there_is_and_ever_was
                a_retry_is_requested_and_carried_out
                an_edited_dead_letter_keeps_what_it_was
                what_is_discarded_needs_a_reason_and_is_noted
                a_dead_letter_is_resolved_once
                what_happens_to_a_dead_letter_while_it_is_tried_stands
                the_largest_dead_letters_are_kept_and_larger_ones_refused
            }
            blobs {
                a_blob_is_kept_byte_for_byte
                a_name_keeps_its_bytes
                large_blobs_are_kept_and_larger_ones_refused
                old_blobs_are_dropped
            }
            records {
                a_record_is_put_read_and_deleted_by_its_key
                several_keys_come_from_one_snapshot
                a_batch_is_committed_as_a_whole_or_not_at_all
                each_condition_meets_each_state_of_a_record
                a_touched_record_keeps_its_value
                of_many_commits_at_one_revision_one_wins
                what_a_revision_protects_is_what_was_read
                of_two_commits_that_exclude_each_other_one_wins
                scans_return_every_key_once_and_in_order
                a_revision_is_never_used_again
                a_dropped_commit_happened_or_not
                the_clock_of_the_store_does_not_run_backwards
                the_largest_records_and_batches_are_kept_and_larger_ones_refused
            }
            record_updates {
                an_update_changes_what_it_has_read
                nothing_in_the_scope_changes_before_the_commit
                updates_that_count_first_never_admit_too_many
                commits_outside_of_the_scope_do_not_wait
                updates_in_opposite_directions_all_come_through
                a_failed_decision_changes_nothing
                an_update_over_the_most_records_works_and_one_more_is_refused
            }
            repository {
                commands_under_contention_all_take_effect
                a_command_gives_up_after_its_retries
                a_repeated_command_gives_the_original_outcome
                a_key_used_for_another_command_is_refused
                a_named_request_is_what_a_key_stands_for
                concurrent_commands_with_the_same_key_take_effect_once
                repositories_of_one_store_lose_no_race_against_each_other
                a_command_on_several_aggregates_is_all_or_nothing
                a_refused_or_needless_command_stores_nothing
                an_expectation_comes_before_the_domains_answer
                commands_take_effect_once_whatever_is_lost
            }
            values {
                floats_come_back_to_the_last_bit
                json_at_the_edges_is_kept_byte_for_byte
                metadata_at_the_edges_come_back
                times_of_every_year_come_back_or_are_refused
            }
            loading {
                an_aggregate_is_loaded_as_of_any_moment
                snapshots_change_no_state
                a_snapshot_of_another_form_is_ignored
                aggregates_over_one_category_decide_by_their_own_snapshots
                a_retired_last_event_does_not_block_the_next_command
                long_histories_and_tenants_are_loaded_whole_and_apart
            }
            warm_aggregates {
                a_command_on_a_warm_aggregate_is_one_call
                what_a_stale_state_decides_is_confirmed
                an_empty_decision_of_a_stale_state_is_confirmed
                loading_a_warm_aggregate_shows_what_others_have_stored
                a_conflict_on_a_warm_aggregate_reads_the_tail_alone
                a_stale_state_is_no_lost_race
                a_state_of_another_history_decides_nothing
                the_cached_aggregates_are_bounded_and_can_be_switched_off
                warm_commands_of_two_repositories_sum_up
            }
        }
    };
}

/// Makes one test of each case of the suite, on the store that a [`StoreHarness`] gives. See the
/// [module](mod@crate::conformance).
#[macro_export]
macro_rules! conformance {
    ($harness:expr $(,)?) => {
        /// The harness of the conformance suite; made anew inside each test's runtime.
        async fn conformance_harness() -> impl $crate::StoreHarness {
            $harness
        }
        $crate::__conformance_cases! { __conformance_tests!() }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (() $($subject:ident { $($case:ident)* })*) => {
        $(mod $subject {
            $(#[test]
            fn $case() {
                $crate::__private::run_case(async {
                    let harness = super::conformance_harness().await;
                    $crate::conformance::$subject::$case(&harness).await;
                });
            })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_list {
    (($harness:ident) $($subject:ident { $($case:ident)* })*) => {
        vec![$($($crate::conformance::Case {
            subject: stringify!($subject),
            name: stringify!($case),
            run: |harness: &$harness| Box::pin($crate::conformance::$subject::$case(harness)),
        },)*)*]
    };
}

/// Every case of the suite as a value: for whoever judges stores by program, as the suite's own tests do.
pub fn cases<H: StoreHarness>() -> Vec<Case<H>> {
    __conformance_cases! { __conformance_list!(H) }
}

/// Runs one case as a test: on a runtime of two threads, for a bounded time.
#[doc(hidden)]
pub fn run_case(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let result = runtime.block_on(async { tokio::time::timeout(LONGEST_CASE, case).await });
    assert!(result.is_ok(), "the case did not end within {LONGEST_CASE:?}: something waits for ever");
}
