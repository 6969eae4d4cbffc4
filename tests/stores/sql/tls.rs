//! PostgreSQL over TLS, with certificates of a test's own authority.

use tollgate::Account;
use tollgate::sql::{Database, DatabaseOptions, OpenError};
use tollgate::store::{AccountAdmin, SqlStore};

use crate::services::certificates::{Authority, Certificate};
use crate::services::postgres::Postgres;

const HOSTS: &str = "DNS:localhost,IP:127.0.0.1";

fn with(url: &str, parameters: &str) -> String {
    format!("{url}?{parameters}")
}

fn client(certificate: &Certificate) -> String {
    format!("sslcert={}&sslkey={}", certificate.file.display(), certificate.key.display())
}

#[tokio::test]
async fn certificates_of_both_sides_are_verified() {
    let (Some(authority), Some(stranger)) = (Authority::new(), Authority::new()) else { return };
    let own = authority.issue("server", HOSTS, 2);
    let Some(server) = Postgres::start_tls(&authority, &own) else { return };
    let url = server.database().replace("tollgate@", "gate:right@");
    let guest = url.replace("gate:", "guest:");
    let roots = format!("sslrootcert={}", authority.file().display());
    let right = client(&authority.issue("client", HOSTS, 2));
    for mode in ["verify-full", "verify-ca", "require"] {
        let url = with(&url, &format!("sslmode={mode}&{roots}&{right}"));
        let store = SqlStore::new(&Database::connect(&url).await.unwrap());
        let _ = store.create_account(&Account::new(mode, "pro")).await.unwrap();
        store.database().close().await;
    }
    let database = server.say("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'test%'");
    assert_eq!(server.say(&database, "SELECT count(*) FROM tollgate_accounts"), "3");
    Database::connect(&with(&guest, &format!("sslmode=verify-full&{roots}"))).await.unwrap().close().await;

    let unknown = format!("sslrootcert={}", stranger.file().display());
    let full = "sslmode=verify-full";
    let refused = [
        ("unknown authority", with(&guest, &format!("{full}&{unknown}")), "UnknownIssuer"),
        ("unknown authority, required", with(&guest, &format!("sslmode=require&{unknown}")), "UnknownIssuer"),
        ("no authority", with(&guest, full), "UnknownIssuer"),
        ("clear text", with(&guest, "sslmode=disable"), "no encryption"),
        ("no client certificate", with(&url, &format!("{full}&{roots}")), "certificate"),
        (
            "expired client",
            with(&url, &format!("{full}&{roots}&{}", client(&authority.issue("old", HOSTS, -1)))),
            "",
        ),
        (
            "stranger",
            with(&url, &format!("{full}&{roots}&{}", client(&stranger.issue("client", HOSTS, 2)))),
            "",
        ),
        ("wrong password", with(&guest.replace("right", "wrong"), &format!("{full}&{roots}")), "password"),
        (
            "key alone",
            with(&url, &format!("{full}&{roots}&{}", right.split('&').next().unwrap())),
            "together",
        ),
    ];
    for (name, url, problem) in refused {
        let error = Database::connect(&url).await.expect_err(name);
        assert!(matches!(error, OpenError::Unavailable { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(problem), "{name}: {error}");
        assert!(!format!("{error:?}").contains("wrong"), "{name}: {error:?}");
    }
    // A certificate that has expired, and one of another host.
    let expired = Postgres::start_tls(&authority, &authority.issue("expired", HOSTS, -1)).unwrap();
    let elsewhere =
        Postgres::start_tls(&authority, &authority.issue("elsewhere", "DNS:db.example", 2)).unwrap();
    for (server, problem) in [(&expired, "Expired"), (&elsewhere, "not valid for name")] {
        let url = with(&server.database(), &format!("{full}&{roots}"));
        let error = Database::connect(&url).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    let url = with(&elsewhere.database(), &format!("sslmode=verify-ca&{roots}"));
    Database::connect(&url).await.unwrap().close().await;
}

#[test]
fn clear_text_to_other_machines_is_refused() {
    let refused = [
        ("postgres://gate:secret@db.example/acme?sslmode=disable", "database", "db.example"),
        ("postgres://gate:secret@db.example/acme?sslmode=prefer", "database", "db.example"),
        ("postgres://gate:secret@10.0.0.7/acme?sslmode=allow", "database", "10.0.0.7"),
        ("postgres://gate:secret@localhost/acme?host=10.0.0.7&sslmode=disable", "database", "10.0.0.7"),
        ("postgres://gate:secret@db.example/acme?sslmode=require&insecure=true", "insecure", "true"),
        ("postgres://gate:secret@db.example/acme?insecure=yes", "insecure", ""),
    ];
    for (url, member, value) in refused {
        let error = DatabaseOptions::new(url).unwrap_err();
        assert_eq!((error.member(), error.value()), (member, value), "{url}: {error}");
        assert!(!error.expected().is_empty() && !format!("{error:?}").contains("secret"), "{error:?}");
    }
    let accepted = [
        "postgres://gate@db.example/acme",
        "postgres://gate@db.example/acme?sslmode=require",
        "postgres://gate@db.example/acme?insecure=true",
        "postgres://gate@db.example/acme?sslmode=disable&insecure=true",
        "postgres://gate@localhost/acme?sslmode=disable",
        "postgres://gate@127.0.0.1/acme?insecure=false",
        "postgres://gate@[::1]/acme",
        "postgres:///acme?host=/run/postgresql",
    ];
    for url in accepted {
        DatabaseOptions::new(url).expect(url);
    }
}
