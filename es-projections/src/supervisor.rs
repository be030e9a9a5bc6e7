//! Restarts a consumer whose task ended unexpectedly.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use crate::{
    backoff::Backoff,
    consumer_loop::ConsumerLoop,
    consumer_state::Phase,
    error::{HandlerPanic, RunnerError},
    goal::Goal,
    limits,
    stop::Stop,
};

/// Runs a consumer until it is asked to stop, despite panics of this library and of the store. Panics of handlers are
/// caught earlier.
pub(crate) async fn follow(consumer: &ConsumerLoop, stop: Stop) -> Result<(), RunnerError> {
    let mut restarts = 0;
    loop {
        let started_at = Instant::now();
        let mut unheard = |_| {};
        let driving = AssertUnwindSafe(consumer.drive(Goal::Follow, stop.clone(), &mut unheard)).catch_unwind();
        let problem = match driving.await {
            Ok(result) => return result,
            Err(payload) => HandlerPanic::new(payload.as_ref()).message().to_owned(),
        };
        if started_at.elapsed() >= limits::RESTARTS_FORGOTTEN_AFTER {
            restarts = 0;
        }
        let name = consumer.name();
        if restarts == limits::TASK_RESTARTS {
            let error = RunnerError::TaskEnded { consumer: name.clone(), restarts, problem };
            tracing::error!(consumer = %name, %error, "consumer stopped");
            consumer.consumer_state().set_phase(Phase::Stopped(error.clone()));
            return Err(error);
        }
        restarts += 1;
        let wait = Backoff::new(limits::FIRST_RESTART_WAIT, limits::MAX_RESTART_WAIT).wait(restarts);
        tracing::error!(consumer = %name, attempt = restarts, ?wait, problem, "its task ended unexpectedly; starting it again");
        let next_try = Instant::now() + wait;
        consumer.consumer_state().set_phase(Phase::Restarting { attempt: restarts, next_try, problem });
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.requested() => return Ok(()),
        }
    }
}
