//! The alert sink that calls a URL, as Standard Webhooks 1.0.0 describes
//! (<https://github.com/standard-webhooks/standard-webhooks>).

mod address;
mod secret;
mod send;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use http::Uri;
use http::uri::Scheme;
use sha2::{Digest, Sha256};

pub use secret::WebhookSecret;

use crate::alert::{AlertSink, Delivery};
use crate::error::{ConfigError, StoreError};
use crate::future::StoreFuture;

/// An alert sink that sends each alert to a URL as a signed `POST` request, as
/// [Standard Webhooks](https://www.standardwebhooks.com) describes.
///
/// The body is the JSON of the [`Alert`](crate::alert::Alert). The headers are `webhook-id`, which is the alert's id in
/// every attempt, `webhook-timestamp`, the time of the attempt by the gate's clock, and `webhook-signature`. A receiver
/// verifies the signature with any library of Standard Webhooks.
///
/// A response with a status from 200 to 299 within 20 seconds is a success. After a 410 the alert is not sent again. After
/// any other response, and if there is none, it is sent again later. A redirect is not followed.
///
/// # Addresses
///
/// Loopback, private, link-local and other addresses that are not public are refused, unless
/// [`allowing_private_addresses`](Self::allowing_private_addresses) is called. Each attempt looks the host up, checks the
/// addresses and connects to one that it has checked. The operator chooses the URLs: never take them from customers
/// without a proxy that separates the networks.
///
/// The certificate of an `https` URL is verified with the certificates of the system, or those that the environment
/// variable `SSL_CERT_FILE` names.
///
/// # Example
///
/// ```
/// use tollgate::Gate;
/// use tollgate::alert::Webhook;
///
/// let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// let webhook = Webhook::new("https://acme.example/alerts", secret);
/// webhook.check()?;
/// let builder = Gate::builder().alert_sink(webhook);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Webhook(Arc<Target>);

#[derive(Clone)]
struct Target {
    name: String,
    url: String,
    /// The newest secret comes first.
    secrets: Vec<WebhookSecret>,
    allows_private: bool,
}

/// The parts of a URL.
struct Parts {
    is_https: bool,
    /// The host, without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// The value of the header `Host`.
    authority: String,
    path: String,
}

impl Webhook {
    /// Creates a sink that sends alerts to this URL, and signs them with this secret.
    pub fn new(url: &str, secret: WebhookSecret) -> Self {
        // The name is stored and logged. The URL may contain a token.
        let host = url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_owned)).unwrap_or_default();
        let hash = Sha256::digest(url).first_chunk().copied().map_or(0, u64::from_be_bytes);
        Self(Arc::new(Target {
            name: format!("webhook {host} {hash:016x}"),
            url: url.to_owned(),
            secrets: vec![secret],
            allows_private: false,
        }))
    }

    /// Also signs with the previous secret, until the receiver knows the new one.
    #[must_use]
    pub fn with_old_secret(mut self, secret: WebhookSecret) -> Self {
        Arc::make_mut(&mut self.0).secrets.push(secret);
        self
    }

    /// Allows a URL that leads to a loopback or private address, and the scheme `http`.
    #[must_use]
    pub fn allowing_private_addresses(mut self) -> Self {
        Arc::make_mut(&mut self.0).allows_private = true;
        self
    }

    /// Returns a number that differs, in this process, if the settings do. It reveals nothing about the secrets.
    pub(crate) fn mark(&self) -> u64 {
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let Target { url, secrets, allows_private, .. } = &*self.0;
        let signed: Vec<_> = secrets.iter().map(|secret| secret.sign("", "", b"")).collect();
        SEED.hash_one((url, signed, allows_private))
    }

    /// Checks the URL as far as this is possible without a look-up.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is not one of `https`, if it contains a user or a port that does not
    /// exist, or if it leads to an address that is not
    /// public and private addresses are not allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.0.parts().map(drop).map_err(|error| error.in_member("url"))
    }
}

impl Target {
    fn parts(&self) -> Result<Parts, ConfigError> {
        let refuse =
            |value: &str, problem: &str, expected: &str| Err(ConfigError::new(value, problem, expected));
        let expected = "write it as in `https://acme.example/alerts`";
        // The errors do not quote the path, which may contain a token.
        let Ok(url) = self.url.parse::<Uri>() else { return refuse("", "invalid URL", expected) };
        let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
            return refuse("", "the URL has no scheme or no host", expected);
        };
        let is_https = *scheme == Scheme::HTTPS;
        if authority.as_str().contains('@') {
            return refuse(
                "",
                "the URL contains a user",
                "leave the user out; the secret authenticates requests",
            );
        }
        if !is_https && *scheme != Scheme::HTTP {
            return refuse(scheme.as_str(), "unknown scheme of a webhook", expected);
        }
        if !is_https && !self.allows_private {
            let expected = "use `https`, or set `allow_private` for a receiver in your own network";
            return refuse("http", "the alerts would be sent without encryption", expected);
        }
        // `http` accepts any text after the colon.
        let port = authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
        if let Some(port) = port
            && authority.port_u16().is_none_or(|port| port == 0)
        {
            return refuse(port, "invalid port", "write a port from 1 to 65535, or leave it out");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_refused = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| !address::is_public(address));
        if is_refused && !self.allows_private {
            let expected = "use a public host, or set `allow_private` for a receiver in your own network";
            return refuse(host, "the URL leads to an address that is not public", expected);
        }
        Ok(Parts {
            is_https,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

impl AlertSink for Webhook {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn deliver(&self, delivery: &Delivery) -> StoreFuture<()> {
        let body = match serde_json::to_vec(&delivery.alert) {
            Ok(body) => body,
            Err(error) => return StoreFuture::failed(StoreError::rejected(error)),
        };
        let (target, id) = (Arc::clone(&self.0), delivery.alert.id.to_string());
        let seconds = delivery.now.as_millis().div_euclid(1_000).to_string();
        StoreFuture::boxed(async move { send::send(&target, &id, &seconds, body).await })
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Webhook").field(&self.0.name).finish()
    }
}
