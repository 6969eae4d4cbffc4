//! What Redis's errors come to.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::StoreError;

/// The code of the scripts' own errors: what is kept is not what they have written.
const CORRUPT: &str = "CORRUPT";

/// The crate's own types stay inside: an error is passed on as text, which holds no command and no password.
pub(crate) fn fault(error: &RedisError) -> StoreError {
    if error.is_timeout() {
        return StoreError::timed_out();
    }
    match (error.kind(), error.code()) {
        (_, Some("OOM")) => StoreError::overloaded(),
        (_, Some(CORRUPT | "WRONGTYPE"))
        | (ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::UnexpectedReturnType, _) => {
            StoreError::corrupt(error.to_string())
        }
        _ => StoreError::unavailable(error.to_string()),
    }
}
