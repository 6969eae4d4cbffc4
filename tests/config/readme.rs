//! The README's configuration: its snippets form one file.

#![cfg(feature = "config")]

use tollgate::{Config, ConfigError};

const README: &str = include_str!("../../README.md");

/// Returns the README's code blocks in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("\n```{language}\n");
    README.split(&begin).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// Returns the first file, and the snippets that a reader appends to it.
fn snippets() -> (&'static str, Vec<&'static str>) {
    let blocks = blocks("toml").into_iter().filter(|block| !block.contains("[dependencies]"));
    let (files, appended): (Vec<_>, Vec<_>) = blocks.partition(|block| block.contains("sources ="));
    assert_eq!(files.len(), 1);
    (files[0], appended)
}

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, "gate.toml")
}

#[test]
fn snippets_can_be_appended_to_the_file() {
    let (file, appended) = snippets();
    read(file).unwrap();
    assert!(!appended.is_empty());
    for snippet in &appended {
        read(&format!("{file}\n{snippet}")).unwrap();
    }
    read(&format!("{file}\n{}", appended.join("\n"))).unwrap();
}

#[test]
fn printed_error_is_the_error_of_the_file() {
    let (file, _) = snippets();
    let error = read(&file.replace("50 per second", "0 per second")).unwrap_err();
    assert!(blocks("text").contains(&error.to_string().as_str()), "{error}");
}
