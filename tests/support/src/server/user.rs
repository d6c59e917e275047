//! A user that may do what the library needs and nothing else, for running whole suites under it.

use std::path::Path;
use std::time::Duration;

use super::StartError;
use crate::resp::{Direct, Value, refusal};

/// The environment variable that has servers come with this user, and [`Server::url`](super::Server::url) log in as it.
/// Any value but an empty one.
pub const TEST_USER: &str = "REDLATCH_TEST_USER";

const NAME: &str = "confined";
const PASSWORD: &str = "confined-password";
/// What the library itself says it needs; a test of the library compares.
const RULES: &str = include_str!("rules.txt");

pub(crate) fn wanted() -> bool {
    std::env::var_os(TEST_USER).is_some_and(|value| !value.is_empty())
}

pub(crate) fn url(confined: bool, port: u16) -> String {
    if confined {
        format!("redis://{NAME}:{PASSWORD}@127.0.0.1:{port}")
    } else {
        format!("redis://127.0.0.1:{port}")
    }
}

/// Words for the server's command line, so that the user is there from the first moment on, also after a restart.
pub(super) fn arguments(folder: &Path) -> Result<Vec<String>, StartError> {
    let file = folder.join("users.acl");
    let rules = RULES.trim();
    let text = format!("user default on nopass ~* &* +@all\nuser {NAME} on >{PASSWORD} {rules}\n");
    std::fs::write(&file, text)
        .map_err(|error| StartError::new(format!("{}: {error}", file.display())))?;
    Ok(vec!["--aclfile".into(), file.display().to_string()])
}

/// What the server refused to this user, as far as the server answers.
pub(super) fn refused(direct: &Direct) -> Vec<String> {
    direct.set_timeout(Duration::from_secs(2));
    let Ok(Value::Array(entries)) = direct.try_cmd(&["ACL", "LOG"]) else {
        return Vec::new();
    };
    let entries = entries.iter().map(refusal);
    let ours = entries.filter(|entry| entry.get("username").is_some_and(|name| name == NAME));
    ours.map(|entry| format!("{entry:?}")).collect()
}
