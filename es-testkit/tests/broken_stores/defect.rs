//! The ways in which a store can be broken.

macro_rules! defects {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One thing that a store does wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Defect {
            /// None: the wrapper alone.
            None,
            $($(#[$doc])* $name,)*
        }

        impl Defect {
            /// Every defect but none.
            pub(crate) const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];
        }
    };
}

defects! {
    /// Every append is taken as if it expected nothing.
    ForgetsTheVersionCheck,
    /// The version is checked, and the append comes a moment later.
    ChecksTheVersionBeforeTheLock,
    /// The version is checked, the id of the last event is not.
    IgnoresTheLastEvent,
    /// From version 10 on a conflict is an internal error.
    KnowsConflictsOfOneDigit,
    /// Streams without events are left out of an append.
    IgnoresGuards,
    /// When one stream conflicts, the streams in front of it are stored.
    TearsOnConflict,
    /// An append over two streams is two appends.
    TearsWhenDropped,
    /// A repeated append is stored again, under new ids.
    StoresRepeatsAgain,
    /// A repeated append whose expectation fails by now is a conflict.
    AsksTheVersionBeforeTheIds,
    /// Known ids with other content get new ids.
    TakesKnownIdsWithOtherContent,
    /// Keys are not kept.
    IgnoresKeys,
    /// A key stands for the streams of its first append, whatever their events are.
    ComparesTheStreamsOfAKeyAlone,
    /// The key of a refused append is taken.
    RemembersRefusedKeys,
    /// The third event of an append is reported and not stored.
    LosesAnEvent,
    /// Payloads are parsed and written again.
    NormalisesPayloads,
    /// Times are cut to the millisecond.
    KeepsMilliseconds,
    /// Pages do not say which log they were read from.
    NamesNoEventInPages,
    /// Whatever was seen at a place, the log is said to hold it.
    VerifiesNothing,
    /// A repeated append does not name its last event.
    ForgetsTheLastEventOfRepeats,
    /// A runner that has seen another log moves a checkpoint.
    MovesThoughTheLogWentBack,
    /// A runner that has seen another log saves documents.
    SavesThoughTheLogWentBack,
    /// Checkpoints are told without the event at their position.
    ForgetsTheEventOfCheckpoints,
    /// Nobody is told about an append.
    NeverWakes,
    /// A conflict uses up a position.
    LeavesAGapAfterAConflict,
    /// While an append is under way, readers go past an event that they do not see.
    SkipsALateCommit,
    /// Two events share a position.
    UsesAPositionTwice,
    /// A page moves a reader to its last event, and not at all without one.
    StandsStillAtANarrowFilter,
    /// A page that is full moves a reader to the head.
    RunsAheadOfAFullPage,
    /// A page that is full counts as not the last.
    GuessesTheLastPage,
    /// The streams of all tenants are one.
    ForgetsTenants,
    /// A reader that is ahead of the log is put back to its head.
    PutsReadersBack,
    /// A page ends when it is full, however many bytes that takes.
    ReadsAnyNumberOfBytes,
    /// A read goes on until it has found something.
    ScansWithoutBound,
    /// The snapshot that comes last wins.
    LetsOldSnapshotsWin,
    /// A snapshot is kept only if its version is higher, whatever its fingerprint.
    ComparesSnapshotsByVersionAlone,
    /// A snapshot claims to hold one event more than it does.
    SnapshotsRunAhead,
    /// A consumer that starts again starts where it says.
    StartsAgain,
    /// A checkpoint moves from wherever it is.
    MovesWithoutComparing,
    /// A checkpoint moves under a lease that somebody else has had since.
    ForgetsTheFence,
    /// A lease is given to whoever asks.
    GivesEveryoneTheLease,
    /// New partitions begin where the last of their slots is, and know nothing of the others.
    ForgetsSlotOffsets,
    /// A partition moves for whoever knows its name and position.
    MovesInAnyPartitionEpoch,
    /// Documents are saved from wherever the checkpoint is.
    SavesWithoutComparing,
    /// A save that is refused for its checkpoint changes documents.
    SavesThoughRefused,
    /// Documents are saved first, the checkpoint is moved a moment later.
    MovesTheCheckpointAfterTheDocuments,
    /// Keys are listed as in a telephone book.
    ListsKeysWithoutRegardToCase,
    /// The top by a field is the top by its text.
    SortsNumbersAsText,
    /// A page is applied as one page per event.
    AppliesEventByEvent,
    /// A page that was applied is applied again.
    AppliesTwice,
    /// The read model is written first, the checkpoint a moment later.
    MovesTheCheckpointAfterThePage,
    /// Events that are put aside are lost.
    ForgetsToPark,
    /// An event can wait behind a key that is free.
    ParksBehindNothing,
    /// Events are put aside although the checkpoint is elsewhere.
    ParksThoughRefused,
    /// A parked event that took effect takes effect again.
    AppliesParkedEventsTwice,
    /// The parked events of a key are given in the wrong order.
    ListsTheLatestFirst,
    /// What is thrown away leaves no record.
    DiscardsWithoutARecord,
    /// Clearing leaves the parked events.
    KeepsWhatIsParked,
    /// A message is given when it is written, whatever comes of its transaction.
    EnqueuesAtOnce,
    /// Messages are numbered when they are written, and a reader goes past those whose transactions commit later.
    SkipsALateMessage,
    /// What was given counts as published.
    GivesAMessageOnce,
    /// Confirming an earlier place brings back what lies behind it.
    ConfirmsBackwards,
    /// Whoever says so has published.
    ConfirmsWithoutALease,
    /// A batch is given from its end.
    GivesTheLatestMessageFirst,
    /// What was published takes room for ever.
    KeepsWhatWasPublished,
    /// A delayed message is given at once.
    PublishesBeforeItsTime,
    /// A read of messages has no limit.
    ReadsAnyNumberOfMessages,
    /// Nothing seems to wait.
    TellsOfNoMessages,
    /// A consumer that is suspended already is suspended again, and that is noted.
    SuspendsTwice,
    /// A checkpoint goes wherever the hand moves it.
    MovesByHandAnywhere,
    /// A checkpoint is overridden, and the log says so a moment later.
    NotesAMomentLater,
    /// A consumer that is retired loses its checkpoints alone.
    KeepsWhatIsRetired,
    /// No message is known.
    ForgetsWhatWasHandled,
    /// A message that is twice in a batch is new both times.
    HandlesRepeatsWithinABatch,
    /// A message with other content under a known id counts as the one that was handled.
    KnowsMessagesByTheirIdAlone,
    /// A message that is received is noted, whatever becomes of the unit.
    RemembersWhatWasRolledBack,
    /// Which messages are new is decided before others are waited for.
    LooksBeforeItWaits,
    /// The appends of a unit are sent when the rest has been committed.
    AppendsAfterTheCommit,
    /// A rollback to the savepoint leaves the appends.
    RollsBackRowsAlone,
    /// A rollback goes back to the first savepoint of all.
    RollsBackToTheFirstSavepoint,
    /// Ids are kept for a quarter of the time.
    ForgetsTooEarly,
    /// A message that fails again keeps its first failure.
    KeepsTheFirstFailure,
    /// Messages of one id are one dead letter, whatever else tells them apart.
    KnowsDeadLettersByTheirIdAlone,
    /// A message that comes again takes the place of the edited one.
    UndoesAnEditAtARedelivery,
    /// A message that comes again counts as the requested retry.
    ForgetsARetryAtARedelivery,
    /// A retry that failed stays requested.
    RetriesAgainAndAgain,
    /// Dead letters are found whatever their key.
    LooksForAnyKey,
    /// Dead letters that are gone are not counted among those that ever were.
    ForgetsWhatWasDead,
    /// Of several edits of a dead letter the last is known.
    KeepsTheLastEditAlone,
    /// Dead letters are thrown away for no reason.
    DiscardsWithoutAReason,
    /// A dead letter that is gone can be resolved.
    ResolvesWhatIsGone,
    /// A dead letter that was thrown away while it was tried comes back when that was in vain.
    BringsBackWhatWasDiscarded,
    /// A dead letter that was edited while the message before was published is taken away.
    ForgetsAnEditMeanwhile,
    /// Other bytes for a blob are lost in silence.
    TakesOtherBytes,
    /// Blobs are dropped an hour too early.
    DropsYoungBlobs,
    /// A batch of records is committed in two halves.
    TearsABatchOfRecords,
    /// The conditions of a batch are checked, and the changes come a moment later.
    LooksAtConditionsWithoutHoldingThem,
    /// While an update decides, the records that it has read stay as they are, and others can come to its scope.
    LocksTheRecordsOfAScopeAlone,
    /// Records are read with the revision of now and the value of a moment before.
    ReadsStaleRecords,
    /// A scan continues behind the next record.
    SkipsARecordBetweenPages,
    /// A record has the revision that it had when it last had this value.
    ReusesRevisions,
    /// Clearing empties the read model and leaves the checkpoint.
    ClearsRowsAlone,
}
