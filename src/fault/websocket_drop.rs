//! Connections of the run's own listeners are taken away, as a bad network or a closed laptop takes them, and given back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Fault, FaultError, Lasts, Observation, Reverted};
use crate::driver::Seen;
use crate::experiment::decode::{At, Decode};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::node::Node;
use crate::experiment::units::{Share, Time};
use crate::journal::event::When;
use crate::listen::registry::Now;
use crate::listen::{How, Reconnect};
use crate::plan::Plan;
use crate::run::world::World;
use crate::{record, words};

/// A connection is gone within this time, or was not taken away.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// For so long it is looked whether all of them are gone.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long `back: after_end` waits for the open jobs to end, in the times of the file.
const ENDS_WITHIN: Time = Time::secs(1800);

/// So many listeners, a share of them, or all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HowMany {
    All,
    Count(u32),
    Share(Share),
}

impl Decode for HowMany {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        if node.shows_secret("a number of listeners", diags) {
            return None;
        }
        let text = node.scalar().unwrap_or_default();
        let found = match text.as_str() {
            "all" => Some(Self::All),
            other => other.parse().ok().filter(|n| *n > 0).map(Self::Count).or_else(|| other.parse().ok().map(Self::Share)),
        };
        if found.is_none() {
            diags.error(node.span, format!("`{text}` is no number of listeners"), "expected `all`, a number such as 5, or 50%");
        }
        found
    }
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "const": "all" }, { "type": "integer", "minimum": 1 }, Share::schema()] })
    }
}

words! {
    /// When the listeners may come back.
    pub enum Back("moment to come back") {
        /// After `away`, whatever their jobs do.
        AfterAway = "after_away",
        /// After their open jobs have ended without them, and `away`.
        AfterEnd = "after_end",
    }
}

record! {
    /// Takes WebSocket connections away from the run's own listeners.
    pub struct WebsocketDrop {
        /// How many: `all`, a number, or a share. Those with jobs under way come first; the rest is drawn from the seed.
        listeners: HowMany = HowMany::All,
        /// Only the listeners of this load.
        load: Option<At<String>> = None,
        /// How the connection ends.
        how: How = How::Reset,
        /// For how long they stay away.
        away: Time = Time::secs(1),
        /// When that begins to count.
        back: Back = Back::AfterAway,
        /// How they come back.
        reconnect: Reconnect = Reconnect::AsServed,
    }
}

/// Whoever is held away is let go under the fault's name; with the process that held them the connections are gone anyway.
#[derive(Serialize, Deserialize)]
pub struct Undo {
    listeners: Vec<Victim>,
}

#[derive(Serialize, Deserialize)]
struct Victim {
    name: String,
    local: Option<SocketAddr>,
    /// The other end, by the kernel's list.
    remote: Option<SocketAddr>,
}

impl Fault for WebsocketDrop {
    type Undo = Undo;

    fn needs_process(&self) -> bool {
        false
    }

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if self.how == How::Stall && self.away.0.is_zero() {
            diags.error(place, "a stall of no time does nothing", "expected `away: 5s`");
        }
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        vec![format!("drops WebSockets ({}) of its own listeners at {} for {}", self.how, plan.url, self.away)]
    }

    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn lasts(&self) -> Lasts {
        Lasts::Held(self.away.0)
    }

    async fn prepare(&self, world: &World, name: &str) -> Result<Undo, FaultError> {
        let victims = self.victims(world, name);
        if victims.is_empty() {
            return Err(FaultError::Absent("no listener is connected".into()));
        }
        let established = established();
        let remote = |local| established.as_ref()?.get(&canonical(local)).and_then(|ends| ends.first().copied());
        let victim = |(name, now): (String, Now)| Victim { name, local: now.local, remote: now.local.and_then(remote) };
        Ok(Undo { listeners: victims.into_iter().map(victim).collect() })
    }

    async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
        let listeners = &world.shop.listeners;
        let victims = prepared(world, name);
        let orders = victims.iter().filter_map(|victim| listeners.order(&victim.name, name, self.how, self.reconnect));
        let done = join_all(orders.map(|done| tokio::time::timeout(GONE_WITHIN, done))).await;
        if done.iter().any(|d| !matches!(d, Ok(Ok(())))) {
            return Err(FaultError::Failed("some listeners did not let go of their connection".into()));
        }
        if self.back == Back::AfterEnd {
            wait_for_ends(world, name).await;
        }
        Ok(())
    }

    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        match when {
            When::Before => match self.candidates(world).len() {
                0 => Observation::unknown("no listener is connected"),
                n => Observation::intact(format!("{n} listeners are connected")),
            },
            When::During => self.seen_all_gone(world, name).await,
            When::After => seen_back(world, name),
        }
    }

    /// That a server lets go of a client whom it does not hear is no lapse: the client is still away.
    async fn still(&self, world: &World, name: &str) -> Observation {
        let victims = prepared(world, name);
        let is_away = |victim: &&Victim| {
            let now = world.shop.listeners.now(&victim.name).unwrap_or_default();
            if self.how == How::Stall { now.stalled } else { !now.connected }
        };
        let away = victims.iter().filter(is_away).count();
        let told = format!("{away} of {} listeners are away", victims.len());
        Observation::broken(away as f64 / victims.len().max(1) as f64, told)
    }

    async fn revert(_undo: &Undo, world: &World, name: &str) -> Result<Reverted, FaultError> {
        Ok(Reverted(format!("{} listeners may come back", world.shop.listeners.release(name))))
    }
}

impl WebsocketDrop {
    fn candidates(&self, world: &World) -> Vec<(String, Now)> {
        let wanted = |listener: &str| match &self.load {
            Some(load) => listener.rsplit_once('/').is_some_and(|(of, _)| of == load.value),
            None => true,
        };
        world.shop.listeners.connected().into_iter().filter(|(name, _)| wanted(name)).collect()
    }

    fn asked(&self, of: usize) -> usize {
        match self.listeners {
            HowMany::All => of,
            HowMany::Count(n) => n as usize,
            HowMany::Share(share) => (share.0 * of as f64).ceil().max(1.0) as usize,
        }
    }

    /// Seeded; those with open jobs first, since a drop that nobody waits through shows little.
    fn victims(&self, world: &World, name: &str) -> Vec<(String, Now)> {
        let mut all = self.candidates(world);
        all.shuffle(&mut world.plan.seed.stream(&format!("fault/{name}/victims")));
        all.sort_by_key(|(_, now)| now.follows == 0);
        let asked = self.asked(all.len());
        all.truncate(asked);
        all
    }

    /// The kernel may be a little later than the listener that let go: the strongest of some looks, up to the first at which all are
    /// gone.
    async fn seen_all_gone(&self, world: &World, name: &str) -> Observation {
        let strength = |seen: &Observation| if let Observation::Broken { strength, .. } = seen { *strength } else { 0.0 };
        let began = tokio::time::Instant::now();
        let mut best = self.seen_gone(world, name);
        let mut looked_s = 0.0;
        // The time to the beginning of the last look counts: on a busy machine the first may take seconds, and show what was before.
        while strength(&best) < 1.0 && looked_s < SEEN_WITHIN.as_secs_f64() {
            tokio::time::sleep(LOOK_EVERY).await;
            looked_s = began.elapsed().as_secs_f64();
            let seen = self.seen_gone(world, name);
            if strength(&seen) > strength(&best) {
                best = seen;
            }
        }
        best
    }

    /// What the kernel, or for connections that are only silent the listener, says of each connection.
    fn seen_gone(&self, world: &World, name: &str) -> Observation {
        let victims = prepared(world, name);
        let established = established();
        let gone = |victim: &&Victim| {
            let now = world.shop.listeners.now(&victim.name).unwrap_or_default();
            let ends = victim.local.zip(established.as_ref()).and_then(|(local, all)| all.get(&canonical(local)));
            // The kernel's list is no snapshot: a row may be missing from one reading of it.
            let open = ends.is_some_and(|ends| victim.remote.is_none_or(|remote| ends.contains(&canonical(remote))));
            // What the kernel cannot confirm is not proven by our own word.
            let is_told = victim.local.is_none() || established.is_some();
            match self.how {
                How::Stall => now.stalled,
                How::HalfOpen => !now.connected && (open || victim.local.is_none()),
                How::Close | How::Fin | How::Reset => !now.connected && !open && is_told,
            }
        };
        let broken = victims.iter().filter(gone).count();
        let asked = match self.listeners {
            HowMany::Count(n) => n as usize,
            HowMany::All | HowMany::Share(_) => victims.len(),
        };
        let what = match self.how {
            How::Stall => "connections are not read",
            How::HalfOpen => "connections are open and nobody is behind them",
            _ => "connections are gone",
        };
        Observation::broken(broken as f64 / asked.max(1) as f64, format!("{broken} of {asked} {what}"))
    }
}

fn prepared(world: &World, name: &str) -> Vec<Victim> {
    let undo = world.journal.read(|r| r.fault(name).and_then(|f| f.prepared.clone()));
    undo.and_then(|undo| serde_json::from_value::<Undo>(undo).ok()).map_or_else(Vec::new, |undo| undo.listeners)
}

fn seen_back(world: &World, name: &str) -> Observation {
    let victims = prepared(world, name);
    let back = |victim: &&Victim| world.shop.listeners.now(&victim.name).is_some_and(|now| now.connected && !now.stalled);
    let back = victims.iter().filter(back).count();
    match victims.len() - back {
        0 => Observation::intact(format!("all {back} listeners are connected again")),
        away => Observation::broken(away as f64 / victims.len() as f64, format!("{away} listeners are still away")),
    }
}

/// Waits until every job that was open when this fault took the connections away has ended, asking the target itself.
async fn wait_for_ends(world: &World, name: &str) {
    let open: Vec<String> = world.journal.read(|record| {
        let losses = record.listeners.values().flat_map(|l| &l.losses).filter(|loss| loss.fault.as_deref() == Some(name));
        losses.flat_map(|loss| loss.open.clone()).collect()
    });
    let ended = async {
        for id in &open {
            while let Seen::View(view) = world.port.status(id).await
                && !view.state.is_terminal()
            {
                tokio::time::sleep(world.shop.poll_every).await;
            }
        }
    };
    // Jobs that never end are for the checks to name.
    let _ = tokio::time::timeout(ENDS_WITHIN.scaled(world.plan.time_scale).0, ended).await;
}

/// Both ends of the established TCP connections of this machine, as the kernel lists them. A port alone would not do: it may
/// belong to another connection a moment later. `None` where it lists none of a kind, which it does not do otherwise.
fn established() -> Option<HashMap<SocketAddr, Vec<SocketAddr>>> {
    let table = |name: &str| std::fs::read_to_string(format!("/proc/self/net/{name}"));
    let v6 = match table("tcp6") {
        // A machine without IPv6 has no such table.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.ok()?,
    };
    Some(in_tables(&table("tcp").ok()?, &v6))
}

fn canonical(of: SocketAddr) -> SocketAddr {
    SocketAddr::new(of.ip().to_canonical(), of.port())
}

fn in_tables(v4: &str, v6: &str) -> HashMap<SocketAddr, Vec<SocketAddr>> {
    const ESTABLISHED: &str = "01";
    let mut found: HashMap<SocketAddr, Vec<SocketAddr>> = HashMap::new();
    for line in v4.lines().skip(1).chain(v6.lines().skip(1)) {
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        // Most of a busy machine's have been closed, and wait.
        let [_, local, remote, ESTABLISHED, ..] = fields.as_slice() else { continue };
        if let Some((local, remote)) = address(local).zip(address(remote)) {
            found.entry(local).or_default().push(remote);
        }
    }
    found
}

/// An address as the kernel writes it: `0100007F:1F90`, and of IPv6 four such numbers.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let number = |at: usize| Some(u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok()?.to_ne_bytes());
    match ip.len() {
        8 => Some(SocketAddr::from((number(0)?, port))),
        32 => {
            let bytes: [[u8; 4]; 4] = [number(0)?, number(1)?, number(2)?, number(3)?];
            let bytes: [u8; 16] = bytes.concat().try_into().ok()?;
            // Of a socket for both, who speaks IPv4 has an address of it.
            Some(SocketAddr::new(std::net::Ipv6Addr::from(bytes).to_canonical(), port))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_name_connections_of_both_kinds() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        let v4 = format!("{head}   0: 0100007F:1F90 0100007F:C350 01 00000000:00000000\n   1: 0100007F:1F91 00000000:0000 0A 0:0\n");
        let v6 = format!(
            "{head}   0: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:C351 01 0:0\n   1: 0000000000000000FFFF00000100007F:1F92 0000000000000000FFFF00000100007F:C352 01 0:0\n"
        );
        let found = in_tables(&v4, &v6);
        for (local, remote) in
            [("127.0.0.1:8080", "127.0.0.1:50000"), ("[::1]:8080", "[::1]:50001"), ("127.0.0.1:8082", "127.0.0.1:50002")]
        {
            assert_eq!(found.get(&local.parse().unwrap()), Some(&vec![remote.parse().unwrap()]), "{local}: {found:?}");
        }
        assert_eq!(found.len(), 3, "who only listens has no connection");
    }

    #[test]
    fn a_connection_over_ipv6_is_seen_and_seen_gone() {
        let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
            return println!("left out: a connection over IPv6, which this machine does not have");
        };
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, local) = (listener.accept().unwrap().0, client.local_addr().unwrap());
        // The list is no snapshot: a row may be missing from one reading.
        let is_listed = || (0..50).any(|_| established().unwrap().contains_key(&local));
        assert!(is_listed());
        drop((client, server));
        assert!(!is_listed());
    }
}
