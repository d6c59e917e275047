//! What servers say when they refuse, sorted.

/// Why the server refused a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// `OOM`: the server may not use more memory.
    OutOfMemory,
    /// `READONLY`: the server is a replica.
    ReadOnly,
    /// `NOREPLICAS`: too few replicas for writes.
    NoReplicas,
    /// `LOADING`: the server is reading its data.
    Loading,
    /// `BUSY`: a script blocks the server.
    Busy,
    /// `MASTERDOWN`: a replica without its primary.
    MasterDown,
    /// `CLUSTERDOWN`, `MOVED`, `ASK`, `TRYAGAIN`: the cluster sends us elsewhere.
    Cluster,
    /// `NOPERM`: the user lacks a right.
    NoPermission,
    /// `NOAUTH`, `WRONGPASS`: not authenticated.
    NotAuthenticated,
    /// A certificate was not accepted: the server's by this client, or this client's by the server. Nothing was sent.
    Certificate,
    /// A password would have gone to another machine without TLS: see
    /// [`allow_plaintext_password`](crate::ClientBuilder::allow_plaintext_password). Nothing was sent.
    PlaintextPassword,
    /// `WRONGTYPE`: the key is something else.
    WrongType,
    /// `NOSCRIPT`: the script is not loaded; handled inside this crate.
    NoScript,
    /// `max number of clients reached`.
    TooManyClients,
    /// The fake server of [`test_util`](crate::test_util) does not know the request; nothing was done.
    #[cfg(feature = "test-util")]
    Unsupported,
    /// Any other error reply.
    Other,
}

impl Refusal {
    /// Sorts the text of an error; `None` when it does not look like an error *reply* at all.
    ///
    /// Servers before 7.0 wrap an error that occurs inside a script (`ERR Error running script ...: OOM ...`), so the
    /// code is looked for anywhere in the text.
    pub(crate) fn classify(text: &str) -> Option<Self> {
        const CODES: [(&str, Refusal); 17] = [
            ("NOSCRIPT", Refusal::NoScript),
            ("WRONGTYPE", Refusal::WrongType),
            ("OOM", Refusal::OutOfMemory),
            ("READONLY", Refusal::ReadOnly),
            ("NOREPLICAS", Refusal::NoReplicas),
            ("LOADING", Refusal::Loading),
            ("BUSY", Refusal::Busy),
            ("MASTERDOWN", Refusal::MasterDown),
            ("CLUSTERDOWN", Refusal::Cluster),
            ("MOVED", Refusal::Cluster),
            ("ASK", Refusal::Cluster),
            ("TRYAGAIN", Refusal::Cluster),
            ("CROSSSLOT", Refusal::Other),
            ("NOPERM", Refusal::NoPermission),
            ("NOAUTH", Refusal::NotAuthenticated),
            ("WRONGPASS", Refusal::NotAuthenticated),
            ("MISCONF", Refusal::Other),
        ];
        const PHRASES: [(&str, Refusal); 5] = [
            ("ACL failure in script", Refusal::NoPermission),
            ("command not allowed when used memory", Refusal::OutOfMemory),
            ("can't write against a read only replica", Refusal::ReadOnly),
            ("Not enough good replicas", Refusal::NoReplicas),
            (
                "can't run this command or subcommand",
                Refusal::NoPermission,
            ),
        ];
        let word = |code: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric())
                .any(|part| part == code)
        };
        let found = CODES
            .iter()
            .find(|(code, _)| text.starts_with(code) || (text.starts_with("ERR") && word(code)))
            .or_else(|| PHRASES.iter().find(|(phrase, _)| text.contains(phrase)));
        if let Some((_, refusal)) = found {
            return Some(*refusal);
        }
        if text.contains("max number of clients") {
            return Some(Self::TooManyClients);
        }
        text.starts_with("ERR ").then_some(Self::Other)
    }

    /// Whether waiting may cure it.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::ReadOnly
                | Self::NoReplicas
                | Self::Loading
                | Self::Busy
                | Self::MasterDown
                | Self::Cluster
                | Self::NoScript
                | Self::TooManyClients
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_replies_of_old_and_new_servers_are_told_apart() {
        let cases = [
            (
                "NOSCRIPT No matching script. Please use EVAL.",
                Some(Refusal::NoScript),
            ),
            ("NOSCRIPT No matching script.", Some(Refusal::NoScript)),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Some(Refusal::WrongType),
            ),
            (
                "ERR Error running script (call to f_c0ffee): @user_script:9: WRONGTYPE Operation against a key",
                Some(Refusal::WrongType),
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Some(Refusal::OutOfMemory),
            ),
            (
                "ERR Error running script (call to f_c0ffee): @user_script:10: @user_script: 10: -OOM command not allowed when used memory > 'maxmemory'.",
                Some(Refusal::OutOfMemory),
            ),
            (
                "ERR Error running script (call to f_c0ffee): @user_script:10: @user_script: 10: -READONLY You can't write against a read only replica.",
                Some(Refusal::ReadOnly),
            ),
            (
                "READONLY You can't write against a read only replica.",
                Some(Refusal::ReadOnly),
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Some(Refusal::Loading),
            ),
            ("BUSY Valkey is busy running a script.", Some(Refusal::Busy)),
            (
                "NOPERM this user has no permissions to run the 'evalsha' command",
                Some(Refusal::NoPermission),
            ),
            (
                "ERR ACL failure in script: User u has no permissions to run the 'pexpire' command script: on @user_script:11.",
                Some(Refusal::NoPermission),
            ),
            ("MOVED 866 127.0.0.1:7001", Some(Refusal::Cluster)),
            (
                "ERR max number of clients reached",
                Some(Refusal::TooManyClients),
            ),
            ("ERR something else", Some(Refusal::Other)),
            ("Connection closed.", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Refusal::classify(text), expected, "{text}");
        }
    }
}
