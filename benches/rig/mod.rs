//! What all benches share: the keys and requests, the service behind every gate, and the stacks that are compared.
#![allow(dead_code, reason = "every bench and test uses a part of it")]
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

pub(crate) mod drive;
pub(crate) mod gate;
pub(crate) mod handwritten;
pub(crate) mod shelf;
pub(crate) mod world;
