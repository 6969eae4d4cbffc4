//! Classification of Redis's errors.

use redis::{ErrorKind, RedisError};

use crate::error::StoreError;

/// A part of the text of every error that occurs inside a script.
const IN_SCRIPT: &str = "user_script";

/// Parts of the texts with which a server rejects what a script does, without a specific code.
const REFUSED: [&str; 5] = [
    "non local key",
    "slot not served",
    "ACL failure",
    "can't run this command",
    "can't access at least one",
];

/// Converts an error of the `redis` crate. The crate's types are not exposed: only the text is kept, which contains no
/// command and no password.
pub(crate) fn fault(error: &RedisError) -> StoreError {
    if error.is_timeout() {
        return StoreError::timed_out();
    }
    if is_of_data(error) {
        return StoreError::corrupt(error.to_string());
    }
    match code(error) {
        Some("OOM") => StoreError::overloaded(),
        _ => StoreError::unavailable(error.to_string()),
    }
}

/// Returns true for an error that another connection may not return: it may lead to another server, or be
/// authenticated. An answer of the wrong type may belong to another request.
pub(super) fn blames_connection(error: &RedisError) -> bool {
    error.kind() == ErrorKind::UnexpectedReturnType || !is_of_data(error)
}

/// Returns true for an error of the stored data, or of the script that reads it.
fn is_of_data(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    match (error.kind(), code(error)) {
        (_, Some("WRONGTYPE")) | (ErrorKind::UnexpectedReturnType, _) => true,
        (_, Some("ERR")) => detail.contains(IN_SCRIPT) && !REFUSED.iter().any(|text| detail.contains(text)),
        _ => false,
    }
}

/// Returns the code of an error. Redis before version 7 wraps the code of an error inside a script: `ERR Error running
/// script (call to f_…): @user_script:3: @user_script: 3: -READONLY You can't write …`.
fn code(error: &RedisError) -> Option<&str> {
    let is_code = |word: &&str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let wrapped = error.detail().filter(|detail| detail.contains(IN_SCRIPT)).and_then(|detail| {
        detail.split_ascii_whitespace().find_map(|word| word.strip_prefix('-').filter(is_code))
    });
    wrapped.or_else(|| error.code())
}
