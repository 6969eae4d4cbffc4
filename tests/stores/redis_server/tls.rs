//! Redis over TLS, with certificates of a test's own authority.

use tollgate::redis::{RedisOptions, RedisServer};

use crate::redis_server::faults::{Parts, SOON};
use crate::services::certificates::{Authority, Certificate};
use crate::services::redis::Redis;

const HOSTS: &str = "DNS:localhost,IP:127.0.0.1";

fn url(port: u16, roots: &Authority) -> String {
    format!("rediss://localhost:{port}?sslrootcert={}", roots.file().display())
}

fn with_client(url: &str, certificate: &Certificate) -> String {
    format!("{url}&sslcert={}&sslkey={}", certificate.file.display(), certificate.key.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_client_certificate_works() {
    let Some(authority) = Authority::new() else { return };
    let (own, client) = (authority.issue("server", HOSTS, 2), authority.issue("client", HOSTS, 2));
    let Some((redis, port)) = Redis::start_tls(&authority, &own, "yes") else { return };
    let added =
        redis.say(&["ACL", "SETUSER", "gate", "on", ">s3cret/", "~acme:*", "&acme:*", "+@all", "-@admin"]);
    assert_eq!(added, "+OK");
    let url = with_client(&url(port, &authority), &client).replace("localhost", "gate:s3cret%2F@127.0.0.1");
    let parts = Parts::at(&url.replace('?', "/3?"), RedisOptions::new("acme"));
    parts.in_service(SOON).await.unwrap();
    let names = redis.say(&["INFO", "keyspace"]);
    assert!(names.contains("db3:keys=") && !names.contains("db0:"), "{names}");
}

/// A server that is not the right one, or that does not accept this client, is an error and never asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_certificates_are_refused() {
    let (Some(authority), Some(stranger)) = (Authority::new(), Authority::new()) else { return };
    let right = authority.issue("right", HOSTS, 2);
    let Some((good, good_port)) = Redis::start_tls(&authority, &right, "yes") else { return };
    let expired = authority.issue("expired", HOSTS, -1);
    let Some((_expired, expired_port)) = Redis::start_tls(&authority, &expired, "no") else { return };
    let elsewhere = authority.issue("elsewhere", "DNS:redis.example", 2);
    let Some((_elsewhere, elsewhere_port)) = Redis::start_tls(&authority, &elsewhere, "no") else { return };
    good.say(&["ACL", "SETUSER", "gate", "on", ">right", "~*", "+@all"]);

    let client = authority.issue("client", HOSTS, 2);
    let own = |url: String| with_client(&url, &client);
    let good_url = url(good_port, &authority);
    let refused = [
        ("expired", url(expired_port, &authority), "Expired"),
        ("other host", url(elsewhere_port, &authority), "not valid for name"),
        ("unknown authority", own(url(good_port, &stranger)), "UnknownIssuer"),
        ("no client certificate", good_url.clone(), ""),
        ("client of another authority", with_client(&good_url, &stranger.issue("client", HOSTS, 2)), ""),
        ("expired client", with_client(&good_url, &authority.issue("old", HOSTS, -1)), ""),
        ("wrong password", own(good_url.replace("localhost", "gate:wrong@localhost")), "WRONGPASS"),
        ("unknown user", own(good_url.replace("localhost", "nobody:right@localhost")), "WRONGPASS"),
        ("clear text to a port for TLS", format!("redis://localhost:{good_port}"), ""),
        ("TLS to a port for clear text", url(good.port(), &authority), ""),
    ];
    for (name, url, problem) in refused {
        let server = RedisServer::open(&url, "acme").unwrap();
        let error = server.ping().await.expect_err(name);
        assert!(format!("{error:?}").contains(problem), "{name}: {error:?}");
        assert!(!format!("{error:?}").contains("right"), "{name}: {error:?}");
        let answer = Parts::at(&url, RedisOptions::new("acme")).meter().await.expect_err(name);
        assert!(format!("{answer:?}").contains("503"), "{name}: {answer:?}");
    }
    let server =
        RedisServer::open(&own(good_url.replace("localhost", "gate:right@localhost")), "acme").unwrap();
    server.ping().await.unwrap();
    assert_eq!(good.say(&["DBSIZE"]), ":0", "nothing was written");
}

#[test]
fn faulty_files_are_refused_at_start() {
    let (Some(authority), Some(stranger)) = (Authority::new(), Authority::new()) else { return };
    let (own, other) = (authority.issue("own", HOSTS, 2), stranger.issue("other", HOSTS, 2));
    let start = url(1, &authority);
    let mixed = Certificate { file: own.file.clone(), key: other.key };
    let swapped = Certificate { file: own.key.clone(), key: own.file.clone() };
    let refused = [
        ("sslcert", format!("{start}&sslcert={}", own.file.display())),
        ("sslkey", format!("{start}&sslkey={}", own.key.display())),
        ("sslkey", with_client(&start, &mixed)),
        ("sslcert", with_client(&start, &swapped)),
        ("sslrootcert", format!("rediss://localhost?sslrootcert={}", own.key.display())),
    ];
    for (member, url) in refused {
        let error = RedisServer::open(&url, "acme").expect_err(&url);
        assert_eq!(error.member(), member, "{error}");
    }
}
