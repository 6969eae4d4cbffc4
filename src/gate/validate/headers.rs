//! Validation of headers that would be read for two purposes, and of the trusted proxies' networks.

use crate::gate::GateBuilder;
use crate::gate::validate::{Verdict, refuse};
use crate::key::KeySource;
use crate::network;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    let (ids, proxies) = (&builder.request_ids, &builder.proxies);
    for (place, network) in proxies.networks().iter().enumerate() {
        if let Some(error) = network::refusal(*network) {
            return Err(error.in_member(format!("proxies.trusted[{place}]")));
        }
    }
    for (member, name) in builder.credit_headers.names() {
        let is_source = builder.sources.iter().any(|source| source.header_name() == Some(&name.header));
        let other = if is_source { "a key source" } else { "`request_id`" };
        if is_source || name.header == *ids.header() {
            let problem = format!("{other} and `credit_headers` use the same header");
            let expected = format!("name another header in `credit_headers.{member}`");
            return refuse(&format!("credit_headers.{member}"), &name.named, &problem, &expected);
        }
    }
    let source = |name| builder.sources.iter().position(|source| source.header_name() == Some(name));
    if let Some(place) = source(ids.header()) {
        let problem = "a key source and `request_id` use the same header, and a request id is not secret";
        let expected = "name another header in `request_id.header`";
        return clash("request_id.header", ids.named(), (place, &builder.sources[place]), problem, expected);
    }
    if proxies.networks().is_empty() {
        return Ok(());
    }
    if let Some(place) = source(proxies.header()) {
        let problem = "a key source and `proxies` use the same header";
        let expected = "name another header in `proxies.header`";
        return clash("proxies.header", proxies.named(), (place, &builder.sources[place]), problem, expected);
    }
    if ids.header() == proxies.header() {
        let problem = "`proxies` and `request_id` use the same header";
        let value = ids.named().unwrap_or(ids.header().as_str());
        return refuse("request_id.header", value, problem, "name another header in `request_id.header`");
    }
    Ok(())
}

/// Reports the member that names the header. If no member names it, reports the key source, because the user can only
/// change what the configuration contains.
fn clash(
    member: &str,
    named: Option<&str>,
    (place, source): (usize, &KeySource),
    problem: &str,
    expected: &str,
) -> Verdict {
    match named {
        Some(named) => refuse(member, named, problem, expected),
        None => refuse(&format!("sources[{place}]"), &source.to_string(), problem, expected),
    }
}
