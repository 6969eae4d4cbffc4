//! Tests of the example `metrics` with a real Prometheus.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::services::{free_port, scratch, skipped};

/// A process that is killed when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The running example: its address and its key.
struct Example {
    process: Process,
    address: String,
    key: String,
}

impl Example {
    fn start() -> Self {
        // Cargo puts examples beside the folder of the test executables.
        let test = std::env::current_exe().unwrap();
        let path = test.parent().unwrap().parent().unwrap().join("examples/metrics");
        assert!(path.exists(), "{}: `cargo test` builds it, `cargo test --test` does not", path.display());
        let mut command = Command::new(path);
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.take(3).map(Result::unwrap).collect();
        let address = lines[0].strip_prefix("listening http://").unwrap().to_owned();
        assert_eq!(lines[1], format!("metrics http://{address}/metrics"));
        let key = lines[2].strip_prefix("key ").unwrap().to_owned();
        Self { process: Process(child), address, key }
    }

    /// Returns the status and the body.
    fn get(&self, path: &str, key: Option<&str>) -> (String, String) {
        let key = key.map_or_else(String::new, |key| format!("X-API-Key: {key}\r\n"));
        get(&self.address, path, &key).unwrap()
    }
}

fn get(address: &str, path: &str, header: &str) -> Option<(String, String)> {
    let mut socket = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.to_owned(), body.to_owned()))
}

fn has_program(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok()
}

/// Sends five admitted requests, one without a key, and one with an unknown key.
fn use_example(example: &Example) {
    for _ in 0..5 {
        assert_eq!(example.get("/v1/candles/btc", Some(&example.key)).0, "200");
    }
    assert_eq!(example.get("/v1/candles/btc", None).0, "401");
    assert_eq!(example.get("/v1/quotes/btc", Some("acme_unknown")).0, "401");
}

#[test]
fn promtool_accepts_the_metrics() {
    if !has_program("promtool") {
        return skipped("promtool");
    }
    let example = Example::start();
    use_example(&example);
    let metrics = example.get("/metrics", None).1;
    assert!(metrics.contains("tollgate_decisions_total"), "{metrics}");
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_example_prints_alerts() {
    let mut example = Example::start();
    let errors = example.process.0.stderr.take().unwrap();
    for _ in 0..161 {
        assert_eq!(example.get("/v1/candles/btc", Some(&example.key)).0, "200");
    }
    let line = BufReader::new(errors).lines().next().unwrap().unwrap();
    assert_eq!(line, "alert account.balance_below of the account acme");
}

#[test]
fn prometheus_scrapes_the_example() {
    if !has_program("prometheus") {
        return skipped("prometheus");
    }
    let example = Example::start();
    use_example(&example);
    let (folder, port) = (scratch("prometheus"), free_port());
    let config = format!(
        "global: {{ scrape_interval: 100ms }}\nscrape_configs:\n  - {{ job_name: tollgate, static_configs: [{{ targets: ['{}'] }}] }}\n",
        example.address
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let address = format!("127.0.0.1:{port}");
    let query = |query: &str| {
        let (status, body) = get(&address, &format!("/api/v1/query?query={query}"), "")?;
        let answer: serde_json::Value = (status == "200").then(|| serde_json::from_str(&body).ok())??;
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    let begun = Instant::now();
    let admitted =
        "sum(tollgate_decisions_total{outcome=%22admitted%22,rule=%22GET%20/v1/candles/{symbol}%22})";
    while query(admitted).as_deref() != Some("5") {
        assert!(begun.elapsed() < Duration::from_mins(1), "Prometheus did not scrape: {:?}", query(admitted));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(query("sum(tollgate_decisions_total{kind=%22invalid_format%22})").as_deref(), Some("1"));
    let quantile = "histogram_quantile(0.99,sum%20by%20(le)(tollgate_decision_duration_seconds_bucket))";
    let seconds: f64 = query(quantile).unwrap().parse().unwrap();
    assert!(seconds > 0.0 && seconds < 1.0, "{seconds}");
}

/// Returns the words of a text that begin with `tollgate_`, without the suffixes of histograms.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("tollgate_"))
        .map(|word| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .fold(word, |word, end| word.strip_suffix(end).unwrap_or(word))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboard_shows_every_metric() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("examples/metrics/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = queries.map(|target| target["expr"].as_str().unwrap()).collect();
    let documentation = std::fs::read_to_string(root.join("src/metrics/mod.rs")).unwrap();
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next());
    let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(names(&queries.join(" ")), documented);
}
