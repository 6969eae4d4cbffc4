//! Several nodes of one service over one PostgreSQL and one Redis: a revocation and a shared limit go from node to node.
//!
//! ```text
//! fleet --postgres postgres://gate@127.0.0.1/gate --redis redis://127.0.0.1:6379
//! ```
//!
//! It starts itself once more for each node (`fleet node …`), so that nothing is shared but the two servers. What stands
//! behind a node's gate is in `fleet/back_ends.rs`: it is what the README recommends for a fleet. Ctrl-C ends it, and its
//! nodes with it.

#[path = "fleet/back_ends.rs"]
mod back_ends;
#[path = "fleet/client.rs"]
mod client;
#[path = "fleet/gate.rs"]
mod gate;
#[path = "fleet/housekeeping.rs"]
mod housekeeping;
#[path = "fleet/interruption.rs"]
mod interruption;
#[path = "fleet/node.rs"]
mod node;
#[path = "fleet/nodes.rs"]
mod nodes;
#[path = "fleet/options.rs"]
mod options;
#[path = "fleet/show.rs"]
mod show;

use std::process::ExitCode;

use options::{Options, USAGE};

/// Anything that may go wrong.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::of(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("error: {fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = if options.is_node { node::run(&options).await } else { show::run(&options).await };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}
