//! Instructions and cache misses per request that the gate adds to a trivial service, over 10,000 keys, counted by
//! callgrind: for admitted and for denied requests, compared with the hand-written middleware.
//!
//! ```text
//! cargo bench --bench counts -- --parallel=2
//! ```
//!
//! It needs valgrind and `gungraun-runner` in the version of `gungraun` in Cargo.lock. `.ci/run` installs both.
//!
//! A figure is the count of a stack less the count of the bare service that is sent the same requests. Where a request's key
//! is hashed, the instructions of SHA-256's compression function are subtracted too: valgrind does not support the SHA
//! extensions, and counts the implementation in software. Misses are those of reads and writes of data. Counts do not
//! depend on the load of the machine.
//!
//! The L1 cache has 32 KiB, and the last level 1 MiB in 16 ways. The L1 cache of the table has 64 ways, so that its misses
//! hardly depend on addresses. `l1_misses_added` is of a cache with 8 ways. There it also counts which addresses compete
//! for a set. These depend on the allocator and on the linker: the same gate was counted with 46 to 73 misses in programs
//! that differed elsewhere.
//!
//! The bench fails if a figure of the gate's table exceeds the one in `benches/counts.json` by more than 5 %. All figures are
//! written to `counts.json` in the target directory: copy that file to accept them.
//!
//! `callgrind_annotate` shows the functions of a profile. The profiles are in `gungraun/tollgate/counts` of the target
//! directory.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "gungraun's macros make such items"
)]
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

mod harness;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use axum::extract::Request;
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group};
use harness::drive::call;
use harness::gate;
use harness::handwritten::{self, ONCE, UNLIMITED};
use harness::world::{self, KEYS, Traffic};
use sha2::block_api::compress256;
use tollgate::TollgateLayer;
use tollgate::adapter::Peer;
use tollgate::gate::AttemptLimit;
use tollgate::usage::UsageOptions;
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of requests that are counted.
const REQUESTS: usize = 10_000;

/// The number of addresses whose requests were denied before, where failed attempts are limited.
const ADDRESSES: u32 = 100_000;

/// A kind of request, by its outcome.
#[derive(Clone, Copy)]
pub enum Kind {
    Admitted,
    Missing,
    Malformed,
    Unknown,
    Limited,
}

impl Kind {
    /// The number of keys. A request that is denied before the look-up of its key does not depend on it.
    fn keys(self) -> usize {
        match self {
            Self::Missing | Self::Malformed => 1,
            Self::Admitted | Self::Unknown | Self::Limited => KEYS,
        }
    }
}

/// A service and its requests.
pub struct Case {
    answer: Box<dyn FnMut(Request)>,
    traffic: Traffic,
}

impl Case {
    /// The warm-up before a case is counted: one request with each known key, or some requests without a known key.
    fn new(kind: Kind, mut service: impl Service<Request> + 'static) -> Self {
        let answer = Box::new(move |request| drop(black_box(call(&mut service, request))));
        let traffic = match kind {
            Kind::Admitted | Kind::Limited => Traffic::uniform(KEYS),
            Kind::Missing => Traffic::missing(),
            Kind::Malformed => Traffic::malformed(),
            Kind::Unknown => Traffic::unknown(KEYS),
        };
        let mut case = Self { answer, traffic };
        match kind {
            Kind::Admitted | Kind::Limited => {
                let traffic = std::mem::replace(&mut case.traffic, Traffic::each(KEYS));
                case.send(KEYS);
                case.traffic = traffic;
            }
            _ => case.send(1_000),
        }
        case
    }

    fn send(&mut self, requests: usize) {
        for _ in 0..requests {
            (self.answer)(self.traffic.request());
        }
    }
}

fn bare_case(kind: Kind) -> Case {
    Case::new(kind, service_fn(world::handler))
}

fn gate_case(kind: Kind) -> Case {
    let builder = match kind {
        Kind::Limited => gate::limited(kind.keys()),
        _ => gate::with_keys(kind.keys()),
    };
    let gate = builder.without_principal().build().expect("the gate is complete");
    Case::new(kind, TollgateLayer::new(gate).layer(service_fn(world::handler)))
}

/// A gate that counts its decisions.
fn counted_case(kind: Kind) -> Case {
    let builder = gate::with_keys(kind.keys()).usage_options(UsageOptions::default());
    let gate = builder.without_principal().build().expect("the gate is complete");
    Case::new(kind, TollgateLayer::new(gate).layer(service_fn(world::handler)))
}

/// A gate that limits failed attempts. The network of the requests is above its quota, and so are other networks.
fn attempted_case(kind: Kind) -> Case {
    let quota = "1 per day".parse().expect("a quota");
    let limit = AttemptLimit::new(quota).expect("a limit");
    let builder = gate::with_keys(kind.keys()).attempts(limit);
    let gate = builder.without_principal().build().expect("the gate is complete");
    let mut service = TollgateLayer::new(gate).layer(service_fn(world::handler));
    for address in (0..ADDRESSES).chain([world::PEER.to_bits()]) {
        let mut request = world::keyless(world::ROUTE);
        request.extensions_mut().insert(Peer(Ipv4Addr::from_bits(address).into()));
        drop(call(&mut service, request));
    }
    Case::new(kind, service)
}

fn handwritten_case(kind: Kind) -> Case {
    let per_day = if let Kind::Limited = kind { ONCE } else { UNLIMITED };
    Case::new(kind, handwritten::service(kind.keys(), per_day))
}

// The case is returned, so that dropping it is not counted.

#[library_benchmark(setup = bare_case)]
#[bench::admitted(Kind::Admitted)]
#[bench::missing(Kind::Missing)]
#[bench::malformed(Kind::Malformed)]
#[bench::unknown(Kind::Unknown)]
fn bare(mut case: Case) -> Case {
    case.send(REQUESTS);
    case
}

#[library_benchmark(setup = gate_case)]
#[bench::admitted(Kind::Admitted)]
#[bench::missing(Kind::Missing)]
#[bench::malformed(Kind::Malformed)]
#[bench::unknown(Kind::Unknown)]
#[bench::limited(Kind::Limited)]
fn gated(mut case: Case) -> Case {
    case.send(REQUESTS);
    case
}

#[library_benchmark(setup = counted_case)]
#[bench::admitted(Kind::Admitted)]
fn counted(mut case: Case) -> Case {
    case.send(REQUESTS);
    case
}

#[library_benchmark(setup = attempted_case)]
#[bench::admitted(Kind::Admitted)]
fn attempted(mut case: Case) -> Case {
    case.send(REQUESTS);
    case
}

#[library_benchmark(setup = handwritten_case)]
#[bench::admitted(Kind::Admitted)]
#[bench::missing(Kind::Missing)]
#[bench::malformed(Kind::Malformed)]
#[bench::unknown(Kind::Unknown)]
#[bench::limited(Kind::Limited)]
fn by_hand(mut case: Case) -> Case {
    case.send(REQUESTS);
    case
}

#[library_benchmark(setup = bare_case, config = eight_ways())]
#[bench::admitted(Kind::Admitted)]
fn bare_in_8_ways(mut case: Case) -> Case {
    case.send(REQUESTS);
    case
}

#[library_benchmark(setup = gate_case, config = eight_ways())]
#[bench::admitted(Kind::Admitted)]
fn gated_in_8_ways(mut case: Case) -> Case {
    case.send(REQUESTS);
    case
}

// Compresses one block, as a key's hash does.
#[library_benchmark]
#[bench::key([0; 8])]
fn sha256(mut state: [u32; 8]) -> [u32; 8] {
    for _ in 0..REQUESTS {
        compress256(&mut state, black_box(&[[0; 64]]));
    }
    state
}

library_benchmark_group!(
    name = stacks,
    benchmarks = [bare, gated, counted, attempted, by_hand, bare_in_8_ways, gated_in_8_ways, sha256]
);

/// A simulation of caches: an L1 data cache of 32 KiB, and a last level of 1 MiB in 16 ways.
fn caches(l1_ways: &str) -> LibraryBenchmarkConfig {
    let callgrind =
        Callgrind::with_args([format!("--D1=32768,{l1_ways},64"), "--LL=1048576,16,64".to_owned()]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

fn eight_ways() -> LibraryBenchmarkConfig {
    caches("8")
}

mod runner {
    use gungraun::main;

    use super::{caches, stacks};

    main!(config = caches("64"), library_benchmark_groups = stacks);

    pub(super) fn run() {
        main();
    }
}

/// Counts per request.
#[derive(Clone, Copy)]
struct Counts {
    instructions: f64,
    l1_misses: f64,
    ll_misses: f64,
}

impl Counts {
    /// Parses a profile of callgrind.
    fn read(function: &str, id: &str) -> Self {
        let path = profiles().join(format!("runner/stacks/{function}.{id}/callgrind.{function}.{id}.out"));
        let profile = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let line = |name: &str| {
            let found = profile.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("{}: no `{name}`", path.display())).split_whitespace()
        };
        let counts: BTreeMap<&str, f64> =
            line("events:").zip(line("totals:").map(|count| count.parse().expect("a count"))).collect();
        // Callgrind leaves out zeros at the end of a line.
        let count = |event: &&str| counts.get(event).copied().unwrap_or(0.0);
        #[expect(clippy::cast_precision_loss, reason = "the number is small")]
        let requests = REQUESTS as f64;
        let per_request = |events: &[&str]| events.iter().map(count).sum::<f64>() / requests;
        Self {
            instructions: per_request(&["Ir"]),
            l1_misses: per_request(&["D1mr", "D1mw"]),
            ll_misses: per_request(&["DLmr", "DLmw"]),
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            instructions: self.instructions - other.instructions,
            l1_misses: self.l1_misses - other.l1_misses,
            ll_misses: self.ll_misses - other.ll_misses,
        }
    }

    fn named(self) -> [(&'static str, f64); 3] {
        [("instructions", self.instructions), ("l1_misses", self.l1_misses), ("ll_misses", self.ll_misses)]
    }
}

/// Cargo's target directory: the binary is in `release/deps`.
fn target() -> PathBuf {
    let binary = env::current_exe().expect("the path of the binary");
    binary.ancestors().nth(3).expect("a target directory").to_owned()
}

/// The directory of the profiles.
fn profiles() -> PathBuf {
    target().join("gungraun/tollgate/counts")
}

/// The counts that a stack adds to the bare service, by kind of request.
fn added(stack: &str) -> Vec<(&'static str, Counts)> {
    let hash = Counts::read("sha256", "key").instructions;
    let kinds =
        [("admitted", true), ("missing", false), ("malformed", false), ("unknown", true), ("limited", true)];
    let of_kind = |(kind, is_hashed): (&'static str, bool)| {
        let bare = Counts::read("bare", if kind == "limited" { "admitted" } else { kind });
        let mut added = Counts::read(stack, kind).less(bare);
        if is_hashed {
            added.instructions -= hash;
        }
        (kind, added)
    };
    kinds.map(of_kind).into()
}

fn print(stack: &str, added: &[(&str, Counts)]) {
    println!("\n{stack:<24} instructions  L1 misses  last-level misses");
    for (kind, counts) in added {
        println!(
            "  {kind:<22} {:12.0} {:10.1} {:18.1}",
            counts.instructions, counts.l1_misses, counts.ll_misses
        );
    }
}

type Figures = BTreeMap<String, BTreeMap<String, f64>>;

/// The figures that exceed the committed ones by more than 5 %, and by more than half an
/// instruction or miss.
fn grown(figures: &Figures, committed: &Figures) -> Vec<String> {
    let mut grown = Vec::new();
    for (kind, counts) in figures {
        for (name, &count) in counts {
            let committed = committed.get(kind).and_then(|counts| counts.get(name)).copied().unwrap_or(0.0);
            if count > committed * 1.05 && count > committed + 0.5 {
                grown.push(format!("{kind}, {name}: {count} where {committed} are committed"));
            }
        }
    }
    grown
}

fn main() -> ExitCode {
    if harness::rounds::is_trial() {
        return ExitCode::SUCCESS;
    }
    // The runner starts this program once for each case.
    if env::args().any(|arg| arg == "--gungraun-run") {
        runner::run();
        return ExitCode::SUCCESS;
    }
    let _ = fs::remove_dir_all(profiles());
    runner::run();

    let (gate, handwritten) = (added("gated"), added("by_hand"));
    print("tollgate adds", &gate);
    print("hand-written adds", &handwritten);
    let rounded = |counts: Counts| {
        counts.named().map(|(name, count)| (name.to_owned(), (count * 100.0).round() / 100.0))
    };
    let figures: Figures =
        gate.iter().map(|(kind, counts)| (kind.to_string(), rounded(*counts).into())).collect();
    let text = serde_json::to_string_pretty(&figures).expect("figures are JSON");
    let written = target().join("counts.json");
    fs::write(&written, text + "\n").expect("the target directory can be written");

    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts.json");
    let committed: Figures = fs::read(committed).ok().map_or_else(Figures::new, |text| {
        serde_json::from_slice(&text).expect("benches/counts.json holds figures")
    });
    let grown = grown(&figures, &committed);
    for figure in &grown {
        println!("increased: {figure}");
    }
    let admitted = gate[0].1;
    let in_8_ways =
        Counts::read("gated_in_8_ways", "admitted").less(Counts::read("bare_in_8_ways", "admitted"));
    println!("\ninstructions_added={:.0}", admitted.instructions);
    println!("l1_misses_added={:.1}", in_8_ways.l1_misses);
    println!("l1_misses_without_conflicts_added={:.1}", admitted.l1_misses);
    println!("ll_misses_added={:.1}", admitted.ll_misses);
    let counted = Counts::read("counted", "admitted").less(Counts::read("gated", "admitted"));
    println!("instructions_of_usage={:.0}", counted.instructions);
    let attempted = Counts::read("attempted", "admitted").less(Counts::read("gated", "admitted"));
    println!("instructions_of_attempts={:.0}", attempted.instructions);
    ExitCode::from(u8::from(!grown.is_empty()))
}
