//! An operator's command line over the key manager.
//!
//! ```text
//! keys --config gate.toml --store memory:keys.json accounts create ada --plan pro
//! keys --config gate.toml --store memory:keys.json keys issue --account ada --name "My Trading Bot"
//! keys --config gate.toml --store sqlite:keys.db credits top-up ada 500 --id invoice-2026-0417
//! ```
//!
//! A new key's secret goes to standard output alone, once. All else goes to standard error, or with `--json` to standard
//! output as one document. The exit code is 2 for a command that cannot be read, 1 for one that is refused, and
//! for a check of the credits that finds something wrong.

#[path = "keys/arguments.rs"]
mod arguments;
#[path = "keys/commands.rs"]
mod commands;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[path = "keys/credits.rs"]
mod credits;
#[path = "keys/file.rs"]
mod file;
#[path = "keys/print.rs"]
mod print;
#[path = "keys/store.rs"]
mod store;

use std::process::ExitCode;

use arguments::{Arguments, Usage};

/// Anything that may go wrong.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        println!("{}", arguments::USAGE);
        return ExitCode::SUCCESS;
    }
    let (mut arguments, json) = Arguments::of(std::env::args().skip(1));
    match commands::run(&mut arguments).await {
        Ok(answer) => {
            answer.print(json);
            if answer.is_alarming() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(fault) if fault.is::<Usage>() => {
            eprintln!("error: {fault}\n\n{}", arguments::USAGE);
            ExitCode::from(2)
        }
        Err(fault) => {
            print::refused(&fault, json);
            ExitCode::FAILURE
        }
    }
}
