//! Keys as they ought to be: vectors, walked from end to end.

use std::time::Duration;

use tollgate::clock::Timestamp;
use tollgate::key::KeyStatus;
use tollgate::{DenialKind, KeyId};

/// A key that cannot be changed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead;

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    account: &'static str,
    name: String,
    status: KeyStatus,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    gone: bool,
}

/// A secret that was handed out, and until when it is good.
#[derive(Debug, Clone)]
pub(crate) struct Secret {
    pub(crate) text: String,
    key: KeyId,
    until: Option<Timestamp>,
    /// True if the key cannot even be found any more.
    forgotten: bool,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now: Timestamp,
    pub(crate) keys: Vec<Key>,
    pub(crate) secrets: Vec<Secret>,
}

type Line = (KeyId, String, KeyStatus, bool, Option<Timestamp>);

impl Model {
    pub(crate) fn starting_at(now: Timestamp) -> Self {
        Self { now, keys: Vec::new(), secrets: Vec::new() }
    }

    fn has_expired(&self, key: &Key) -> bool {
        key.expires_at.is_some_and(|end| end <= self.now)
    }

    fn lives(&self, key: &Key) -> bool {
        !key.gone && key.status != KeyStatus::Revoked && !self.has_expired(key)
    }

    /// Returns true if a key exists and can be changed.
    pub(crate) fn alive(&self, key: usize) -> Result<bool, Dead> {
        match self.keys.get(key).filter(|key| !key.gone) {
            None => Ok(false),
            Some(key) if self.lives(key) => Ok(true),
            Some(_) => Err(Dead),
        }
    }

    /// Ada has no cap; bob has one of two keys, and no expiry of his own.
    pub(crate) fn may_issue(&self, account: &str, expires_at: Option<Timestamp>) -> bool {
        let held = self.keys.iter().filter(|key| key.account == account && self.lives(key)).count();
        if account == "ada" {
            expires_at.is_none_or(|end| end > self.now)
        } else {
            expires_at.is_none() && held < 2
        }
    }

    pub(crate) fn issue(
        &mut self,
        account: &'static str,
        id: KeyId,
        secret: String,
        expires_at: Option<Timestamp>,
    ) {
        let (name, status) = ("a key".to_owned(), KeyStatus::Active);
        self.keys.push(Key { id, account, name, status, expires_at, revoked_at: None, gone: false });
        self.secrets.push(Secret { text: secret, key: id, until: None, forgotten: false });
    }

    pub(crate) fn pause(&mut self, key: usize, paused: bool) -> Result<bool, Dead> {
        let alive = self.alive(key)?;
        if alive {
            self.keys[key].status = if paused { KeyStatus::Paused } else { KeyStatus::Active };
        }
        Ok(alive)
    }

    pub(crate) fn rename(&mut self, key: usize) -> Result<bool, Dead> {
        let alive = self.alive(key)?;
        if alive {
            self.keys[key].name = format!("renamed {key}");
        }
        Ok(alive)
    }

    pub(crate) fn expire(&mut self, key: usize, end: Option<Timestamp>) -> Result<bool, Dead> {
        if !self.alive(key)? {
            return Ok(false);
        }
        let (now, key) = (self.now, &mut self.keys[key]);
        let same = key.expires_at == end;
        let allowed = same || (key.account == "ada" && end.is_none_or(|end| end > now));
        if allowed {
            key.expires_at = end;
        }
        Ok(allowed)
    }

    pub(crate) fn revoke(&mut self, key: usize) -> bool {
        let there = self.keys.get(key).is_some_and(|key| !key.gone);
        if there && self.keys[key].status != KeyStatus::Revoked {
            self.keys[key].status = KeyStatus::Revoked;
            self.keys[key].revoked_at = Some(self.now);
            let id = self.keys[key].id;
            // The secret on its way out is forgotten, the current one is remembered as revoked.
            self.secrets.iter_mut().filter(|old| old.key == id && old.until.is_some()).for_each(forget);
        }
        there
    }

    pub(crate) fn rotate(&mut self, key: usize, secret: String, overlap: Duration) {
        let (id, now) = (self.keys[key].id, self.now);
        for old in self.secrets.iter_mut().filter(|old| old.key == id) {
            if old.until.is_some() || overlap.is_zero() {
                forget(old);
            }
            old.until.get_or_insert(now.saturating_add(overlap));
        }
        self.secrets.push(Secret { text: secret, key: id, until: None, forgotten: false });
    }

    pub(crate) fn leak(&mut self, secret: &str) -> Option<KeyId> {
        let found = self.secrets.iter().find(|known| known.text == secret && !known.forgotten)?;
        if found.until.is_some_and(|until| until <= self.now) {
            return None;
        }
        let (id, place) = (found.key, self.keys.iter().position(|key| key.id == found.key)?);
        self.revoke(place).then_some(id)
    }

    pub(crate) fn erase(&mut self, key: usize) -> bool {
        let there = self.keys.get(key).is_some_and(|key| !key.gone);
        if there {
            let id = self.keys[key].id;
            self.keys[key].gone = true;
            self.secrets.iter_mut().filter(|secret| secret.key == id).for_each(forget);
        }
        there
    }

    pub(crate) fn sweep(&mut self, dead_for: u64) -> u64 {
        let dead_for = i64::try_from(dead_for).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(self.now.as_millis() - dead_for);
        let dead = |end: Option<Timestamp>| end.is_some_and(|end| end < before);
        let found: Vec<usize> = (0..self.keys.len())
            .filter(|&place| {
                let key = &self.keys[place];
                !key.gone && (dead(key.revoked_at) || dead(key.expires_at))
            })
            .collect();
        found.iter().filter(|&&key| self.erase(key)).count() as u64
    }

    /// Returns the expected denial of a secret.
    pub(crate) fn refusal(&self, secret: &str) -> Option<DenialKind> {
        let Some(known) = self.secrets.iter().find(|known| known.text == secret && !known.forgotten) else {
            return Some(DenialKind::Unknown);
        };
        let key = self.keys.iter().find(|key| key.id == known.key)?;
        if known.until.is_some_and(|until| until <= self.now) || key.status == KeyStatus::Revoked {
            return Some(DenialKind::Revoked);
        }
        if self.has_expired(key) {
            return Some(DenialKind::Expired);
        }
        (key.status == KeyStatus::Paused).then_some(DenialKind::Paused)
    }

    /// Returns the expected content of a list.
    pub(crate) fn listed(&self, account: Option<&str>) -> Vec<Line> {
        let there =
            self.keys.iter().filter(|key| !key.gone && account.is_none_or(|name| name == key.account));
        let line = |key: &Key| {
            let active = key.status == KeyStatus::Active && !self.has_expired(key);
            (key.id, key.name.clone(), key.status, active, key.expires_at)
        };
        let mut lines: Vec<Line> = there.map(line).collect();
        lines.sort_by_key(|line| line.0);
        lines
    }
}

fn forget(secret: &mut Secret) {
    secret.forgotten = true;
}
