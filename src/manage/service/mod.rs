//! Key management over HTTP, as in the specification of `QuantConomy`.

mod body;
mod listing;
mod openapi;
mod render;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use body::{MemberValue, Members};
use bytes::Bytes;
use http::{Method, Response, StatusCode};

use crate::clock::Timestamp;
use crate::denial::{Denial, DenialKind};
use crate::gate::Gate;
use crate::gate::RouteDescription;
use crate::gate::{Answering, BodyFault, Mounted, MountedRequest};
use crate::key::{KeyId, KeySource, PathPattern};
use crate::manage::{KeyChange, KeyManager, KeyView, ManageError, NewKey};
use crate::name::Scope;
use crate::panics::{Panicked, guard_future};

type Outcome = Result<Response<Bytes>, Refusal>;

/// The reason why a request failed.
enum Refusal {
    Denied(Denial),
    Managed(ManageError),
}

impl From<ManageError> for Refusal {
    fn from(error: ManageError) -> Self {
        Self::Managed(error)
    }
}

impl From<DenialKind> for Refusal {
    fn from(kind: DenialKind) -> Self {
        Self::Denied(Denial::of(kind))
    }
}

/// The expected form of a time, for error messages.
const MOMENT: &str = "an RFC 3339 timestamp such as `2026-12-31T23:59:59Z`";

/// The endpoints below a path: `POST` and `GET` on the path, `GET`, `PATCH` and `DELETE` on `/{id}`, `POST` on
/// `/{id}/rotate`, and `GET` on `/me`. If the gate has usage, also `GET` on `/me/usage` and `/{id}/usage`.
#[derive(Debug)]
pub(crate) struct Endpoints {
    path: String,
    has_usage: bool,
}

impl Endpoints {
    pub(crate) fn under(path: &str) -> Self {
        Self { path: path.to_owned(), has_usage: false }
    }
}

impl Mounted for Endpoints {
    fn with_usage(&self) -> Arc<dyn Mounted> {
        Arc::new(Self { path: self.path.clone(), has_usage: true })
    }

    fn takes(&self, path: &str) -> bool {
        path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn allowed(&self, path: &str) -> Option<&'static str> {
        allowed(&segments(path.strip_prefix(&self.path)?), self.has_usage)
    }

    fn routes(&self) -> Vec<(&'static str, String)> {
        let below = [
            ("get", ""),
            ("post", ""),
            ("get", "/me"),
            ("get", "/{id}"),
            ("patch", "/{id}"),
            ("delete", "/{id}"),
            ("post", "/{id}/rotate"),
        ];
        let usage = [("get", "/me/usage"), ("get", "/{id}/usage")].into_iter().filter(|_| self.has_usage);
        below
            .into_iter()
            .chain(usage)
            .map(|(method, rest)| (method, format!("{}{rest}", self.path)))
            .collect()
    }

    fn described(&self, method: &str, path: &str) -> RouteDescription {
        let below = path.strip_prefix(&self.path).map(segments).unwrap_or_default();
        openapi::described(&below, method)
    }

    fn revoked(&self, path: &str, query: &str, sources: &[KeySource]) -> Option<KeyId> {
        let below = segments(path.strip_prefix(&self.path)?);
        let [id] = below.as_slice() else { return None };
        listing::with_issued(query, sources).ok()?;
        key_id(id).ok()
    }

    fn answer(&self, gate: Gate, call: MountedRequest) -> Answering {
        let below = call.path.strip_prefix(&self.path).map(str::to_owned);
        Box::pin(async move {
            let outcome = match (KeyManager::new(gate.clone()), below) {
                (Ok(manager), Some(below)) => {
                    let manager = manager.for_caller(&call.principal, call.client);
                    let routed = guard_future("key management", async {
                        Session { manager, call: &call }.route(&below).await
                    });
                    routed.await.unwrap_or_else(|Panicked| Err(Refusal::Denied(Denial::panicked())))
                }
                _ => Err(DenialKind::NotFound.into()),
            };
            let denial = match outcome {
                Ok(response) => return with_request_id(response, &gate, &call),
                Err(Refusal::Denied(denial)) => denial,
                Err(Refusal::Managed(error)) => without_keys(error, &gate).into(),
            };
            let denial = denial.of_key(call.principal.record());
            let core = gate.core();
            let context = core.denial_context(&call.path, &call.request_id);
            core.refuse(&core.observed(&denial), |responders, denial| {
                responders.http().respond(denial, &context)
            })
        })
    }
}

/// Returns the same error, with text that resembles a key removed.
fn without_keys(error: ManageError, gate: &Gate) -> ManageError {
    let core = gate.core();
    let hints = |text: &str| core.looks_like_key(text);
    match error {
        ManageError::Invalid { member, problem } if hints(&member) || hints(&problem) => {
            let member = if hints(&member) { "body".to_owned() } else { member };
            ManageError::invalid(member, "is invalid, and contains what looks like a key")
        }
        error => error,
    }
}

fn with_request_id(mut response: Response<Bytes>, gate: &Gate, call: &MountedRequest) -> Response<Bytes> {
    if let Some(id) = call.request_id.to_header() {
        response.headers_mut().insert(gate.core().request_ids.header(), id);
    }
    response
}

fn segments(below: &str) -> Vec<&str> {
    below.split('/').skip(1).collect()
}

/// Returns the methods that an endpoint allows.
fn allowed(segments: &[&str], has_usage: bool) -> Option<&'static str> {
    Some(match segments {
        [] => "GET, HEAD, POST",
        ["me"] => "GET, HEAD",
        // There is no endpoint at the path of the list with a trailing slash.
        [""] => return None,
        [_] => "GET, HEAD, PATCH, DELETE",
        [_, "rotate"] => "POST",
        [_, "usage"] if has_usage => "GET, HEAD",
        _ => return None,
    })
}

/// The handling of one request of a caller.
struct Session<'c> {
    manager: KeyManager,
    call: &'c MountedRequest,
}

impl Session<'_> {
    /// Returns the error for a request that matches no endpoint by its path or by its method.
    fn not_there(&self, segments: &[&str]) -> Refusal {
        match allowed(segments, self.manager.gate().usage().is_some()) {
            Some(allowed) => Refusal::Denied(Denial::method(Some(allowed))),
            None => DenialKind::NotFound.into(),
        }
    }

    async fn route(&self, below: &str) -> Outcome {
        let segments = segments(below);
        let method = if self.call.method == Method::HEAD { &Method::GET } else { &self.call.method };
        match (segments.as_slice(), method) {
            ([], &Method::GET) => self.list().await,
            ([], &Method::POST) => self.create().await,
            (["me"], &Method::GET) => self.key_usage().await,
            (["me" | ""], _) => Err(self.not_there(&segments)),
            (["me", "usage"], &Method::GET) => {
                // A key needs no grant to see its own usage.
                let key = self.manager.issuer().await?.ok_or(ManageError::Issuer)?;
                self.usage(key.id).await
            }
            ([id, "usage"], &Method::GET) => self.usage(self.manager.get(key_id(id)?).await?.id).await,
            ([id], &Method::GET) => {
                let key = self.manager.get(key_id(id)?).await?;
                Ok(render::answer(StatusCode::OK, render::whole(&self.manager.view(key)), None))
            }
            ([id], &Method::PATCH) => self.update(key_id(id)?).await,
            ([id], &Method::DELETE) => self.revoke(key_id(id)?).await,
            ([id, "rotate"], &Method::POST) => self.rotate(key_id(id)?).await,
            _ => Err(self.not_there(&segments)),
        }
    }

    fn members(&self) -> Result<Members, Refusal> {
        let media_type =
            self.call.media_type.as_deref().map(|text| text.split(';').next().unwrap_or_default().trim());
        if media_type.is_some_and(|media_type| !media_type.eq_ignore_ascii_case("application/json")) {
            return Err(DenialKind::UnsupportedMediaType.into());
        }
        Ok(Members::read(self.body()?)?)
    }

    fn body(&self) -> Result<&Bytes, Refusal> {
        match &self.call.body {
            Ok(body) => Ok(body),
            Err(BodyFault::TooLarge) => Err(DenialKind::BodyTooLarge.into()),
            Err(BodyFault::Broken) => Err(DenialKind::BadRequest.into()),
            Err(BodyFault::Late) => Err(DenialKind::BodyTimeout.into()),
        }
    }

    async fn create(&self) -> Outcome {
        let mut members = self.members()?;
        let name = members.text("name")?.ok_or_else(|| ManageError::invalid("name", "is required"))?;
        let mut new = NewKey::new(self.call.principal.account().id.clone(), name);
        new.expires_at = required(members.parsed::<Timestamp>("expiresAt", MOMENT)?, "expiresAt", MOMENT)?;
        new.environment = members.text("environment")?.map(Into::into);
        new.scopes = required(scopes(&mut members)?, "scopes", "a list of strings")?;
        new.paths = required(paths(&mut members)?, "paths", "a list of strings")?;
        new.allowlist = required(allowlist(&mut members)?, "allowIps", "a list of strings")?;
        new.metadata = members.table("metadata")?.unwrap_or_default();
        members.end()?;
        let issued = self.manager.issue(new).await?;
        Ok(with_secret(StatusCode::CREATED, &self.manager.view(issued.key), issued.secret.expose_secret()))
    }

    async fn update(&self, id: KeyId) -> Outcome {
        let mut members = self.members()?;
        let mut change = KeyChange { name: members.text("name")?, ..KeyChange::default() };
        change.expires_at = changed(members.parsed::<Timestamp>("expiresAt", MOMENT)?);
        change.scopes = changed(scopes(&mut members)?);
        change.paths = changed(paths(&mut members)?);
        change.allowlist = changed(allowlist(&mut members)?);
        change.metadata = members.table("metadata")?;
        members.end()?;
        let key = self.manager.update(id, &change).await?;
        Ok(render::answer(StatusCode::OK, render::whole(&self.manager.view(key)), None))
    }

    /// Rotates a key. The body may set the number of seconds for which the old secret stays valid: `{"overlapSeconds":
    /// 3600}`. Defaults to 0.
    async fn rotate(&self, id: KeyId) -> Outcome {
        let mut overlap = Duration::ZERO;
        if !self.body()?.is_empty() {
            let mut members = self.members()?;
            overlap = Duration::from_secs(members.number("overlapSeconds", LONGEST_OVERLAP)?.unwrap_or(0));
            members.end()?;
        }
        let rotated = self.manager.rotate(id, overlap).await?;
        Ok(with_secret(StatusCode::OK, &self.manager.view(rotated.key), rotated.secret.expose_secret()))
    }

    /// Revokes a key. The query `?withIssued=true` revokes the keys that it issued too. A body is rejected, because it
    /// would have no effect.
    async fn revoke(&self, id: KeyId) -> Outcome {
        if !self.body()?.is_empty() {
            return Err(ManageError::invalid("body", "must be empty").into());
        }
        let core = self.manager.gate().core();
        let sources = &core.sources;
        if listing::with_issued(self.call.query.as_deref().unwrap_or_default(), sources)? {
            return Ok(render::revoked(&self.manager.revoke_with_issued(id).await?));
        }
        let revoked = self.manager.revoke(id).await?;
        Ok(if revoked.announced { render::nothing() } else { render::revoked(&[revoked]) })
    }

    async fn list(&self) -> Outcome {
        let core = self.manager.gate().core();
        let sources = &core.sources;
        let asked = listing::asked(self.call.query.as_deref().unwrap_or_default(), sources)?;
        let issuers = core.management.lists_issuers;
        Ok(render::page(&self.manager.list(&asked).await?, issuers))
    }

    /// Returns the usage of a key that the caller may read.
    async fn usage(&self, key: KeyId) -> Outcome {
        let gate = self.manager.gate();
        let Some(usage) = gate.usage() else { return Err(DenialKind::NotFound.into()) };
        let (query, now) = (self.call.query.as_deref().unwrap_or_default(), gate.clock().now().wall());
        Ok(usage::answer(usage, key, query, &gate.core().sources, now).await?)
    }

    async fn key_usage(&self) -> Outcome {
        // Report the caller's key as the authority stores it. A key needs no grant to see its own limits and balance.
        let key = self.manager.issuer().await?.ok_or(ManageError::Issuer)?;
        let key = self.manager.view(key);
        let key_usage = self.manager.gate().key_usage(&key.record).await?;
        Ok(render::left(&key, &key_usage))
    }
}

/// The longest overlap of a rotation: 90 days.
const LONGEST_OVERLAP: u64 = 90 * 86_400;

/// Parses an id. An invalid id is answered with 400, as is any value that cannot be read.
fn key_id(text: &str) -> Result<KeyId, ManageError> {
    text.parse().map_err(|_| ManageError::invalid("id", "must be a UUID"))
}

fn scopes(members: &mut Members) -> Result<MemberValue<Vec<Scope>>, ManageError> {
    members.list("scopes", |text| Ok(Scope::from(text)))
}

fn paths(members: &mut Members) -> Result<MemberValue<Vec<PathPattern>>, ManageError> {
    members.list("paths", str::parse)
}

fn allowlist(members: &mut Members) -> Result<MemberValue<Vec<ipnet::IpNet>>, ManageError> {
    members.list("allowIps", crate::network::parse_network)
}

/// Returns a member of a new key. `null` is rejected, because there is nothing to remove.
fn required<T>(given: MemberValue<T>, member: &str, form: &str) -> Result<Option<T>, ManageError> {
    match given {
        MemberValue::Absent => Ok(None),
        MemberValue::Value(value) => Ok(Some(value)),
        MemberValue::Null => Err(ManageError::invalid(member, format!("must be {form}"))),
    }
}

/// Returns a member of a change. `null` removes the restriction.
#[expect(clippy::option_option, reason = "leaving a restriction and taking it away are two things")]
fn changed<T>(given: MemberValue<T>) -> Option<Option<T>> {
    match given {
        MemberValue::Absent => None,
        MemberValue::Null => Some(None),
        MemberValue::Value(value) => Some(Some(value)),
    }
}

/// Returns a response that contains the secret. No other response does.
fn with_secret(status: StatusCode, key: &KeyView, secret: &str) -> Response<Bytes> {
    let mut data = render::whole(key);
    data["apiKey"] = secret.into();
    render::answer(status, data, None)
}

impl crate::gate::GateBuilder {
    /// Serves the key management endpoints under this path, behind the gate's own checks. Requests are free of charge
    /// and rate limited, and they are denied for plans that do not include the management of keys. No rule may match
    /// this path or a path below it.
    ///
    /// A key that is restricted to scopes or paths can manage keys only if that is granted to it: see
    /// [`management_scope`](Self::management_scope). `GET` on `/me` below the path returns the current limits and
    /// balance of the calling key, and is allowed for every key. If the gate has [usage](Self::usage_store), `GET` on
    /// `/me/usage` returns the usage of the calling key, and `GET` on `/ID/usage` that of another key of its account.
    ///
    /// A key can be revoked by another key of its account even if a window of the account is exhausted: see
    /// [`KeyManager`].
    pub fn management(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.mounted = Some(Arc::new(Endpoints::under(&path)));
        self.management.path = Some(path);
        self
    }
}
