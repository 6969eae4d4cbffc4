//! Queries: which key they show, what is left of them for the handler, what caps say of them; against a naive reading.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use proptest::prelude::*;
use support::World;
use tollgate::account::ParamLimit;
use tollgate::key::Length;
use tollgate::{DenialKind, Gate, KeyFormat, KeySource, Plan, RequestView};

const KEY: &str = "key_0123456789";

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() }
}

/// Pieces of a query: names and values in all the spellings that a server and a handler might read differently.
fn query() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "api-key",
        "api%2Dkey",
        "api%2dkey",
        "%61pi-key",
        "API-KEY",
        "api-key%00",
        "api%252Dkey",
        "api_key",
        "limit",
        "li%6dit",
        "%6C%69mit",
        "LIMIT",
        "limit[]",
        "cursor",
        "c%75rsor",
        "page",
        "%",
        "%6",
        "%zz",
        "a",
        "",
    ]);
    let value = prop::sample::select(vec![
        KEY,
        "key_0123456789%00",
        "%6bey_0123456789",
        "key%5F0123456789",
        "key%255F0123456789",
        "KEY_0123456789",
        "",
        "3",
        "4",
        "003",
        "%33",
        "+3",
        "%2B3",
        "-1",
        "3.0",
        "3;limit=9",
        "18446744073709551616",
        "1e1",
        "x=y",
        "%D9%A3",
    ]);
    let piece = (name, prop::option::weighted(0.9, value))
        .prop_map(|(name, value)| value.map_or(name.to_owned(), |value| format!("{name}={value}")));
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.join("&"))
}

/// One pass over the bytes: `%` and two hexadecimal digits are a byte, all else is itself.
fn decoded(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut place) = (text.as_bytes(), Vec::new(), 0);
    while place < bytes.len() {
        let pair = bytes.get(place + 1..place + 3).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        if let Some(pair) = pair.filter(|_| bytes[place] == b'%') {
            out.push(u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
            place += 3;
        } else {
            out.push(bytes[place]);
            place += 1;
        }
    }
    out
}

fn name_of(piece: &str) -> Vec<u8> {
    decoded(piece.split('=').next().unwrap_or_default())
}

/// The values of a parameter, decoded.
fn values(query: &str, name: &str) -> Vec<Vec<u8>> {
    let named = query.split('&').filter(|piece| !piece.is_empty() && name_of(piece) == name.as_bytes());
    named.map(|piece| decoded(piece.split_once('=').map_or("", |(_, value)| value))).collect()
}

fn gate(world: &World) -> Gate {
    let mut demo = Plan::new("demo");
    demo.caps =
        [("limit".to_owned(), ParamLimit::AtMost(3)), ("cursor".to_owned(), ParamLimit::Forbidden)].into();
    world
        .bare()
        .plan(demo)
        .source(KeySource::header("X-API-Key").unwrap())
        .source(KeySource::query("api-key").unwrap())
        .format(KeyFormat::new("key_", Length::between(5, 20)).unwrap().accepted_only())
        .build()
        .unwrap()
}

fn request(query: &str, header: Option<&str>) -> Request<Empty<Bytes>> {
    let builder = Request::get(format!("/v1/entries?{query}"));
    let builder = if let Some(key) = header { builder.header("X-API-Key", key) } else { builder };
    builder.body(Empty::<Bytes>::new()).unwrap()
}

fn verdict(gate: &Gate, request: &Request<Empty<Bytes>>) -> Option<DenialKind> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(gate.admit(&RequestView::of(request))).err().map(|denial| denial.kind())
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn query_key_is_single_and_decoded_once(query in query()) {
        let world = World::new();
        world.plain_key(KEY);
        let expected = match values(&query, "api-key").as_slice() {
            [] => Some(DenialKind::Missing),
            [key] if key == KEY.as_bytes() => None,
            [_] => Some(DenialKind::InvalidFormat),
            _ => Some(DenialKind::Duplicate),
        };
        prop_assert_eq!(verdict(&gate(&world), &request(&query, None)), expected);
    }

    #[test]
    fn present_header_decides_over_the_query(
        query in query(),
        header in prop::sample::select(vec!["", KEY, "key_wrong123", "no key"]),
    ) {
        let world = World::new();
        world.plain_key(KEY);
        let expected = match header {
            KEY => None,
            "key_wrong123" => Some(DenialKind::Unknown),
            _ => Some(DenialKind::InvalidFormat),
        };
        prop_assert_eq!(verdict(&gate(&world), &request(&query, Some(header))), expected);
    }

    #[test]
    fn handler_sees_all_parameters_but_the_key(query in query()) {
        let world = World::new();
        world.plain_key(KEY);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let uri = format!("GET /v1/entries?{query}");
        runtime.block_on(world.send(&gate(&world), support::with_key(&uri, KEY)));
        let kept: Vec<&str> = query.split('&').filter(|piece| name_of(piece) != b"api-key").collect();
        let seen = world.inner.seen().uri;
        prop_assert_eq!(seen.path(), "/v1/entries");
        // An address without the key is not touched; of one that held nothing else the `?` goes too.
        prop_assert_eq!(seen.query().unwrap_or_default(), kept.join("&"));
    }

    #[test]
    fn capped_parameter_is_one_plain_number(query in query()) {
        let world = World::new();
        world.key(KEY, |_, account| account.plan = "demo".into());
        let plain = |value: &Vec<u8>| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let limit = match values(&query, "limit").as_slice() {
            [] => None,
            [value] if plain(value) => match std::str::from_utf8(value).unwrap().parse::<u64>() {
                Ok(limit) => (limit > 3).then_some(DenialKind::ParameterAboveCap),
                Err(_) => Some(DenialKind::ParameterUnreadable),
            },
            _ => Some(DenialKind::ParameterUnreadable),
        };
        let cursor = (!values(&query, "cursor").is_empty()).then_some(DenialKind::ParameterForbidden);
        prop_assert_eq!(verdict(&gate(&world), &request(&query, Some(KEY))), limit.or(cursor));
    }
}
