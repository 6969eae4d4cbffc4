//! Several nodes of one service with one PostgreSQL and one Redis server. A revocation and a rate limit apply to all nodes.
//!
//! ```text
//! fleet --postgres postgres://gate@127.0.0.1/gate --redis redis://127.0.0.1:6379
//! ```
//!
//! It starts one process for each node (`fleet node …`), so the nodes share only the two servers. `fleet/back_ends.rs`
//! contains the back ends of a node, as the README recommends them for several nodes. Ctrl-C stops the example and its nodes.

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

/// An error of the example.
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
