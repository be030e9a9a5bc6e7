//! The ways in which a broker can be broken.

macro_rules! defects {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One thing that a broker does wrong.
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
    /// Some messages are confirmed and not kept.
    ConfirmsWhatItDrops,
    /// What was not confirmed is said to be.
    ConfirmsDuringOutages,
    /// A batch is kept in the opposite order.
    ReordersAKey,
    /// A key is given to several members at once.
    ForgetsKeys,
    /// What a member holds when it is closed is gone.
    LosesOnClose,
    /// What a member holds when it is dropped is gone.
    LosesOnDrop,
    /// What is published twice is there twice, though it says it is not.
    DeliversTwice,
    /// Extension attributes are not carried.
    LosesHeaders,
    /// JSON is written anew on the way.
    RewritesContent,
    /// After a failed message the others of its key are published.
    PassesTheFailed,
    /// Acknowledgements are forgotten.
    ForgetsAcks,
    /// Unsettled messages stay where they are.
    NeverTakesBack,
    /// More time is not given.
    IgnoresExtend,
    /// Retries come at once.
    IgnoresDelay,
    /// Retries do not come.
    ForgetsRetries,
    /// Every delivery is the first.
    CountsNothing,
    /// What is rejected is gone.
    LosesRejected,
    /// A member may hold everything.
    IgnoresPrefetch,
    /// More comes than was asked for.
    GivesTooMany,
    /// Every wildcard stands for everything.
    WidensWildcards,
    /// What nobody receives is confirmed.
    ConfirmsUnroutable,
    /// What is missing is made.
    MakesWhatIsMissing,
    /// All subscriptions share one queue.
    SharesOneQueue,
    /// Every member has a queue of its own.
    CopiesToMembers,
    /// What is larger than it says is taken.
    TakesTooLarge,
    /// What is received is acknowledged before it is handed over.
    AcksOnReceipt,
    /// After its first failure a publisher works no more.
    PublisherNeverComesBack,
    /// Publishing waits for the broker to come back.
    PublisherHangs,
    /// After an outage a member says that it is closed.
    MemberNeverComesBack,
    /// A message that was published to one topic counts as a duplicate in another.
    ConfusesTopics,
    /// A restart leaves nothing.
    ForgetsOnRestart,
}
