//! An HTTP client of the nodes.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client as Hyper, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use crate::Fault;

/// An HTTP client with persistent connections.
#[derive(Debug, Clone)]
pub(crate) struct Client(Hyper<HttpConnector, Empty<Bytes>>);

impl Client {
    pub(crate) fn new() -> Self {
        Self(Hyper::builder(TokioExecutor::new()).build_http())
    }

    /// Sends a request, and returns the status and the body of the response.
    pub(crate) async fn ask(
        &self,
        method: Method,
        node: &str,
        path: &str,
        key: &str,
    ) -> Result<(u16, String), Fault> {
        let request = Request::builder().method(method).uri(format!("{node}{path}")).header("X-API-Key", key);
        let response = self.0.request(request.body(Empty::new())?).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Sends a `GET`, and returns the status of the response.
    pub(crate) async fn get(&self, node: &str, path: &str, key: &str) -> Result<u16, Fault> {
        Ok(self.ask(Method::GET, node, path, key).await?.0)
    }
}
