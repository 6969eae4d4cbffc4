//! A plain service.

use std::hint::black_box;

use tollgate::TollgateLayer;
use tower::{Layer, service_fn};

use crate::rig::drive::call;
use crate::rig::gate;
use crate::rig::world::{self, HOT, KEYS, Traffic};
use crate::{Framework, service};

pub(crate) fn framework() -> Framework {
    let (mut first, mut second) = (Traffic::over(HOT), Traffic::over(HOT));
    let mut bare = service_fn(world::handler);
    let gate = gate::with_keys(KEYS).build().expect("the gate is complete");
    let mut gated = TollgateLayer::new(gate).layer(service_fn(world::handler));
    Framework {
        name: "tower",
        bare: service(move || first.request(), move |request| drop(black_box(call(&mut bare, request)))),
        gated: service(move || second.request(), move |request| drop(black_box(call(&mut gated, request)))),
    }
}
