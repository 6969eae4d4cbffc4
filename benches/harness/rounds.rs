//! Measures several stacks in alternate rounds. Each round sends the same number of requests to every stack, and the medians
//! are compared.

use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::extract::Request;
use tower::Service;

use super::drive::call;
use super::world::Traffic;

/// The number of requests that are created before each measurement. It is small, so that they stay in the processor's cache,
/// as requests that were just received do.
const BATCH: u32 = 64;

/// A stack with its requests.
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    /// Creates and answers this number of batches. Returns the time that the stack took to answer.
    run: Box<dyn FnMut(u32) -> Duration>,
}

impl Stack {
    /// Creates a stack from a function that creates requests and a function that answers them and drops the response.
    pub(crate) fn new<R>(
        name: &'static str,
        mut make: impl FnMut() -> R + 'static,
        mut answer: impl FnMut(R) + 'static,
    ) -> Self {
        let run = move |batches| {
            let (mut batch, mut taken) = (Vec::with_capacity(BATCH as usize), Duration::ZERO);
            for _ in 0..batches {
                batch.extend((0..BATCH).map(|_| make()));
                let start = Instant::now();
                batch.drain(..).for_each(&mut answer);
                taken += start.elapsed();
            }
            taken
        };
        Self { name, run: Box::new(run) }
    }

    /// Creates a stack from a service that is always ready.
    pub(crate) fn of<S>(name: &'static str, mut service: S, mut traffic: Traffic) -> Self
    where
        S: Service<Request> + 'static,
    {
        let answer = move |request| drop(black_box(call(&mut service, request)));
        Self::new(name, move || traffic.request(), answer)
    }

    /// Returns the nanoseconds per request, over at least this number of requests.
    fn pace(&mut self, requests: u32) -> f64 {
        let batches = requests.div_ceil(BATCH);
        (self.run)(batches).as_secs_f64() * 1e9 / f64::from(batches * BATCH)
    }
}

/// Returns the median nanoseconds per request of each stack, over rounds of at least this number of requests. The first
/// round is not counted.
pub(crate) fn medians(stacks: &mut [Stack], rounds: usize, requests: u32) -> Vec<f64> {
    let mut paces = vec![Vec::with_capacity(rounds); stacks.len()];
    for round in 0..=rounds {
        for (stack, paces) in stacks.iter_mut().zip(&mut paces) {
            let pace = stack.pace(requests);
            if round > 0 {
                paces.push(pace);
            }
        }
    }
    paces.into_iter().map(median).collect()
}

/// Returns the median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns true if a test runner requests a list or a trial run, without measurements.
pub(crate) fn is_trial() -> bool {
    std::env::args().any(|arg| arg == "--test" || arg == "--list")
}
