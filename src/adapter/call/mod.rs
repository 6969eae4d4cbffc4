//! What is particular to gRPC calls: a deadline of the caller's, and a status that comes last. Without the feature
//! `tonic` a call is a request like any other.

#[cfg(feature = "tonic")]
mod deadline;
#[cfg(feature = "tonic")]
mod ending;
#[cfg(not(feature = "tonic"))]
mod none;

#[cfg(feature = "tonic")]
pub(super) use deadline::Deadline;
#[cfg(feature = "tonic")]
pub(super) use ending::{CallEnd, told};
#[cfg(not(feature = "tonic"))]
pub(super) use none::{CallEnd, Deadline, told};
