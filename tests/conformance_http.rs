//! Runs the same conformance files over sockets.

#[path = "../examples/providers/data.rs"]
mod data;
#[path = "conformance_runner/http_driver.rs"]
mod driver;
#[path = "conformance_runner/expect.rs"]
mod expect;
#[path = "conformance_runner/fixture.rs"]
mod fixture;
#[path = "conformance_runner/run.rs"]
mod run;
#[path = "conformance_runner/steps.rs"]
mod steps;

fn main() -> std::process::ExitCode {
    run::run()
}
