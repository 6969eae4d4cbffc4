//! The headers that a gate reads, as header names of actix-web.

use std::sync::Arc;

use actix_web::http::header::HeaderName;

use crate::adapter::actix::convert;
use crate::gate::Core;

/// A configuration of a gate, and the names of the headers that it reads on every request. The names are created once, because each
/// creation allocates.
#[derive(Debug)]
pub(super) struct GateHeaders {
    pub(super) core: Arc<Core>,
    names: Vec<(http::HeaderName, HeaderName)>,
}

impl GateHeaders {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let sources = core.sources.iter().filter_map(crate::key::KeySource::header_name);
        let read = sources.chain([core.proxies.header(), core.request_ids.header()]);
        let names = read
            .chain(core.rules.weight_headers())
            .filter_map(|name| Some((name.clone(), convert::name(name)?)))
            .collect();
        Self { core, names }
    }

    /// Returns the actix-web name of a header, if the gate reads that header.
    pub(super) fn known(&self, name: &http::HeaderName) -> Option<&HeaderName> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, name)| name)
    }
}
