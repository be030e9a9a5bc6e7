//! Where things are in this workspace.

use std::path::{Path, PathBuf};

/// Real bank transactions, where a checkout has them beside it.
const REAL_TRANSACTIONS: &str = "../shared/data/berka-transactions.csv";

/// The root folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// The folder for servers installed for this workspace alone (`.tools`, not versioned).
#[must_use]
pub fn tools_folder() -> PathBuf {
    root().join(".tools")
}

/// The file of real bank transactions as an absolute path, where this machine has it.
#[must_use]
pub fn real_transactions() -> Option<PathBuf> {
    root().join(REAL_TRANSACTIONS).canonicalize().ok()
}
