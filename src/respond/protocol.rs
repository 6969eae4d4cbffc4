//! The recognition of gRPC calls by method and content type. Without the feature `tonic`, no request is a gRPC call.

use http::header::CONTENT_TYPE;

use crate::request::HeaderCount;
use crate::request::RequestView;

/// The protocol of a gRPC call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `application/grpc`, over HTTP/2.
    Grpc,
    /// `application/grpc-web`, which browsers use.
    Web,
    /// `application/grpc-web-text`: gRPC-web in base64.
    WebText,
}

impl Protocol {
    /// Returns the protocol of a request, by its content type. Returns `None` for a request that is not a gRPC call. A
    /// request that is not a `POST` is never one.
    pub(crate) fn of(view: &RequestView<'_>) -> Option<Self> {
        if view.method() != "POST" {
            return None;
        }
        let HeaderCount::Once(media_type) = view.field(&CONTENT_TYPE) else { return None };
        Self::named(media_type)
    }

    /// Returns the protocol that a content type names.
    pub(crate) fn named(media_type: &[u8]) -> Option<Self> {
        // Nearly no response is one of gRPC: most content types differ in one byte.
        if !cfg!(feature = "tonic") || !matches!(media_type.get(12), Some(b'g' | b'G')) {
            return None;
        }
        let known = [
            (&b"application/grpc-web-text"[..], Self::WebText),
            (b"application/grpc-web", Self::Web),
            (b"application/grpc", Self::Grpc),
        ];
        known.into_iter().find(|(name, _)| is_or_extends(media_type, name)).map(|(_, protocol)| protocol)
    }

    /// Returns the content type of a response without a body.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        }
    }
}

/// Returns true if a media type is `name`, alone or followed by a message format (`+proto`) or parameters.
fn is_or_extends(media_type: &[u8], name: &[u8]) -> bool {
    let Some((essence, rest)) = media_type.split_at_checked(name.len()) else { return false };
    essence.eq_ignore_ascii_case(name) && matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..])
}
