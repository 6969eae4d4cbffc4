//! The errors of a real server: each denies the request with 503, and the service resumes when the cause is gone.

use std::time::Duration;

use tollgate::redis::RedisOptions;

use crate::redis_server::faults::{Parts, SOON};
use crate::services::redis::{Redis, wait_until};

/// Puts the server into a state, in which it answers with the error.
type Cause = fn(&Redis);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_errors_of_redis_deny_with_503() {
    let Some(redis) = Redis::start() else { return };
    let causes: [(&str, Cause, Cause); 5] = [
        (
            "NOAUTH",
            |redis| drop(redis.say(&["CONFIG", "SET", "requirepass", "secret"])),
            |redis| {
                redis.say_as("secret", &["CONFIG", "SET", "requirepass", ""]);
            },
        ),
        (
            "READONLY",
            |redis| drop(redis.say(&["REPLICAOF", "127.0.0.1", "1"])),
            |redis| {
                redis.say(&["REPLICAOF", "NO", "ONE"]);
            },
        ),
        (
            "OOM",
            |redis| drop(redis.say(&["CONFIG", "SET", "maxmemory", "1"])),
            |redis| {
                redis.say(&["CONFIG", "SET", "maxmemory", "0"]);
            },
        ),
        (
            "NOPERM",
            |redis| drop(redis.say(&["ACL", "SETUSER", "default", "-evalsha"])),
            |redis| {
                redis.say(&["ACL", "SETUSER", "default", "+evalsha"]);
            },
        ),
        (
            "NOSCRIPT",
            |redis| drop(redis.say(&["ACL", "SETUSER", "default", "-script"])),
            |redis| {
                redis.say(&["ACL", "SETUSER", "default", "+script"]);
            },
        ),
    ];
    let parts = Parts::at(&redis.url(), RedisOptions::new("acme"));
    parts.in_service(SOON).await.unwrap();
    for (name, begin, end) in causes {
        if name == "NOSCRIPT" {
            redis.say(&["SCRIPT", "FLUSH"]);
        }
        begin(&redis);
        if name == "NOAUTH" {
            redis.say_as("secret", &["CLIENT", "KILL", "TYPE", "normal"]);
        }
        for _ in 0..3 {
            let answer = parts.meter().await.expect_err(name);
            assert!(format!("{answer:?}").contains("503"), "{name}: {answer:?}");
            assert!(parts.limit().await.is_err() && parts.book().await.is_err(), "{name}");
        }
        end(&redis);
        parts.in_service(SOON).await.unwrap_or_else(|failed| panic!("{name}: {failed}"));
    }
    // BUSY: a script of somebody else that does not end.
    redis.say(&["CONFIG", "SET", "busy-reply-threshold", "50"]);
    let (port, done) = (redis.port(), std::sync::mpsc::channel());
    let script = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        std::io::Write::write_all(&mut stream, b"EVAL \"while true do end\" 0\r\n").unwrap();
        let _ = done.1.recv();
    });
    wait_until(|| redis.say(&["PING"]).starts_with("-BUSY"));
    let answer = parts.meter().await.unwrap_err();
    assert!(format!("{answer:?}").contains("503"), "{answer:?}");
    wait_until(|| redis.say(&["SCRIPT", "KILL"]) == "+OK");
    parts.in_service(SOON).await.unwrap();
    done.0.send(()).unwrap();
    script.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_server_denies_with_503() {
    // Each key takes 2 ms to load.
    let options = [
        "--appendonly",
        "yes",
        "--key-load-delay",
        "2000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let Some(mut redis) = Redis::start_with(&[&options[..], &["--enable-debug-command", "yes"]].concat())
    else {
        return;
    };
    let parts = Parts::at(&redis.url(), RedisOptions::new("acme"));
    parts.in_service(SOON).await.unwrap();
    redis.say(&["DEBUG", "POPULATE", "1000", "filler", "100"]);
    redis.say(&["BGREWRITEAOF"]);
    wait_until(|| redis.say(&["INFO", "persistence"]).contains("aof_rewrite_in_progress:0"));
    redis.kill();
    redis.launch_again();
    let port = redis.port();
    wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    wait_until(|| redis.say(&["PING"]).starts_with("-LOADING"));
    let answer = parts.meter().await.unwrap_err();
    assert!(format!("{answer:?}").contains("503"), "{answer:?}");
    tokio::time::timeout(Duration::from_secs(20), parts.in_service(SOON)).await.unwrap().unwrap();
}
