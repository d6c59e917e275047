//! What can be said on the command line. Help, completions and the man page are made from this.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::span;

/// Looks at, takes and frees distributed locks on Redis and Valkey, those of Redisson included.
#[derive(Debug, Parser)]
#[command(
    name = "redlatch",
    version,
    arg_required_else_help = true,
    after_help = crate::exit::TABLE,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) at: At,
    /// Write JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the server is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct At {
    /// Address: redis://[user][:password]@host[:port][/db], rediss:// or redis+unix://; several of a cluster or of sentinels
    #[arg(
        long,
        global = true,
        env = "REDLATCH_URL",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "redis://127.0.0.1:6379"
    )]
    pub(crate) url: Vec<String>,
    /// The addresses are those of sentinels, which know the server by this name
    #[arg(long, global = true, env = "REDLATCH_SENTINEL", value_name = "NAME")]
    pub(crate) sentinel: Option<String>,
    /// Read the password from this file instead of the address
    #[arg(
        long,
        global = true,
        env = "REDLATCH_PASSWORD_FILE",
        value_name = "FILE"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// Log in as this user, with --password-file
    #[arg(long, global = true, env = "REDLATCH_USER", requires = "password_file")]
    pub(crate) user: Option<String>,
    /// Let the password go to other machines without TLS
    #[arg(long, global = true)]
    pub(crate) plaintext_password: bool,
    /// Trust the authorities in this PEM file instead of those of the system, for rediss://
    #[cfg(feature = "tls-rustls")]
    #[arg(long, global = true, env = "REDLATCH_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List locks, semaphores with permit ids, and whoever waits
    Ls(Ls),
    /// Show all that is known of one lock, semaphore or latch
    Show(Show),
    /// Watch locks in a table that is drawn anew
    Watch(Watch),
    /// Run a program while holding a lock
    #[cfg(unix)]
    Run(Run),
    /// Free a lock, whoever holds it
    Unlock(Unlock),
    /// Look for locks that are stuck, for missing rights and for settings that endanger locks
    Doctor(Doctor),
    /// Measure how fast this server locks, on a name of its own
    Bench(Bench),
    /// Write a script that completes this command's words in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual page, of one of the commands if it is named
    Man {
        /// The command
        command: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Names to list, as the server's patterns: * any text, ? any character, [ab] one of these, \ before what stands for itself
    #[arg(default_value = "*")]
    pub(crate) pattern: String,
    /// List strings that are whole numbers too: semaphores and latches look like any other counter
    #[arg(long)]
    pub(crate) counters: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The name on the server, with any prefix the application puts before it
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Names to watch, as for `ls`
    #[arg(default_value = "*")]
    pub(crate) pattern: String,
    /// Draw one picture and end, as is done where the output is no terminal
    #[arg(long)]
    pub(crate) once: bool,
    /// Time between two pictures
    #[arg(long, default_value = "1s", value_parser = span::positive)]
    pub(crate) every: Duration,
}

#[cfg(unix)]
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The lock's name on the server
    #[arg(long, value_name = "NAME")]
    pub(crate) lock: String,
    /// Which kind of lock
    #[arg(long, value_enum, default_value_t = RunKind::Plain)]
    pub(crate) kind: RunKind,
    /// Wait at most this long for the lock: 500ms, 10s, 5m, 2h; 0s tries once. Without it, for as long as it takes
    #[arg(long, value_parser = span::any, value_name = "TIME")]
    pub(crate) wait: Option<Duration>,
    /// Hold the lock for this long at most, without renewal. Without it, it is renewed for as long as the program runs
    #[arg(long, value_parser = span::positive, value_name = "TIME")]
    pub(crate) lease: Option<Duration>,
    /// How long the lock outlives this process if that dies; it is renewed every third of it
    #[arg(long, value_parser = span::positive, default_value = "30s", value_name = "TIME")]
    pub(crate) watchdog: Duration,
    /// Time between TERM and KILL for a program that is to end; where the lock cannot be renewed, it is told this long before the
    /// end of the lease. By default 5s, or a quarter of --lease or --watchdog if that is shorter
    #[arg(long, value_parser = span::any, value_name = "TIME")]
    pub(crate) grace: Option<Duration>,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) program: Vec<OsString>,
}

#[cfg(unix)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunKind {
    /// One at a time
    Plain,
    /// One at a time, in the order in which they came
    Fair,
    /// One at a time, numbered: the program has the number in REDLATCH_FENCING_TOKEN
    Fenced,
    /// Together with other readers, of a read/write lock
    Read,
    /// Alone, of a read/write lock
    Write,
    /// One at a time, without messages: for very many names
    Spin,
}

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// The name on the server
    pub(crate) name: String,
    /// Say that it is meant: whoever holds the lock goes on working until it notices
    #[arg(long, required = true)]
    pub(crate) force: bool,
    /// Why, for the record that is written
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Which locks to look at, as for `ls`
    #[arg(default_value = "*")]
    pub(crate) pattern: String,
    /// What all names begin with that this user may use, for the test of its rights
    #[arg(long, default_value = "")]
    pub(crate) prefix: String,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// How long each part takes
    #[arg(long, default_value = "2s", value_parser = span::positive)]
    pub(crate) time: Duration,
    /// How many want the lock at once in the contended part
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(crate) tasks: u32,
    /// What the name begins with, for users that may not use every name
    #[arg(long, default_value = "redlatch-bench:")]
    pub(crate) prefix: String,
}
