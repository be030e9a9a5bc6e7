//! Errors, with one enum per layer. Each variant says what the caller should do.

mod codec;
mod execute;
mod handler;
mod invalid_name;
mod store;

pub use codec::{DecodeError, EncodeError};
pub use execute::{ExecuteError, LoadError};
pub use handler::{HandlerError, ProjectionError, TransientFailure};
pub use invalid_name::{InvalidName, NameProblem};
pub use store::StoreError;

/// Any error from the caller's code or another crate.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
