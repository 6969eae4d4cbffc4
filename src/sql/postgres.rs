//! The parts that only PostgreSQL needs: the settings of a connection, its check, and the server's error codes.

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSeverity, PgSslMode};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, Row as _};

use super::error::Loss;
use crate::error::ConfigError;
use crate::network::is_loopback;

/// Reads a URL. Returns `None` if it is invalid.
pub(super) fn target(url: &str) -> Result<Option<PgConnectOptions>, ConfigError> {
    let (start, query) = url.split_once('?').unwrap_or((url, ""));
    // The parameter is this crate's own.
    let (own, others): (Vec<_>, Vec<_>) = query.split('&').partition(|part| part.starts_with("insecure="));
    let is_insecure = match own.as_slice() {
        [] | ["insecure=false"] => false,
        ["insecure=true"] => true,
        _ => {
            let problem = "the parameter is neither `true` nor `false`";
            return Err(ConfigError::new("", problem, "write `insecure=true`").in_member("insecure"));
        }
    };
    let url = if query.is_empty() { start.to_owned() } else { format!("{start}?{}", others.join("&")) };
    let Ok(target) = url.parse::<PgConnectOptions>() else { return Ok(None) };
    let is_any = |names: &[&str]| others.iter().any(|part| names.iter().any(|name| part.starts_with(name)));
    let is_given = is_any(&["sslmode=", "ssl-mode="]);
    // As PostgreSQL's own clients do: an authority that is named is one to verify.
    let names_authority = is_any(&["sslrootcert=", "ssl-root-cert=", "ssl-ca="]);
    let is_required = matches!(target.get_ssl_mode(), PgSslMode::Require);
    let target = if is_required && names_authority { target.ssl_mode(PgSslMode::VerifyCa) } else { target };
    let is_encrypted =
        matches!(target.get_ssl_mode(), PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    let host = target.get_host();
    let is_local = target.get_socket().is_some() || host.starts_with('/') || is_loopback(host);
    match (is_encrypted, is_local || is_insecure) {
        (true, _) if is_insecure => {
            let problem = "the URL requires encryption by `sslmode`, and permits clear text";
            Err(ConfigError::new("true", problem, "remove `insecure` or `sslmode`").in_member("insecure"))
        }
        (true, _) | (false, true) => Ok(Some(target)),
        (false, false) if !is_given && cfg!(feature = "postgres-tls") => {
            Ok(Some(target.ssl_mode(PgSslMode::VerifyFull)))
        }
        (false, false) => {
            let problem = "connections to this host are not encrypted";
            let expected = if cfg!(feature = "postgres-tls") {
                "write `sslmode=verify-full`, or add `insecure=true` to the parameters if the network is trusted"
            } else {
                "enable tollgate's feature `postgres-tls`, or add `insecure=true` to the parameters of the URL if the \
                 network is trusted"
            };
            Err(ConfigError::new(host, problem, expected).in_member("database"))
        }
    }
}

/// Adds the settings of a connection.
pub(super) fn prepared(target: &PgConnectOptions) -> PgConnectOptions {
    // PgBouncer rejects parameters that it does not know. No column here is a float.
    target.clone().extra_float_digits(None).disable_statement_logging()
}

/// Checks a connection. Returns true if its server takes writes.
pub(super) async fn takes_writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let answer = connection.fetch_one(sqlx::raw_sql("SHOW transaction_read_only")).await?;
    answer.try_get::<&str, _>(0).map(|read_only| read_only == "off")
}

/// Returns the effect of a server's error on its connection.
pub(super) fn loss(database_error: &PgDatabaseError) -> Loss {
    match database_error.code() {
        // A read-only transaction; a function that is not allowed during recovery.
        "25006" => Loss::Writes,
        // Failed connections, shutdowns, and other errors that end a session.
        code if code.starts_with("08") || code.starts_with("57P") => Loss::Server,
        _ if matches!(database_error.severity(), PgSeverity::Fatal | PgSeverity::Panic) => Loss::Server,
        _ => Loss::Nothing,
    }
}
