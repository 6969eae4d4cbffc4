//! What Redis's errors come to.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::StoreError;

/// Stands in the text of an error that a script has raised: what is kept is not what it has written.
const RAISED: &str = "user_script";

/// The crate's own types stay inside: an error is passed on as text, which holds no command and no password.
pub(crate) fn fault(error: &RedisError) -> StoreError {
    if error.is_timeout() {
        return StoreError::timed_out();
    }
    let raised = || error.detail().is_some_and(|detail| detail.contains(RAISED));
    match (error.kind(), error.code()) {
        (_, Some("OOM")) => StoreError::overloaded(),
        (_, Some("WRONGTYPE")) | (ErrorKind::UnexpectedReturnType, _) => {
            StoreError::corrupt(error.to_string())
        }
        (ErrorKind::Server(ServerErrorKind::ResponseError), _) if raised() => {
            StoreError::corrupt(error.to_string())
        }
        _ => StoreError::unavailable(error.to_string()),
    }
}
