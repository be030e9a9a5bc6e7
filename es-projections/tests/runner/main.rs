//! The runner, against the store in memory.

mod catching_up;
mod controlling;
mod elsewhere;
mod failing;
mod following;
mod parking;
mod partitions;
mod reacting;
mod rebuilding;
mod sharing;
mod shutting_down;
mod side_by_side;
mod silence;
mod spy_control;
mod spy_parking;
mod spy_store;
mod starting;
mod store_troubles;
mod support;
mod taking_turns;
mod two_runners;
mod unknown_types;
mod waiting;
