//! The replacement for databases in a build without the features `sqlite` and `postgres`.
#![allow(clippy::trivially_copy_pass_by_ref, reason = "the signatures are those with the feature")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::num::NonZeroU32;

use super::{BackEnds, redis};
use crate::data::Fault;

#[derive(Clone)]
pub(super) struct Kept(Infallible);

pub(super) fn open(_: &str, _: Option<&redis::Server>, _: NonZeroU32) -> Ready<Result<BackEnds, Fault>> {
    ready(Err("--store: build with --features sqlite, or with --features postgres".into()))
}

impl Kept {
    pub(super) fn maintain(&self) -> Ready<Result<(), Fault>> {
        match self.0 {}
    }

    pub(super) fn close(&self) -> Ready<Result<(), Fault>> {
        match self.0 {}
    }
}
