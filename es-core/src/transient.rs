//! Errors that are expected to pass.

use std::{error::Error, io, sync::Arc};

use crate::error::{StoreError, TransientFailure};

/// Returns whether an error is expected to pass, so that the same call can succeed later. This is the case if the error
/// or one of its causes is a [transient](StoreError::is_transient) error of a store, or a [`TransientFailure`].
///
/// The function examines the whole chain of [sources](Error::source), including errors that are shared, boxed, or in an
/// [`io::Error`]. The first error of a store decides. It also looks inside an [`ExecuteError`](crate::ExecuteError) of
/// any aggregate.
///
/// ```
/// use es_core::{LoadError, StoreError, is_transient};
/// let busy = StoreError::Busy { waiting_for: "a lock".to_owned(), source: None };
/// assert!(is_transient(&LoadError::from(busy)));
/// assert!(!is_transient(&std::io::Error::other("no route")));
/// ```
pub fn is_transient(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .find_map(|cause| match cause.downcast_ref::<StoreError>() {
            Some(store_error) => Some(store_error.is_transient()),
            None => cause.is::<TransientFailure>().then_some(true),
        })
        .unwrap_or(false)
}

/// Returns an error, its cause, the cause of that, and so on. It includes those that [`Error::source`] skips because
/// they are shared, boxed, or in an [`io::Error`].
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| within(error).or_else(|| error.source()))
}

/// Returns the error that another one wraps without reporting it as its source.
fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    type Shared = Arc<dyn Error + Send + Sync>;
    if let Some(shared) = error.downcast_ref::<Shared>() {
        return Some(&**shared);
    }
    if let Some(shared) = error.downcast_ref::<Arc<StoreError>>() {
        return Some(&**shared);
    }
    if let Some(boxed) = error.downcast_ref::<Box<StoreError>>() {
        return Some(&**boxed);
    }
    let custom = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(custom)
}

impl StoreError {
    /// Returns whether the same call can succeed if it is tried again unchanged.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{BoxError, ExecuteError, HandlerError, LoadError, ProjectionError};

    fn busy() -> StoreError {
        StoreError::Busy { waiting_for: "a lock".to_owned(), source: None }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the application's own")]
    struct Own(#[source] BoxError);

    #[derive(Debug, thiserror::Error)]
    #[error("a refusal that came of a look into the store")]
    struct Refusal(#[source] StoreError);

    #[test]
    fn a_store_that_is_away_is_found_behind_every_error_of_this_crate() {
        let errors: [BoxError; 10] = [
            Box::new(busy()),
            Box::new(LoadError::Store(busy())),
            Box::new(ExecuteError::<Refusal>::Store(busy())),
            Box::new(ExecuteError::Rejected(Refusal(busy()))),
            Box::new(ExecuteError::Rejected(busy())),
            Box::new(ProjectionError::Store(busy())),
            Box::new(crate::view::ViewError::Store(busy())),
            Box::new(Arc::new(busy())),
            Box::new(Box::new(LoadError::Store(busy()))),
            busy().for_each_caller(2).remove(0).into(),
        ];
        for error in errors {
            assert!(is_transient(&*error), "{error:?}");
            let deep = Own(Box::new(io::Error::other(Own(error))));
            assert!(is_transient(&deep), "{deep:?}");
            let shared: Arc<dyn Error + Send + Sync> = Arc::new(deep);
            assert!(is_transient(&shared), "{shared:?}");
        }
        let marked = Own(HandlerError::transient(io::Error::other("no answer")).into_source());
        assert!(is_transient(&marked));
    }

    #[test]
    fn what_a_store_will_never_do_is_not_transient_whatever_caused_it() {
        let refused = StoreError::Refused { reason: "no" };
        assert!(!is_transient(&ExecuteError::<Refusal>::Store(refused)));
        let failed = StoreError::Backend { source: Box::new(busy()) };
        assert!(!is_transient(&Own(Box::new(failed))));
        assert!(!is_transient(&io::Error::from(io::ErrorKind::NotFound)));
    }
}
