//! The replacement for Redis in a build without the feature `redis`.
#![allow(clippy::trivially_copy_pass_by_ref, reason = "the signatures are those with the feature")]

pub(super) use std::convert::Infallible as Server;
use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::sync::Arc;

use tollgate::RateLimiter;

use crate::data::Fault;

pub(super) fn open(_: &str, _: &str) -> Ready<Result<Server, Fault>> {
    ready(Err("--redis: build with --features redis".into()))
}

pub(super) fn limiter(server: &Server, _: NonZeroU32) -> Arc<dyn RateLimiter> {
    match *server {}
}
