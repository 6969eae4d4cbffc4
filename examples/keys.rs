//! An operator's command line over the key manager.
//!
//! ```text
//! keys --config gate.toml --store memory:keys.json accounts create ada --plan pro
//! keys --config gate.toml --store memory:keys.json keys issue --account ada --name "My Trading Bot"
//! keys --config gate.toml --store sqlite:keys.db credits top-up ada 500 --id invoice-2026-0417
//! ```
//!
//! A new key's secret goes to standard output alone, once. All else goes to standard error, or with `--json` to standard
//! output as one document, and faults to standard error as another. The exit code is 2 for a command that cannot be read, 1
//! for one that is refused, for an import of which a part is, for an answer or an audit that could not be written, and for a
//! check of the credits that finds something wrong.

#[path = "keys/accounts.rs"]
mod accounts;
#[path = "keys/arguments.rs"]
mod arguments;
#[path = "keys/audit.rs"]
mod audit;
#[path = "keys/commands.rs"]
mod commands;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[path = "keys/credits.rs"]
mod credits;
#[path = "keys/file.rs"]
mod file;
#[cfg_attr(
    not(all(feature = "redis", any(feature = "sqlite", feature = "postgres"))),
    allow(
        dead_code,
        unused_imports,
        reason = "nobody is told of a file's changes, nor of any without Redis"
    )
)]
#[path = "keys/fleet.rs"]
mod fleet;
#[path = "keys/import.rs"]
mod import;
#[path = "keys/print.rs"]
mod print;
#[path = "keys/say.rs"]
mod say;
#[path = "keys/store.rs"]
mod store;

use std::process::ExitCode;

use arguments::{Arguments, Usage};
use commands::Done;

/// Anything that may go wrong.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        return if say::out(arguments::USAGE).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let (mut arguments, json) = Arguments::of(std::env::args().skip(1));
    match commands::run(&mut arguments).await {
        Ok(done) => tell(&done, json),
        Err(fault) if fault.is::<Usage>() => {
            say::misread(&fault, arguments::USAGE, json);
            ExitCode::from(2)
        }
        Err(fault) => {
            say::refused(&fault, json);
            ExitCode::FAILURE
        }
    }
}

/// Says what was done, and whether it was all that was asked for.
fn tell(done: &Done, json: bool) -> ExitCode {
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
