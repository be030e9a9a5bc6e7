//! How much each workload does.

/// The numbers of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// W1 and F1: commands, rows.
    pub single: u64,
    /// W2 and F2: commands, rows.
    pub shared: u64,
    /// W2: the aggregates that they go to.
    pub accounts: u64,
    /// W3, W9 and F3: events, rows.
    pub bulk: u64,
    /// W4: events of the one aggregate.
    pub history: u64,
    /// W4: how often it is loaded.
    pub loads: u64,
    /// W5 and F4: events of the log.
    pub log: u64,
    /// W5: streams in it.
    pub log_streams: u64,
    /// W10: events of the log.
    pub rebuilt: u64,
    /// W6: appends.
    pub appends: u64,
    /// W8: events that the store holds already, from step to step.
    pub stored: &'static [u64],
}

impl Scale {
    /// What the figures in the documentation are measured with.
    pub const FULL: Self = Self {
        single: 2_000,
        shared: 20_000,
        accounts: 1_000,
        bulk: 100_000,
        history: 10_000,
        loads: 30,
        log: 200_000,
        log_streams: 2_000,
        rebuilt: 1_000_000,
        appends: 500,
        stored: &[1_000_000],
    };

    /// The same, with a larger store.
    pub const LARGE: Self = Self { stored: &[1_000_000, 10_000_000], ..Self::FULL };

    /// Enough for a first look.
    pub const QUICK: Self = Self {
        single: 500,
        shared: 3_000,
        accounts: 1_000,
        bulk: 20_000,
        history: 10_000,
        loads: 5,
        log: 40_000,
        log_streams: 500,
        rebuilt: 40_000,
        appends: 60,
        stored: &[50_000],
    };

    /// Enough to see that every workload runs.
    pub const SMOKE: Self = Self {
        single: 20,
        shared: 200,
        accounts: 50,
        bulk: 5_000,
        history: 100,
        loads: 2,
        log: 2_000,
        log_streams: 50,
        rebuilt: 2_000,
        appends: 10,
        stored: &[2_000],
    };
}
