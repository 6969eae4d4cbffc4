//! A configuration file that changes while its gate runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tollgate::config::Watching;
use tollgate::gate::Configuration;
use tollgate::{Config, ConfigError, Gate};

type Told = Receiver<Result<Configuration, ConfigError>>;

/// A folder of a test, which is removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tollgate-watch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The text of a configuration with a quota.
fn text(per_minute: u32) -> String {
    format!(
        "sources = [{{ header = \"X-API-Key\" }}]\nformats = [{{ prefix = \"acme_\", body = 32 }}]\n\
         [plans.pro]\nquotas = [\"{per_minute} per minute\"]\n"
    )
}

fn watched(path: &Path) -> (Gate, Watching, Told) {
    let config = Config::read(path).unwrap();
    let gate = config.builder().unwrap().build().unwrap();
    let (tell, told) = channel();
    let watch = config.watch().every(Duration::from_millis(10));
    let watch = watch.on_reload(move |reloaded| drop(tell.send(reloaded.clone())));
    let watching = watch.start(&gate).unwrap();
    (gate, watching, told)
}

fn next(told: &Told) -> Result<Configuration, ConfigError> {
    told.recv_timeout(Duration::from_mins(1)).expect("the watcher sees every change")
}

fn quota(gate: &Gate) -> String {
    gate.plan("pro").unwrap().quotas[0].to_string()
}

#[test]
fn every_kind_of_change_is_seen() {
    let folder = Folder::new("kinds");
    let path = folder.file("gate.toml");
    fs::write(&path, text(1)).unwrap();
    let (gate, _watching, told) = watched(&path);
    // Written in place.
    fs::write(&path, text(2)).unwrap();
    assert_eq!(next(&told).unwrap().version(), 2);
    assert_eq!(gate.configuration().version(), 2);
    // Replaced, as by an editor.
    fs::write(folder.file("new.toml"), text(3)).unwrap();
    fs::rename(folder.file("new.toml"), &path).unwrap();
    assert_eq!(next(&told).unwrap().version(), 3);
    // Removed, and written again.
    fs::remove_file(&path).unwrap();
    let error = next(&told).unwrap_err();
    assert!(error.problem().contains("does not exist") && error.file().is_some(), "{error}");
    assert_eq!(gate.configuration().version(), 3);
    fs::write(&path, text(4)).unwrap();
    assert_eq!(next(&told).unwrap().version(), 4);
    assert!(quota(&gate).contains('4'), "{}", quota(&gate));
}

#[cfg(unix)]
#[test]
fn swapped_symbolic_link_is_seen() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new("links");
    for (version, quota) in [("v1", 1), ("v2", 2)] {
        fs::create_dir(folder.file(version)).unwrap();
        fs::write(folder.file(version).join("gate.toml"), text(quota)).unwrap();
    }
    // The layout of a volume of Kubernetes.
    symlink("v1", folder.file("..data")).unwrap();
    symlink("..data/gate.toml", folder.file("gate.toml")).unwrap();
    let (gate, _watching, told) = watched(&folder.file("gate.toml"));
    symlink("v2", folder.file("..data_new")).unwrap();
    fs::rename(folder.file("..data_new"), folder.file("..data")).unwrap();
    assert_eq!(next(&told).unwrap().version(), 2);
    assert!(quota(&gate).contains('2'), "{}", quota(&gate));
}

#[test]
fn faulty_content_is_told_once_with_its_place() {
    let folder = Folder::new("faults");
    let path = folder.file("gate.toml");
    fs::write(&path, text(1)).unwrap();
    let (gate, _watching, told) = watched(&path);
    let name = path.display().to_string();
    let half = &text(2)[..text(2).len() - 9];
    for (content, line, member, value) in [
        (text(2).replace("\"2 per minute\"", "\"0 per minute\""), 4, "plans.pro.quotas[0]", "0 per minute"),
        (text(2).replace("plans", "plan"), 3, "plan", "plan"),
        (format!("{}[usage]\nmax_rows = 7000\n", text(2)), 5, "usage", ""),
        // Half of a file stays for long.
        (half.to_owned(), 4, "", ""),
    ] {
        fs::write(&path, &content).unwrap();
        let error = next(&told).unwrap_err();
        assert_eq!((error.file(), error.line()), (Some(&*name), Some(line)), "{error}");
        assert!(error.member().starts_with(member), "{error}");
        assert!(value.is_empty() || error.value() == value, "{error}");
        assert!(!error.expected().is_empty(), "{error}");
    }
    fs::write(&path, text(2)).unwrap();
    // No fault is told a second time before.
    assert_eq!(next(&told).unwrap().version(), 2);
    assert!(quota(&gate).contains('2'), "{}", quota(&gate));
}

#[test]
fn settings_of_the_code_are_added_to_each_file() {
    let folder = Folder::new("prepare");
    let path = folder.file("gate.toml");
    fs::write(&path, text(1)).unwrap();
    let config = Config::read(&path).unwrap();
    let add = |builder: tollgate::GateBuilder| builder.plan(tollgate::Plan::new("of the code"));
    let gate = add(config.builder().unwrap()).build().unwrap();
    let (tell, told) = channel();
    let watch = config.watch().every(Duration::from_millis(10)).prepare(add);
    let _watching = watch.on_reload(move |reloaded| drop(tell.send(reloaded.clone()))).start(&gate).unwrap();
    fs::write(&path, text(2)).unwrap();
    next(&told).unwrap();
    assert!(gate.plan("of the code").is_some() && quota(&gate).contains('2'));
    // Without a watcher, the settings of the code are gone.
    gate.reload_file(&path).unwrap();
    assert!(gate.plan("of the code").is_none());
}

#[test]
fn watcher_ends_when_its_handle_is_dropped() {
    let folder = Folder::new("end");
    let path = folder.file("gate.toml");
    fs::write(&path, text(1)).unwrap();
    let (_gate, watching, told) = watched(&path);
    drop(watching);
    // The thread has dropped its callback.
    assert_eq!(told.recv_timeout(Duration::from_mins(1)), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn watcher_of_no_file_is_rejected() {
    let config = Config::from_toml(&text(1), "nowhere/gate.toml").unwrap();
    let gate = config.builder().unwrap().build().unwrap();
    let error = config.watch().start(&gate).unwrap_err();
    assert_eq!(error.file(), Some("nowhere/gate.toml"));
    assert!(error.problem().contains("does not exist"), "{error}");
}
