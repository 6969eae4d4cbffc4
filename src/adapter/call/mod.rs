//! The peculiarities of gRPC calls: a deadline that the caller sets, and a status that comes last. Without the feature
//! `tonic`, a gRPC call is handled like any other request.

#[cfg(feature = "tonic")]
mod deadline;
#[cfg(feature = "tonic")]
mod ending;
#[cfg(not(feature = "tonic"))]
mod none;

#[cfg(feature = "tonic")]
pub(super) use deadline::Deadline;
#[cfg(feature = "tonic")]
pub(super) use ending::{CallEnd, grpc_outcome};
#[cfg(not(feature = "tonic"))]
pub(super) use none::{CallEnd, Deadline, grpc_outcome};
