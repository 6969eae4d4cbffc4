//! The operator's command line: manages keys, accounts and credits in a file or a database, and shows usage.
//!
//! ```text
//! tollgate --config gate.toml --store memory:keys.json --create accounts create ada --plan pro
//! tollgate --config gate.toml --store memory:keys.json keys issue --account ada --name "My Trading Bot"
//! tollgate --config gate.toml --store sqlite:keys.db credits top-up ada 500 --id invoice-2026-0417
//! tollgate --config gate.toml --store sqlite:keys.db usage account ada --step day
//! ```
//!
//! A new key's secret is written to standard output, once, and other text to standard error. With `--json`, the result
//! is written to standard output as one document, and errors are written to standard error as another. The exit code is
//! 2 for a command that cannot be parsed. It is 1 for a command that is rejected, for an import of which a part is
//! rejected, for a result or an audit log that could not be written, and for a check of the credits that finds a
//! problem.

mod accounts;
mod arguments;
mod audit;
mod commands;
mod credits;
mod file;
mod fleet;
mod import;
mod limits;
mod print;
mod say;
mod store;
mod usage;
#[path = "../../words.rs"]
mod words;

use std::process::ExitCode;

use arguments::{Arguments, Usage};
use commands::CommandResult;

/// Any error of a command.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words = match arguments::words(std::env::args_os().skip(1)) {
        Ok(words) => words,
        Err(fault) => {
            say::misread(&fault.into(), false);
            return ExitCode::from(2);
        }
    };
    if words.iter().any(|word| word == "--help" || word == "-h") {
        return if say::out(arguments::USAGE).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let (mut arguments, json) = Arguments::of(words.into_iter());
    match commands::run(&mut arguments).await {
        Ok(done) => tell(&done, json),
        Err(fault) if fault.is::<Usage>() => {
            say::misread(&fault, json);
            ExitCode::from(2)
        }
        Err(fault) => {
            say::refused(&fault, json);
            ExitCode::FAILURE
        }
    }
}

/// Prints the result of a command. Returns the exit code for a success only if everything requested was done and
/// written.
fn tell(done: &CommandResult, json: bool) -> ExitCode {
    let printed = done.answer.print(json);
    if let Err(error) = &printed {
        say::unheard(error, done.answer.secret_of(), json);
    }
    if let Some(note) = done.note {
        say::note(note, json);
    }
    if let Some(problem) = &done.unaudited {
        say::refused(&problem.clone().into(), json);
    }
    let whole = printed.is_ok() && done.unaudited.is_none() && !done.answer.is_alarming();
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
