//! The client's address and allowlists: section D of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::sync::{Arc, Mutex};

use support::providers::KWERY;
use support::wire::Server;
use support::{Answer, World, with_key, without_key};
use tollgate::adapter::Peer;
use tollgate::gate::TrustedProxies;
use tollgate::rule::Cost;
use tollgate::{Credits, DenialKind, Gate, Rule};

const ALLOWED: &str = "198.51.100.7";
const ATTACKER: &str = "192.0.2.66";
const PROXY: &str = "10.0.0.1";

/// A gate that trusts `10.0.0.0/8` and `fd00::/8`, and a key that may be used from one network.
fn gate(world: &World) -> Gate {
    world.key(KWERY, |record, _| {
        record.allowlist = Some(vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    });
    let proxies = TrustedProxies::new(["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()));
    let mut costly = Rule::new("GET /v1/costly").unwrap();
    costly.cost = Cost::Fixed(Credits::new(1));
    world.kwery().trusted_proxies(proxies).rule(costly).build().unwrap()
}

/// Returns the status of a request from a peer with these lines of `X-Forwarded-For`.
async fn status(peer: &str, lines: &[&str]) -> u16 {
    let world = World::new();
    let gate = gate(&world);
    let request = with_key("GET /v1/x", KWERY).extension(Peer(peer.parse().unwrap()));
    let request = lines.iter().fold(request, |request, line| request.header("x-forwarded-for", *line));
    world.send(&gate, request).await.status
}

#[tokio::test]
async fn untrusted_peer_is_the_client_address() {
    let rows: [(&str, &[&str], u16); 4] = [
        (ALLOWED, &[], 200),
        (ALLOWED, &[ATTACKER], 200),
        (ATTACKER, &[ALLOWED], 401),
        (ATTACKER, &[ALLOWED, PROXY], 401),
    ];
    for (peer, lines, expected) in rows {
        assert_eq!(status(peer, lines).await, expected, "{peer} {lines:?}");
    }
    // Trust in proxies that is not configured is trust in nobody.
    let world = World::new();
    world.key(KWERY, |record, _| record.allowlist = Some(vec!["198.51.100.0/24".parse().unwrap()]));
    let gate = world.kwery().build().unwrap();
    for name in
        ["x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip"]
    {
        let request =
            with_key("GET /v1/x", KWERY).extension(Peer(PROXY.parse().unwrap())).header(name, ALLOWED);
        assert_eq!(world.send(&gate, request).await.status, 401, "{name}");
    }
}

#[tokio::test]
async fn client_address_is_read_from_the_right() {
    let rows: [(&[&str], u16); 7] = [
        (&["198.51.100.7, 192.0.2.66"], 401),
        (&["192.0.2.66, 198.51.100.7"], 200),
        (&["198.51.100.7", "192.0.2.66"], 401),
        (&["192.0.2.66", "198.51.100.7"], 200),
        (&["198.51.100.7, 10.9.9.9"], 200),
        (&["198.51.100.7, 192.0.2.66, 10.9.9.9"], 401),
        (&["192.0.2.66, 198.51.100.7", "10.2.2.2, fd00::1"], 200),
    ];
    for (lines, expected) in rows {
        assert_eq!(status(PROXY, lines).await, expected, "{lines:?}");
    }
}

/// Headers other than the configured one are not read.
#[tokio::test]
async fn only_the_configured_header_is_read() {
    let world = World::new();
    world.key(KWERY, |record, _| record.allowlist = Some(vec!["198.51.100.0/24".parse().unwrap()]));
    let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
    let gate = world.kwery().trusted_proxies(proxies.clone().reading("X-Real-IP").unwrap()).build().unwrap();
    for (name, expected) in [("x-real-ip", 200), ("x-forwarded-for", 401), ("forwarded", 401)] {
        let request =
            with_key("GET /v1/x", KWERY).extension(Peer(PROXY.parse().unwrap())).header(name, ALLOWED);
        assert_eq!(world.send(&gate, request).await.status, expected, "{name}");
    }
    assert!(proxies.clone().reading("Forwarded").is_err() && proxies.reading("a b").is_err());
}

#[tokio::test]
async fn unparsable_hop_ends_the_address_walk() {
    for hop in [
        "unknown",
        "",
        "_hidden",
        "010.0.0.2",
        "10.1",
        "0x0a000001",
        "10.0.0.2.",
        "10.0.0.2:99999",
        "localhost",
        "\"10.0.0.2\"",
        "10.0.0.2;x",
    ] {
        let chain = format!("{ALLOWED}, {hop}, 10.0.0.2");
        assert_eq!(status(PROXY, &[&chain]).await, 401, "{chain}");
        assert_eq!(status(PROXY, &[&format!("{ALLOWED}, {hop}")]).await, 401, "{hop}");
    }
    assert_eq!(status(PROXY, &[ALLOWED, "unknown"]).await, 401);
    assert_eq!(status(PROXY, &[ALLOWED, ""]).await, 401);
}

#[tokio::test]
async fn chain_of_proxies_alone_is_refused() {
    // The chain was stripped, or names proxies alone: the client is the peer, which is not allowed.
    for lines in [&[][..], &["10.0.0.2"], &["10.0.0.2, 10.0.0.3"], &["10.0.0.2", "fd00::2"]] {
        assert_eq!(status(PROXY, lines).await, 401, "{lines:?}");
    }
    // The key was stripped.
    let world = World::new();
    let gate = gate(&world);
    let request =
        without_key("GET /v1/x").extension(Peer(PROXY.parse().unwrap())).header("x-forwarded-for", ALLOWED);
    assert_eq!(world.send(&gate, request).await.status, 401);
}

/// A proxy that takes out what `Connection` names, as RFC 9110, section 7.6.1, has it, and passes on the rest.
async fn through_a_proxy(server: Server, lines: &[&str]) -> Answer {
    let named = lines.iter().filter_map(|line| line.strip_prefix("Connection: "));
    let named: Vec<&str> = named.flat_map(|value| value.split(", ")).chain(["Connection"]).collect();
    let goes = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        named.iter().any(|named| named.eq_ignore_ascii_case(name))
    };
    let kept: Vec<&[u8]> = lines.iter().filter(|line| !goes(line)).map(|line| line.as_bytes()).collect();
    server.http1(&kept).await
}

#[tokio::test]
async fn header_removed_via_connection_is_absent() {
    let world = World::new();
    world.key(KWERY, |record, _| record.allowlist = Some(vec!["198.51.100.0/24".parse().unwrap()]));
    let proxies = TrustedProxies::new(["127.0.0.0/8".parse().unwrap()]);
    let gate = world.kwery().trusted_proxies(proxies).build().unwrap();
    let server = Server::gated(&gate, world.inner.clone()).await;
    let (key, chain) = (format!("X-API-Key: {KWERY}"), format!("X-Forwarded-For: {ALLOWED}"));
    let request = |connection| ["GET /v1/x HTTP/1.1", &key, &chain, connection];
    for connection in [
        "Connection: close, X-API-Key",
        "Connection: close, x-forwarded-for",
        "Connection: close, X-Forwarded-For, X-API-Key",
    ] {
        assert_eq!(through_a_proxy(server, &request(connection)).await.status, 401, "{connection}");
    }
    assert_eq!(world.calls(), 0);
    assert_eq!(through_a_proxy(server, &request("Connection: close")).await.status, 200);
    // Where nothing was taken out the field takes nothing away: the gate is no proxy.
    let lines = request("Connection: x-api-key, x-forwarded-for").map(str::as_bytes);
    assert_eq!(server.http1(&lines).await.status, 200);
}

/// An IPv4 address in its mapped IPv6 form.
#[tokio::test]
async fn mapped_ipv4_address_is_ipv4() {
    assert_eq!(status("::ffff:198.51.100.7", &[]).await, 200);
    assert_eq!(status("::ffff:192.0.2.66", &[ALLOWED]).await, 401);
    assert_eq!(status("::ffff:10.0.0.1", &["::ffff:198.51.100.7"]).await, 200);
    assert_eq!(status("::ffff:10.0.0.1", &["198.51.100.7, ::ffff:192.0.2.66"]).await, 401);
    // An IPv4-compatible address is another thing.
    assert_eq!(status("::198.51.100.7", &[]).await, 401);
}

#[tokio::test]
async fn misleading_networks_are_refused() {
    for (text, told) in [
        ("::ffff:0:0/96", "IPv4"),
        ("::ffff:10.0.0.1", "IPv4"),
        ("10.0.0.1/33", "invalid network"),
        ("2001:db8::/129", "invalid network"),
        ("10.0.0.5/8", "10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::/32"),
    ] {
        let error = tollgate::key::parse_network(text).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains(told), "{error}");
    }
    let rows = [
        // Each of the two means the addresses of its family, and a mapped address is one of IPv4.
        ("0.0.0.0/0", "198.51.100.7", 200),
        ("0.0.0.0/0", "::ffff:198.51.100.7", 200),
        ("0.0.0.0/0", "2001:db8::1", 401),
        ("::/0", "2001:db8::1", 200),
        ("::/0", "198.51.100.7", 401),
        ("::/0", "::ffff:198.51.100.7", 401),
        // One that was put in the store unread lets nobody in.
        ("::ffff:0:0/96", "198.51.100.7", 401),
        ("::ffff:0:0/96", "::ffff:198.51.100.7", 401),
    ];
    for (network, peer, expected) in rows {
        let world = World::new();
        world.key(KWERY, |record, _| record.allowlist = Some(vec![network.parse().unwrap()]));
        let gate = world.kwery().build().unwrap();
        let request = with_key("GET /v1/x", KWERY).extension(Peer(peer.parse().unwrap()));
        assert_eq!(world.send(&gate, request).await.status, expected, "{network}: {peer}");
    }
}

#[tokio::test]
async fn proxy_address_forms_are_parsed() {
    for (hop, expected) in [
        ("198.51.100.7:80", 200),
        ("[2001:db8::1]:443", 200),
        ("[2001:db8::1]", 200),
        ("2001:DB8::1", 200),
        ("  198.51.100.7\t", 200),
        ("2001:db8::1%eth0", 401),
        ("198.51.100.07", 401),
        ("198.51.100", 401),
    ] {
        assert_eq!(status(PROXY, &[hop]).await, expected, "{hop}");
    }
}

/// An IPv6 network holds its own addresses, and nothing else.
#[tokio::test]
async fn ipv6_network_matches_its_addresses_only() {
    for (peer, expected) in
        [("2001:db8::1", 200), ("2001:db8:ffff::1", 200), ("2001:db9::1", 401), ("::1", 401)]
    {
        assert_eq!(status(peer, &[]).await, expected, "{peer}");
    }
}

#[tokio::test]
async fn allowlist_without_peer_address_refuses() {
    let world = World::new();
    let gate = gate(&world);
    let bare = || http::Request::get("/v1/x").header("x-api-key", KWERY);
    assert_eq!(world.send(&gate, bare()).await.status, 401);
    assert_eq!(world.send(&gate, bare().header("x-forwarded-for", ALLOWED)).await.status, 401);
}

#[tokio::test]
async fn address_denial_equals_unknown_key() {
    let world = World::new();
    let gate = gate(&world);
    let send = |key: &str, early: bool| {
        let request = with_key("GET /v1/costly", key)
            .header("x-request-id", "one")
            .extension(Peer(PROXY.parse().unwrap()));
        let request = request.header("x-forwarded-for", ATTACKER);
        let request = if early { request.header("early-data", "1") } else { request };
        world.send(&gate, request)
    };
    assert_eq!(send(KWERY, false).await, send("kwery_live_unknown", false).await);
    assert_eq!(
        send(KWERY, true).await.status,
        send("kwery_live_unknown", true).await.status,
        "early data tells nothing"
    );
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn only_observers_see_the_address_reason() {
    let world = World::new();
    world.key(KWERY, |record, _| record.allowlist = Some(vec![]));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let gate = world.kwery().on_denial(move |denial| {
        told.lock().unwrap().push((denial.kind(), denial.key()));
    });
    let gate = gate.build().unwrap();
    let mut answers = Vec::new();
    for key in [KWERY, "kwery_live_unknown"] {
        answers.push(world.send(&gate, with_key("GET /v1/x", key).header("x-request-id", "one")).await);
    }
    assert_eq!(answers[0], answers[1]);
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        [DenialKind::AddressNotAllowed, DenialKind::Unknown]
    );
    // The key is named by its id, and only where it was found.
    assert_eq!(seen.iter().map(|(_, key)| key.is_some()).collect::<Vec<_>>(), [true, false]);
    assert!(!answers[0].body.contains(DenialKind::AddressNotAllowed.name()));
}

/// The same in the crate's own words, where each kind has a code of its own.
#[tokio::test]
async fn default_wording_hides_the_address_reason() {
    let world = World::new();
    world.key(KWERY, |record, _| record.allowlist = Some(vec![]));
    let gate = world.kwery().error_format(tollgate::respond::ErrorFormat::problem()).build().unwrap();
    let send = |key: &str| world.send(&gate, with_key("GET /v1/x", key).header("x-request-id", "one"));
    assert_eq!(send(KWERY).await, send("kwery_live_unknown").await);
}

#[tokio::test]
async fn empty_allowlist_denies_and_absent_allows() {
    for (allowlist, expected) in [
        (None, 200),
        (Some(vec![]), 401),
        (Some(vec!["0.0.0.0/0".parse().unwrap()]), 200),
        (Some(vec!["::/0".parse().unwrap()]), 401),
    ] {
        let world = World::new();
        world.key(KWERY, |record, _| record.allowlist.clone_from(&allowlist));
        let gate = world.kwery().build().unwrap();
        assert_eq!(world.send(&gate, with_key("GET /v1/x", KWERY)).await.status, expected, "{allowlist:?}");
    }
}

#[tokio::test]
async fn early_data_is_425_unless_safe_and_free() {
    let world = World::new();
    let restricted = gate(&world);
    world.plain_key("kwery_live_free_key");
    let rows = [
        ("free and safe", "GET /v1/x", "kwery_live_free_key", PROXY, 200),
        ("costs", "GET /v1/costly", "kwery_live_free_key", PROXY, 425),
        ("not safe", "POST /v1/x", "kwery_live_free_key", PROXY, 425),
        ("allowlist", "GET /v1/x", KWERY, PROXY, 425),
        ("said by nobody who is trusted", "GET /v1/costly", "kwery_live_free_key", ALLOWED, 200),
    ];
    for (name, route, key, peer, expected) in rows {
        let request = with_key(route, key).extension(Peer(peer.parse().unwrap())).header("early-data", "1");
        let request = request.header("x-forwarded-for", ALLOWED);
        assert_eq!(world.send(&restricted, request).await.status, expected, "{name}");
    }
}

#[tokio::test]
async fn wrong_address_reveals_no_key_status() {
    use tollgate::KeyFormat;
    use tollgate::account::AccountStatus;
    use tollgate::key::{KeyStatus, Length};

    let world = World::new();
    let secret = |name: &str| format!("acme_{name:0<32}");
    let put = |name: &str, change: fn(&mut tollgate::KeyRecord, &mut tollgate::Account)| {
        world.key(&secret(name), |record, account| {
            record.allowlist = Some(vec!["198.51.100.0/24".parse().unwrap()]);
            change(record, account);
        });
    };
    put("good", |_, _| {});
    put("revoked", |record, _| record.status = KeyStatus::Revoked);
    put("paused", |record, _| record.status = KeyStatus::Paused);
    put("expired", |record, _| record.expires_at = Some("2020-01-01T00:00:00Z".parse().unwrap()));
    put("suspended", |_, account| account.status = AccountStatus::Suspended);
    put("deleted", |_, account| account.status = AccountStatus::Deleted);
    let gate = world
        .bare()
        .source(tollgate::KeySource::authorization("Bearer").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .build()
        .unwrap();
    let told = async |name: &str, peer: &str| {
        let request = without_key("GET /v1/x").extension(Peer(peer.parse().unwrap()));
        let request = request.header("authorization", format!("Bearer {}", secret(name)));
        let mut answer = world.send(&gate, request).await;
        answer.headers.remove("x-request-id");
        answer
    };
    let unknown = told("unknown", ATTACKER).await;
    assert_eq!(unknown.status, 401);
    for name in ["good", "revoked", "paused", "expired", "suspended", "deleted"] {
        assert_eq!(told(name, ATTACKER).await, unknown, "{name}");
        assert_ne!(told(name, ALLOWED).await, unknown, "{name}");
    }
}
