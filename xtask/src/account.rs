//! The account that servers run as: PostgreSQL and PgBouncer refuse to run as root.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::ServerError;
use crate::process::run_quietly;

/// Accounts that root hands servers to, in this order.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The account that servers run as: the caller's own, or an unprivileged one where the caller is root.
#[derive(Debug, Clone)]
pub(crate) enum Account {
    /// The caller is not root.
    Own,
    /// The caller is root and becomes this user.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// Chooses the account for this process.
    pub(crate) fn choose() -> Result<Self, ServerError> {
        if !is_root()? {
            return Ok(Self::Own);
        }
        let path = Path::new("/etc/passwd");
        let users = fs::read_to_string(path).map_err(ServerError::io("read", path))?;
        UNPRIVILEGED.iter().find_map(|name| entry(&users, name)).ok_or(ServerError::NoUnprivilegedAccount)
    }

    /// The user name, for messages.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own => "(your own)",
            Self::Other { name, .. } => name,
        }
    }

    /// Makes `command` run as this account, undisturbed by the caller's `PG*` variables.
    pub(crate) fn apply(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Hands a file or folder over to this account.
    pub(crate) fn take_over(&self, path: &Path) -> Result<(), ServerError> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => {
                chown(path, Some(*uid), Some(*gid)).map_err(ServerError::io("change the owner of", path))
            }
        }
    }

    /// Hands a folder over to this account, with everything in it.
    pub(crate) fn take_over_all(&self, folder: &Path) -> Result<(), ServerError> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => {
                let mut command = Command::new("chown");
                command.arg("-R").arg(format!("{uid}:{gid}")).arg(folder);
                run_quietly(command)
            }
        }
    }

    /// Whether this account may write into the folder `path`.
    pub(crate) fn can_write(&self, path: &Path) -> bool {
        self.test(r#"test -d "$1" && test -w "$1" && test -x "$1""#, path)
    }

    /// Whether this account may run the program `path`.
    pub(crate) fn can_execute(&self, path: &Path) -> bool {
        self.test(r#"test -f "$1" && test -x "$1""#, path)
    }

    fn test(&self, script: &str, path: &Path) -> bool {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(path);
        command.current_dir("/").stdin(Stdio::null());
        self.apply(&mut command);
        command.status().is_ok_and(|status| status.success())
    }
}

/// Whether this process acts as root.
pub(crate) fn is_root() -> Result<bool, ServerError> {
    let path = Path::new("/proc/self/status");
    let status = fs::read_to_string(path).map_err(ServerError::io("read", path))?;
    Ok(effective_uid(&status) == Some(0))
}

/// Reads the effective user id from the text of `/proc/PID/status`.
fn effective_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

/// Finds the account `name` in the text of `/etc/passwd`.
fn entry(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        Some(Account::Other {
            name: name.to_owned(),
            uid: fields.nth(1)?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let users = "postgresql:x:7:8::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/bash\n";
        let found = entry(users, "postgres");
        assert!(matches!(found, Some(Account::Other { uid: 101, gid: 104, .. })), "{found:?}");
        assert!(entry(users, "nobody").is_none());
    }

    #[test]
    fn the_effective_user_id_decides_who_is_root() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t1000\t0\n"), Some(0));
    }
}
