//! One error for several callers.

use std::sync::Arc;

use crate::error::StoreError;

impl StoreError {
    /// Returns the same error for every caller whose append was part of one failed call. Stores that combine appends
    /// use it. The kind is kept if it tells a caller what to do, and the error itself becomes the source.
    pub fn for_each_caller(self, callers: usize) -> Vec<Self> {
        if callers == 1 {
            return vec![self];
        }
        let shared = Arc::new(self);
        let source = || Box::new(SharedError(Arc::clone(&shared)));
        let copy = || match &*shared {
            Self::Busy { waiting_for, .. } => Self::Busy { waiting_for: waiting_for.clone(), source: Some(source()) },
            Self::Setup { problem, remedy, .. } => {
                Self::Setup { problem: problem.clone(), remedy: remedy.clone(), source: Some(source()) }
            }
            Self::Refused { reason } => Self::Refused { reason },
            Self::Unavailable { .. } => Self::Unavailable { source: source() },
            _ => Self::Backend { source: source() },
        };
        (0..callers).map(|_| copy()).collect()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SharedError(#[source] Arc<StoreError>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_what_to_do() {
        let busy = || StoreError::Busy { waiting_for: "the lock".to_owned(), source: None };
        for callers in [1, 3] {
            let copies = busy().for_each_caller(callers);
            assert_eq!(copies.len(), callers);
            assert!(copies.iter().all(|copy| copy.to_string() == busy().to_string()), "{copies:?}");
        }
        let lost = StoreError::Unavailable { source: "cut".into() }.for_each_caller(2);
        assert!(lost.iter().all(StoreError::is_transient));
        assert!(std::error::Error::source(&lost[0]).is_some());
    }
}
