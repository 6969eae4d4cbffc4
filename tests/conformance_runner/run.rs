//! Runs all files of a folder, and tells how each case went.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Deserialize;

use crate::data::{Data, Fault};
use crate::fixture::Stage;
use crate::steps::Case;

/// The capabilities of this crate that a case may need.
const CAPABILITIES: &[&str] = &["key management"];

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Runs them, on the framework whose driver the test target has.
pub(crate) fn run() -> ExitCode {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let outside = std::env::var_os("CONFORMANCE_DIR").map(PathBuf::from);
    let folder = outside.as_deref().unwrap_or(&own);
    let mut tally = Tally::default();
    let files = match files(folder) {
        Ok(files) => files,
        Err(fault) => {
            println!("FAIL {}: {fault}", folder.display());
            tally.failed += 1;
            Vec::new()
        }
    };
    for file in files {
        if let Err(fault) = run_file(&file, &mut tally) {
            println!("FAIL {}: {fault}", file.display());
            tally.failed += 1;
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    if files.is_empty() { Err("the folder holds no conformance file".into()) } else { Ok(files) }
}

fn run_file(file: &Path, tally: &mut Tally) -> Result<(), Fault> {
    let text = std::fs::read_to_string(file)?;
    let data: Data = serde_json::from_str(&text)?;
    let Cases { cases } = serde_json::from_str(&text)?;
    if cases.is_empty() {
        return Err("the file holds no case".into());
    }
    for case in cases {
        let able = case.needs.as_deref().is_none_or(|needed| CAPABILITIES.contains(&needed));
        let outcome =
            if able { run_case(&data, &case) } else { Err("a capability that does not exist".into()) };
        match outcome {
            Ok(()) => {
                println!("PASS {}: {}", data.provider, case.name);
                tally.passed += 1;
            }
            Err(fault) => {
                println!("FAIL {}: {}: {fault}", data.provider, case.name);
                tally.failed += 1;
            }
        }
    }
    Ok(())
}

fn run_case(data: &Data, case: &Case) -> Result<(), Fault> {
    if case.steps.is_empty() {
        return Err("the case has no step".into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stage = Stage::set(data)?;
        for (place, step) in case.steps.iter().enumerate() {
            stage.play(step).await.map_err(|fault| format!("step {}: {fault}", place + 1))?;
        }
        Ok(())
    })
}
