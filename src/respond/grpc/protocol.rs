//! Which requests are gRPC calls.

use http::header::CONTENT_TYPE;

use crate::request::Occurs;
use crate::request::RequestView;

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `application/grpc`, over HTTP/2.
    Grpc,
    /// `application/grpc-web`, as browsers make it.
    Web,
    /// `application/grpc-web-text`: the same in base64.
    WebText,
}

impl Protocol {
    /// The protocol of a request, by its content type; `None` for a request that is no call, as none is that does not post.
    pub(crate) fn of(view: &RequestView<'_>) -> Option<Self> {
        if view.method() != "POST" {
            return None;
        }
        let Occurs::Once(media_type) = view.field(&CONTENT_TYPE) else { return None };
        Self::named(media_type)
    }

    /// The protocol that a content type names.
    pub(crate) fn named(media_type: &[u8]) -> Option<Self> {
        let known = [
            (&b"application/grpc-web-text"[..], Self::WebText),
            (b"application/grpc-web", Self::Web),
            (b"application/grpc", Self::Grpc),
        ];
        known.into_iter().find(|(name, _)| is_or_extends(media_type, name)).map(|(_, protocol)| protocol)
    }

    /// The content type of an answer that has no body.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        }
    }
}

/// Whether a media type is this one, or this one with a message format (`+proto`) or parameters behind it.
fn is_or_extends(media_type: &[u8], name: &[u8]) -> bool {
    let Some((essence, rest)) = media_type.split_at_checked(name.len()) else { return false };
    essence.eq_ignore_ascii_case(name) && matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..])
}
