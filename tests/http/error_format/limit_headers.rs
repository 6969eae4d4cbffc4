//! `RateLimit-Policy` and `RateLimit`, read by a parser of structured fields.

use std::num::NonZeroU32;

use proptest::prelude::*;
use sfv::{BareItem, Item, List, ListEntry, Parser};
use tollgate::key::Length;
use tollgate::limit::LocalShare;
use tollgate::{Gate, KeyFormat, KeySource, Plan};

use crate::fixture::{Answer, Stage};

/// A member of a list: its name and parameters.
fn items(answer: &Answer, name: &str) -> Vec<Item> {
    let list: List = Parser::new(answer.header(name).unwrap()).parse().unwrap();
    let item = |entry| match entry {
        ListEntry::Item(item) => item,
        ListEntry::InnerList(list) => panic!("an inner list: {list:?}"),
    };
    list.into_iter().map(item).collect()
}

fn number(item: &Item, name: &str) -> Option<i64> {
    match item.params.get(name) {
        None => None,
        Some(BareItem::Integer(number)) => Some(i64::from(*number)),
        Some(other) => panic!("{name} is no number: {other:?}"),
    }
}

/// The name and the partition key, which together identify a window.
fn window(item: &Item) -> (String, Option<Vec<u8>>) {
    let BareItem::String(name) = &item.bare_item else { panic!("the name is no string: {item:?}") };
    let partition = item.params.get("pk").map(|key| match key {
        BareItem::ByteSequence(bytes) => bytes.clone(),
        other => panic!("`pk` is no byte sequence: {other:?}"),
    });
    (name.as_str().to_owned(), partition)
}

const KEY: &str = "GET /a; x-api-key: acme_free0000";

fn stage(quotas: &[String], longest_wait: &str) -> Stage {
    let file = format!(
        "limit_headers = true\npresentation = {{ longest_wait = \"{longest_wait}\" }}\nplans.free = {{ quotas = [{}] }}\n",
        quotas.join(", ")
    );
    let stage = Stage::of_file(&file).unwrap();
    stage.put("acme_free0000", "free", |_, _| {});
    stage
}

fn quota(text: &str, name: &str, counts: &str) -> String {
    format!("{{ quota = \"{text}\", name = \"{name}\", counts = \"{counts}\" }}")
}

#[tokio::test]
async fn fields_parse_as_structured_fields() {
    // Every visible character that a quota's name can contain.
    let name: String = (b'!'..=b'~').map(char::from).filter(|c| !matches!(c, '"' | '\\')).collect();
    let quotas = [
        quota("4294967295 per day", "most", "key"),
        quota("1 per 31622400s", "longest", "account"),
        quota("2 in any minute", &name, "pool:demo"),
    ];
    let stage = stage(&quotas, "1d");
    let answer = stage.play(&[KEY]).await.remove(0);
    let policies = items(&answer, "ratelimit-policy");
    let told: Vec<_> = policies.iter().map(|item| (number(item, "q"), number(item, "w"))).collect();
    assert_eq!(told, [(Some(4_294_967_295), Some(86_400)), (Some(1), Some(31_622_400)), (Some(2), Some(60))]);
    let limits = items(&answer, "ratelimit");
    let told: Vec<_> = limits.iter().map(|item| (number(item, "r"), number(item, "t"))).collect();
    assert_eq!(told, [(Some(4_294_967_294), Some(1)), (Some(0), Some(31_622_400)), (Some(1), Some(60))]);
    assert_eq!(window(&policies[2]), (name, Some(b"pool:demo".to_vec())));
    assert_eq!(
        policies.iter().map(window).collect::<Vec<_>>(),
        limits.iter().map(window).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn equal_names_have_partition_keys() {
    let quotas = ["key", "account", "pool:a", "pool:b"].map(|counts| quota("9 per minute", "same", counts));
    let stage = stage(&quotas, "1d");
    let answer = stage.play(&[KEY]).await.remove(0);
    for field in ["ratelimit-policy", "ratelimit"] {
        let keys: Vec<_> = items(&answer, field).iter().map(|item| window(item).1).collect();
        let expected = [None, Some("account"), Some("pool:a"), Some("pool:b")];
        assert_eq!(keys, expected.map(|key| key.map(|key| key.as_bytes().to_vec())), "{field}");
    }
}

#[tokio::test]
async fn full_window_has_no_t() {
    let quotas = [quota("1 per minute", "one", "key"), quota("1 per hour", "two", "account")];
    let stage = stage(&quotas, "1d");
    // After a minute, the window of the key is full again, and that of the account is not.
    let answers = stage.play(&[KEY, "+60s", KEY]).await;
    assert_eq!(answers[1].status, 429);
    assert_eq!(answers[1].header("ratelimit"), Some("\"one\";r=1, \"two\";r=0;t=3540;pk=:YWNjb3VudA==:"));
}

#[tokio::test]
async fn cut_wait_has_no_later_t() {
    let quotas = [quota("1 per minute", "one", "key"), quota("5 per 10s", "two", "key")];
    let stage = stage(&quotas, "30s");
    let answer = stage.play(&[KEY, KEY]).await.remove(1);
    assert_eq!(answer.header("retry-after"), Some("30"));
    assert_eq!(answer.header("ratelimit"), Some("\"two\";r=4;t=2, \"one\";r=0"));
}

#[tokio::test]
async fn strict_window_names_the_next_free_place() {
    let stage = stage(&[quota("3 in any minute", "one", "key")], "1d");
    let answers = stage.play(&[KEY, "+20s", KEY, "+20s", KEY, "+5s", KEY]).await;
    let told: Vec<_> = answers.iter().map(|answer| answer.header("ratelimit").unwrap()).collect();
    let expected = ["\"one\";r=2;t=60", "\"one\";r=1;t=40", "\"one\";r=0;t=20", "\"one\";r=0;t=15"];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn share_of_a_node_names_its_next_request() {
    let mut plan = Plan::new("free");
    plan.quotas = vec!["8 per minute".parse().unwrap(), "40 in any hour".parse().unwrap()];
    let builder = Gate::builder()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(8)).unwrap().accepted_only())
        .limiter(LocalShare::new(NonZeroU32::new(4).unwrap()))
        .plan(plan)
        .limit_headers();
    let stage = Stage::of(builder).unwrap();
    stage.put("acme_free0000", "free", |_, _| {});
    // The share of this node is 2 per minute and 10 in any hour.
    let answers = stage.play(&[KEY, "+10s", KEY, KEY]).await;
    let told: Vec<_> = answers.iter().map(|answer| answer.header("ratelimit").unwrap()).collect();
    let expected = [
        "\"minute\";r=1;t=30, \"hour\";r=9;t=3600",
        "\"minute\";r=0;t=20, \"hour\";r=8;t=3590",
        "\"minute\";r=0;t=20, \"hour\";r=8",
    ];
    assert_eq!(told, expected);
}

fn quotas() -> impl Strategy<Value = Vec<String>> {
    let link = prop::sample::select(vec!["per", "in any"]);
    let counts = prop::sample::select(vec!["key", "account", "pool:demo"]);
    let one = (1_u32..8, 1_u32..90, link, counts);
    prop::collection::vec(one, 1..4).prop_map(|windows| {
        let text = |(place, (quota_, seconds, link, counts)): (usize, (u32, u32, &str, &str))| {
            quota(&format!("{quota_} {link} {seconds}s"), &format!("w{place}"), counts)
        };
        windows.into_iter().enumerate().map(text).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn retry_after_is_not_before_t(
        quotas in quotas(),
        longest in prop::sample::select(vec!["1s", "10s", "1d"]),
        waits in prop::collection::vec(prop_oneof![2 => Just(0_u32), 2 => 0_u32..9_000], 1..40),
    ) {
        let stage = stage(&quotas, longest);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for wait in waits {
                let wait = format!("+{}s", f64::from(wait) / 1_000.0);
                let answer = stage.play(&[&wait, KEY]).await.remove(0);
                prop_assert!(!items(&answer, "ratelimit-policy").is_empty());
                let limits = items(&answer, "ratelimit");
                prop_assert_eq!(limits.len(), quotas.len());
                let retry_after = answer.header("retry-after").map(|wait| wait.parse::<i64>().unwrap());
                prop_assert_eq!(retry_after.is_some(), answer.status == 429);
                let latest = limits.iter().filter_map(|item| number(item, "t")).max();
                prop_assert!(latest <= retry_after.or(Some(i64::MAX)), "{:?}", answer.headers);
                if longest == "1d" && retry_after.is_some() {
                    prop_assert_eq!(latest, retry_after);
                }
            }
            Ok(())
        })?;
    }
}
