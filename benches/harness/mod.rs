//! The parts that all benches share: the keys and requests, the service behind every gate, and the compared stacks.
#![allow(dead_code, reason = "every bench and test uses a part of it")]
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

pub(crate) mod drive;
pub(crate) mod gate;
pub(crate) mod handwritten;
pub(crate) mod health;
pub(crate) mod off_the_shelf;
pub(crate) mod rounds;
pub(crate) mod world;
