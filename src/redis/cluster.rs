//! The nodes of a cluster, and the routing of requests to the master of a slot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{
    Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, Value, from_redis_value,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::address::Endpoint;
use super::connections::check_bound;
use super::fault::blames_connection;
use super::node::{Access, Node, ScriptCall, Target};

/// The masters of a cluster by slot.
///
/// The slots are read when they are first needed, and again after each answer that shows that they may have changed: a
/// redirection, an error of a node, or silence. Until then requests go to the masters that are known. A request that is
/// redirected was not executed, so it is sent again, to the node that was named.
pub(super) struct Cluster {
    access: Arc<Access>,
    state: Mutex<State>,
    /// The result of the last load of the slots.
    loads: watch::Sender<Load>,
    is_loading: AtomicBool,
    /// The node that is asked first for the slots.
    turn: AtomicUsize,
}

#[derive(Default)]
struct State {
    map: Option<Arc<SlotMap>>,
    /// All nodes: those of the URL, those of the slots, and those to which a request was redirected.
    nodes: HashMap<Endpoint, Arc<Node>>,
    loaded: Option<Instant>,
}

#[derive(Default)]
struct Load {
    count: u64,
    failure: Option<RedisError>,
}

/// The masters, by the last slot of each range.
struct SlotMap(Vec<SlotRange>);

struct SlotRange {
    first: u16,
    last: u16,
    master: Arc<Node>,
}

/// The number of slots of every cluster.
const SLOTS: u16 = 16_384;

/// The minimum time between two loads of the slots.
const BETWEEN_LOADS: Duration = Duration::from_millis(100);

/// The pause before a request is repeated whose keys are on two nodes, because their slot moves.
const WHILE_MOVING: Duration = Duration::from_millis(10);

/// The maximum number of nodes to which a request is sent.
const MOST_REDIRECTIONS: usize = 5;

impl Cluster {
    pub(super) fn new(access: Arc<Access>) -> Arc<Self> {
        let (loads, _) = watch::channel(Load::default());
        let (state, is_loading, turn) = (Mutex::default(), AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Self { access, state, loads, is_loading, turn })
    }

    /// Sends one command to the master of the slot of its first argument, or to any master if it has none.
    pub(super) async fn ask<T: FromRedisValue>(self: &Arc<Self>, command: &Cmd) -> RedisResult<T> {
        let key = command.args_iter().nth(1).map(|argument| match argument {
            redis::Arg::Simple(key) => slot(key),
            _ => 0,
        });
        let ask = |node: Arc<Node>, is_moving| async move {
            if is_moving {
                Ok(T::from_redis_value(node.ask_for_moving(command).await?)?)
            } else {
                node.ask(command).await
            }
        };
        match key {
            Some(slot) => self.routed(slot, ask).await,
            None => match self.masters().await?.first() {
                Some(master) => self.watched(ask(Arc::clone(master), false).await),
                None => Err(no_master()),
            },
        }
    }

    /// Runs a script on the master of its first key.
    pub(super) async fn run<T: FromRedisValue>(self: &Arc<Self>, call: ScriptCall<'_>) -> RedisResult<T> {
        let mut slots = call.keys.iter().map(|key| slot(key.as_bytes()));
        let slot = slots.next().unwrap_or(0);
        if slots.any(|other| other != slot) {
            let problem =
                "the keys of one call are in several slots of the cluster; put a hash tag into the prefix";
            return Err(RedisError::from((ErrorKind::InvalidClientConfig, problem)));
        }
        self.routed(slot, |node, is_moving| async move { node.run(call, is_moving).await }).await
    }

    /// Returns the endpoint of the master of a name, if it is known.
    pub(super) fn known_endpoint(&self, name: &str) -> Option<Endpoint> {
        let map = self.state().map.clone()?;
        map.master(slot(name.as_bytes()))?.target.endpoint()
    }

    /// Returns the master of a name.
    pub(super) async fn master_of(self: &Arc<Self>, name: &str) -> RedisResult<Arc<Node>> {
        self.owner(slot(name.as_bytes())).await
    }

    /// Returns all masters that have slots.
    pub(super) async fn masters(self: &Arc<Self>) -> RedisResult<Vec<Arc<Node>>> {
        let map = self.map().await?;
        let mut masters: Vec<Arc<Node>> = Vec::new();
        for range in &map.0 {
            if !masters.iter().any(|known| Arc::ptr_eq(known, &range.master)) {
                masters.push(Arc::clone(&range.master));
            }
        }
        Ok(masters)
    }

    /// Reads the slots again if an answer shows that they may have changed.
    pub(super) fn watched<T>(self: &Arc<Self>, answer: RedisResult<T>) -> RedisResult<T> {
        answer.inspect_err(|error| {
            if blames_connection(error) {
                self.reload();
            }
        })
    }

    /// Sends a request to the master of a slot, and to the nodes to which it is redirected. `send` is told if the slot is
    /// about to move to the node.
    async fn routed<T, F>(self: &Arc<Self>, slot: u16, send: impl Fn(Arc<Node>, bool) -> F) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (mut node, mut is_moving, mut redirections) = (self.owner(slot).await?, false, 0);
        loop {
            let error = match send(Arc::clone(&node), is_moving).await {
                Err(error) => error,
                answer => return answer,
            };
            match error.kind() {
                // The caller ends the wait with its time limit.
                ErrorKind::Server(ServerErrorKind::TryAgain) => sleep(WHILE_MOVING).await,
                ErrorKind::Server(kind @ (ServerErrorKind::Moved | ServerErrorKind::Ask))
                    if redirections < MOST_REDIRECTIONS =>
                {
                    redirections += 1;
                    is_moving = kind == ServerErrorKind::Ask;
                    node = self.redirected(&error, &node)?;
                    if !is_moving {
                        self.reload();
                    }
                }
                _ => return self.watched(Err(error)),
            }
        }
    }

    /// Returns the node that a redirection names.
    fn redirected(&self, error: &RedisError, from: &Node) -> RedisResult<Arc<Node>> {
        let endpoint = error.redirect_node().and_then(|(address, _)| {
            let (host, port) = address.rsplit_once(':')?;
            endpoint(host.trim_matches(['[', ']']), port.parse().ok()?, from)
        });
        endpoint
            .map(|endpoint| self.node(endpoint))
            .ok_or_else(|| RedisError::from((ErrorKind::UnexpectedReturnType, "a redirection names no node")))
    }

    async fn owner(self: &Arc<Self>, slot: u16) -> RedisResult<Arc<Node>> {
        let map = self.map().await?;
        map.master(slot).cloned().ok_or_else(|| {
            self.reload();
            no_master()
        })
    }

    /// Returns the slots. Waits for them if they are not known.
    async fn map(self: &Arc<Self>) -> RedisResult<Arc<SlotMap>> {
        if let Some(map) = &self.state().map {
            return Ok(Arc::clone(map));
        }
        let mut loads = self.loads.subscribe();
        self.reload();
        let _ = loads.changed().await;
        let (known, failure) = (self.state().map.clone(), loads.borrow().failure.clone());
        known.ok_or_else(|| failure.unwrap_or_else(no_master))
    }

    /// Reads the slots in a task, unless one does so already.
    fn reload(self: &Arc<Self>) {
        if self.is_loading.swap(true, Ordering::AcqRel) {
            return;
        }
        let loading = Loading { cluster: Arc::clone(self), failure: None };
        tokio::spawn(async move {
            let cluster = Arc::clone(&loading.cluster);
            let loaded = cluster.state().loaded;
            if let Some(loaded) = loaded {
                sleep_until(loaded + BETWEEN_LOADS).await;
            }
            let failure = cluster.load().await.err();
            cluster.state().loaded = Some(Instant::now());
            loading.end(failure);
        });
    }

    /// Asks one node after the other for the slots, until one answers.
    async fn load(&self) -> RedisResult<()> {
        let seeds = self.access.address.endpoints.iter();
        let mut nodes: Vec<_> = seeds.map(|endpoint| self.node(endpoint.clone())).collect();
        for node in self.state().nodes.values() {
            if !nodes.iter().any(|known| Arc::ptr_eq(known, node)) {
                nodes.push(Arc::clone(node));
            }
        }
        // Another node each time: one that is cut off from the others knows old slots.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
        nodes.rotate_left(turn);
        let mut failure = no_master();
        for node in nodes {
            match self.load_from(&node).await {
                Ok(()) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn load_from(&self, node: &Node) -> RedisResult<()> {
        let ranges: Vec<Vec<Value>> = node.ask(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let (mut map, mut members) = (SlotMap(Vec::with_capacity(ranges.len())), Vec::new());
        for range in ranges {
            let mut values = range.into_iter();
            let mut number = || values.next().map(from_redis_value::<u16>).transpose();
            let (Some(first), Some(last)) = (number()?, number()?) else { continue };
            let named = values.filter_map(|value| member(value, node));
            let of_range: Vec<_> = named.map(|endpoint| self.node(endpoint)).collect();
            if let Some(master) = of_range.first() {
                map.0.push(SlotRange { first, last, master: Arc::clone(master) });
            }
            members.extend(of_range);
        }
        if map.0.is_empty() {
            return Err(RedisError::from((ErrorKind::Io, "the node of the cluster knows no slots")));
        }
        map.0.sort_by_key(|range| range.last);
        self.bind(&map).await?;
        let mut state = self.state();
        let seeds = &self.access.address.endpoints;
        state.nodes.retain(|endpoint, node| {
            seeds.contains(endpoint) || members.iter().any(|member| Arc::ptr_eq(member, node))
        });
        state.map = Some(Arc::new(map));
        Ok(())
    }

    /// Binds the prefix to the authority, unless it is bound to another. Slots that were read before are replaced also if
    /// the master of the name cannot be asked: other masters must not wait for its fail-over.
    async fn bind(&self, map: &SlotMap) -> RedisResult<()> {
        let Some(authority) = self.access.options.authority.as_deref() else { return Ok(()) };
        let name = self.access.name("authority");
        let is_first = self.state().map.is_none();
        let bound = async {
            let master = map.master(slot(name.as_bytes())).ok_or_else(no_master)?;
            let _: Option<String> = master.ask(redis::cmd("SET").arg(&name).arg(authority).arg("NX")).await?;
            master.ask::<String>(redis::cmd("GET").arg(&name)).await
        };
        match bound.await {
            Ok(bound) => check_bound(&bound, &name, authority),
            Err(error) if is_first => Err(error),
            Err(_) => Ok(()),
        }
    }

    /// Returns the node at an endpoint.
    fn node(&self, endpoint: Endpoint) -> Arc<Node> {
        let mut state = self.state();
        let node = state.nodes.entry(endpoint);
        let new = |endpoint: &Endpoint| Node::new(Arc::clone(&self.access), Target::Fixed(endpoint.clone()));
        Arc::clone(node.or_insert_with_key(new))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load of the slots. It ends also if its runtime does.
struct Loading {
    cluster: Arc<Cluster>,
    failure: Option<RedisError>,
}

impl Loading {
    fn end(mut self, failure: Option<RedisError>) {
        self.failure = failure;
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.cluster.is_loading.store(false, Ordering::Release);
        let failure = self.failure.take();
        self.cluster.loads.send_modify(|load| *load = Load { count: load.count.wrapping_add(1), failure });
    }
}

impl SlotMap {
    fn master(&self, slot: u16) -> Option<&Arc<Node>> {
        let place = self.0.partition_point(|range| range.last < slot);
        self.0.get(place).filter(|range| range.first <= slot).map(|range| &range.master)
    }
}

/// Reads a node in an answer to `CLUSTER SLOTS`: its host, its port, and more.
fn member(value: Value, from: &Node) -> Option<Endpoint> {
    let mut values = Vec::<Value>::from_redis_value(value).ok()?.into_iter();
    let host: Option<String> = from_redis_value(values.next()?).ok()?;
    endpoint(&host.unwrap_or_default(), from_redis_value(values.next()?).ok()?, from)
}

/// Returns the endpoint of a node that another node names. Without a host, it is that of the other node.
fn endpoint(host: &str, port: u16, from: &Node) -> Option<Endpoint> {
    match (host, from.target.endpoint()?) {
        // The host name is preferred, and the node has none.
        ("?", _) | ("", Endpoint::Unix(_)) => None,
        ("", Endpoint::Tcp(host, _)) => Some(Endpoint::Tcp(host, port)),
        (host, _) => Some(Endpoint::Tcp(host.to_owned(), port)),
    }
}

fn no_master() -> RedisError {
    RedisError::from((ErrorKind::Io, "no master of the cluster serves the slot"))
}

/// Returns the slot of a key: the checksum of its hash tag, or of the whole key if it has none.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        rest.get(..rest.iter().position(|byte| *byte == b'}')?).filter(|tag| !tag.is_empty())
    });
    checksum(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From the specification of clusters, and `CLUSTER KEYSLOT`.
        assert_eq!(checksum(b"123456789"), 0x31c3);
        let slots: [(&str, u16); 6] = [
            ("foo", 12182),
            ("acme:{a:ada}:credits", slot(b"a:ada")),
            ("{}foo", checksum(b"{}foo") % SLOTS),
            ("{{x}}", slot(b"{x")),
            ("{a}{b}", slot(b"a")),
            ("a{b", checksum(b"a{b") % SLOTS),
        ];
        for (key, expected) in slots {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }
}
