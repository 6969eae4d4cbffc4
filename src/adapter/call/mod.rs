//! The special properties of gRPC calls: a deadline of the caller, and a status in the trailers. Without the feature
//! `tonic`, a gRPC call is handled like any other request.

mod deadline;
mod ending;

pub(super) use deadline::Deadline;
pub(super) use ending::{CallEnd, grpc_outcome};
