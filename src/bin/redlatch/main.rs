//! `redlatch`, the command: looks at, takes and frees locks from a shell. See `docs/command.md`.

mod args;
mod bench;
mod doctor;
mod exit;
mod look;
mod ls;
mod print;
#[cfg(unix)]
mod run;
mod server;
mod show;
mod span;
mod unlock;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, error::ErrorKind};

use self::{
    args::{Cli, Command},
    exit::{Code, Failure},
};

fn main() -> ExitCode {
    // A word for this command alone, which is in no help.
    #[cfg(unix)]
    if let Some(failure) = run::become_program(std::env::args_os()) {
        eprintln!("redlatch: {failure}");
        return failure.code.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Code::Done.into(),
                _ => Code::Usage.into(),
            };
        }
    };
    let json = cli.json;
    let outcome = match &cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "redlatch",
                &mut std::io::stdout(),
            );
            Ok(Code::Done)
        }
        Command::Man { command } => manual(command.as_deref()),
        _ => on_a_runtime(&cli),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => {
            if json {
                let code = failure.code.number();
                let what = serde_json::json!({"error": failure.message, "exit_code": code});
                eprintln!("{}", print::json(&what));
            } else {
                eprintln!("redlatch: {failure}");
            }
            failure.code.into()
        }
    }
}

fn on_a_runtime(cli: &Cli) -> Result<Code, Failure> {
    // One thread: a program that is started lives as long as the thread that has started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::server(format!("no runtime: {error}")))?;
    runtime.block_on(dispatch(cli))
}

async fn dispatch(cli: &Cli) -> Result<Code, Failure> {
    match &cli.command {
        #[cfg(unix)]
        Command::Run(run) => run::run(&cli.at, run, cli.json).await,
        Command::Ls(ls) => ls::ls(&cli.at, ls, cli.json).await,
        Command::Show(show) => show::show(&cli.at, show, cli.json).await,
        Command::Unlock(unlock) => unlock::unlock(&cli.at, unlock, cli.json).await,
        Command::Doctor(doctor) => doctor::doctor(&cli.at, doctor, cli.json).await,
        Command::Watch(watch) => watch::watch(&cli.at, watch, cli.json).await,
        Command::Bench(bench) => bench::bench(&cli.at, bench, cli.json).await,
        // These ask no server.
        Command::Completions { .. } | Command::Man { .. } => Ok(Code::Done),
    }
}

/// The manual page of this command, or of one of its own.
fn manual(of: Option<&str>) -> Result<Code, Failure> {
    let mut root = Cli::command();
    root.build();
    let page = match of {
        None => root,
        Some(name) => {
            let found = root
                .get_subcommands()
                .find(|command| command.get_name() == name);
            let found = found.filter(|command| !command.is_hide_set());
            let found =
                found.ok_or_else(|| Failure::usage(format!("there is no command {name:?}")))?;
            found.clone()
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| Failure::usage(error.to_string()))?;
    print::lines([String::from_utf8_lossy(&text).into_owned()]);
    Ok(Code::Done)
}
