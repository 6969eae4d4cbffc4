//! The answer to a refused request.

use bytes::Bytes;
use http::Response;

use crate::gate::Core;
use crate::respond::{Occasion, limit_headers};
use crate::{Denial, RequestView};

/// The answer, whole: of one to `HEAD` the adapter sends the head alone. `instance` is the path as it was sent.
pub(super) fn refuse(
    core: &Core,
    view: &RequestView<'_>,
    instance: &str,
    denial: &Denial,
) -> Response<Bytes> {
    let id = core.request_ids.of(view);
    let header = core.request_ids.header();
    let occasion = Occasion::new(instance, &id, header, &*core.clock);
    let mut response = core.refuse(denial, |responders, denial| responders.respond(view, denial, &occasion));
    if !response.headers().contains_key(header)
        && let Some(id) = id.to_header()
    {
        response.headers_mut().insert(header, id);
    }
    if core.limit_headers
        && let Some((quotas, standing)) = denial.windows()
    {
        limit_headers(response.headers_mut(), quotas, standing);
    }
    response
}
