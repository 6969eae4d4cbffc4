//! The peculiarities of gRPC calls: a deadline that the caller sets, and a status that comes last. Without the feature
//! `tonic`, a gRPC call is handled like any other request.

mod deadline;
mod ending;

pub(super) use deadline::Deadline;
pub(super) use ending::{CallEnd, grpc_outcome};
