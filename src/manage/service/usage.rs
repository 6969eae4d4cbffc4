//! The usage of a key over HTTP.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::listing::each_parameter;
use super::{MOMENT, render};
use crate::clock::Timestamp;
use crate::key::{KeyId, KeySource};
use crate::manage::ManageError;
use crate::usage::{Usage, UsageFilter, UsageRange, UsageStep};

/// The parameters of a query of usage.
const PARAMETERS: [&str; 4] = ["from", "to", "step", "format"];

/// A query of usage: the range, and true if the answer is CSV.
struct Asked {
    range: UsageRange,
    is_csv: bool,
}

/// Answers a query of a key's usage.
pub(super) async fn answer(
    usage: &Usage,
    key: KeyId,
    query: &str,
    sources: &[KeySource],
    now: Timestamp,
) -> Result<Response<Bytes>, ManageError> {
    let asked = read(query, sources, now)?;
    let report = usage.report(UsageFilter::key(key), asked.range).await?;
    if asked.is_csv {
        let mut response = render::answer(StatusCode::OK, Value::Null, None);
        *response.body_mut() = report.to_csv().into();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
        return Ok(response);
    }
    let mut data = report.to_json();
    data["key"] = key.to_string().into();
    Ok(render::answer(StatusCode::OK, data, None))
}

/// Reads a query.
fn read(query: &str, sources: &[KeySource], now: Timestamp) -> Result<Asked, ManageError> {
    let (mut from, mut to, mut step, mut is_csv) = (None, None, UsageStep::Hour, false);
    each_parameter(query, &PARAMETERS, sources, |member, value| {
        let refuse = |problem: &str| ManageError::invalid(member, problem);
        let moment = || value.parse::<Timestamp>().map_err(|_| refuse(&format!("must be {MOMENT}")));
        match member {
            "from" => from = Some(moment()?),
            "to" => to = Some(moment()?),
            "step" => {
                step = value.parse().map_err(|_| refuse("must be `minute`, `hour`, `day` or `month`"))?;
            }
            _ => {
                is_csv = match value {
                    "json" => false,
                    "csv" => true,
                    _ => return Err(refuse("must be `json` or `csv`")),
                };
            }
        }
        Ok(())
    })?;
    let range = UsageRange::between(step, from, to, now)
        .map_err(|error| ManageError::invalid(error.member(), error.problem()))?;
    Ok(Asked { range, is_csv })
}
