//! What talks with routers and with the members of the chain: the network, the chain, BFD and the sessions.
//!
//! Touches nothing but the tasks that it starts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::SharedInputs;
use crate::bfd::io::MainTurns;
use crate::bfd::status::BfdReport;
use crate::bgp::discovery::LearntRouters;
use crate::bgp::io::discovery::{self, DiscoveryChannels};
use crate::bgp::io::peers::Peers;
use crate::bgp::io::{network as host_network, router_id};
use crate::bgp::path::Network;
use crate::bgp::router_id::Identity;
use crate::chain::heartbeat::MemberVipState;
use crate::chain::io::{ChainRequest, GuardRequest, guard_requests, requests};
use crate::chain::status::ChainStatus;
use crate::daemon::io::bfd::{self as bfd_task, BfdChannels};
use crate::daemon::io::chain::{self as chain_task, ChainChannels, ChainStop};
use crate::daemon::io::delivery::{self, DeliveryChannels};
use crate::daemon::io::sessions::{self as sessions_task, Continuations, SessionResources, SessionTurns};
use crate::daemon::io::stop::StoppableTask;
use crate::daemon::io::takeover::{StartedBfd, Takeover};
use crate::daemon::io::tasks::OwnedTask;
use crate::realtime::io::RealtimeThread;

/// What is known of the links of this host.
pub(in crate::daemon) struct NetworkHandles {
    /// The links and addresses.
    pub(in crate::daemon) network: watch::Receiver<Arc<Network>>,
    /// The routers that are learnt from their advertisements.
    pub(in crate::daemon) routers: watch::Receiver<Arc<LearntRouters>>,
    /// The warnings about routers that are not learnt.
    pub(in crate::daemon) warnings: watch::Receiver<Vec<String>>,
    _tasks: [OwnedTask; 2],
}

/// Starts the tasks that watch the links, and that learn routers.
pub(in crate::daemon) fn network(shared: &SharedInputs) -> NetworkHandles {
    let (network_tx, network) = watch::channel(Arc::new(Network::default()));
    let (routers_tx, routers) = watch::channel(Arc::new(LearntRouters::default()));
    let (warnings_tx, warnings) = watch::channel(Vec::new());
    let watching = OwnedTask::new("network".into(), move || host_network::watch(network_tx.clone()));
    let channels = DiscoveryChannels {
        configs: shared.configs.clone(),
        network: network.clone(),
        routers: routers_tx,
        warnings: warnings_tx,
    };
    let learning = OwnedTask::new("router discovery".into(), move || discovery::run(channels.clone()));
    NetworkHandles { network, routers, warnings, _tasks: [watching, learning] }
}

/// What the chain hears and publishes.
pub(in crate::daemon) struct ChainHandles {
    /// The task.
    pub(in crate::daemon) task: StoppableTask<ChainStop>,
    /// Where commands send their requests.
    pub(in crate::daemon) requests: mpsc::Sender<ChainRequest>,
    /// The guard of capacity.
    pub(in crate::daemon) guard: mpsc::Sender<GuardRequest>,
    /// The state of the chain.
    pub(in crate::daemon) status: watch::Receiver<Arc<ChainStatus>>,
    /// Whether sessions may begin.
    pub(in crate::daemon) joined: watch::Receiver<bool>,
}

/// Starts the chain. `vips` are the states of our VIPs; the director hears by `enough_others` which VIPs enough other members announce.
/// With `continues`, a former process has left something, and the sessions go on at once.
pub(in crate::daemon) fn chain(
    shared: &SharedInputs,
    network: &NetworkHandles,
    vips: watch::Receiver<Arc<Vec<(IpAddr, MemberVipState)>>>,
    enough_others: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    realtime: RealtimeThread,
    continues: bool,
) -> ChainHandles {
    let (joined_tx, joined) = watch::channel(continues || shared.configs.borrow().chain.is_none());
    let (status_tx, status) = watch::channel(Arc::new(ChainStatus::default()));
    let (requests, requests_heard) = requests();
    let (guard, questions) = guard_requests();
    let (stop, stopped) = watch::channel(ChainStop::default());
    let channels = ChainChannels {
        configs: shared.configs.clone(),
        network: network.network.clone(),
        vips,
        stop: stopped,
        requests: requests_heard,
        questions,
        enough_others,
        status: status_tx,
        joined: joined_tx,
        realtime,
        files: shared.files.clone(),
        state_dir: shared.state_dir.clone(),
    };
    let task = OwnedTask::new("chain".into(), move || chain_task::keep(channels.clone()));
    ChainHandles { task: StoppableTask { task, stop }, requests, guard, status, joined }
}

/// What BFD and the sessions follow.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct RouterInputs {
    /// What nearly every task follows.
    pub(in crate::daemon) shared: SharedInputs,
    /// The links and addresses.
    pub(in crate::daemon) network: watch::Receiver<Arc<Network>>,
    /// The routers that are learnt from their advertisements.
    pub(in crate::daemon) routers: watch::Receiver<Arc<LearntRouters>>,
    /// The VIPs that are wanted or may still be on this host.
    pub(in crate::daemon) held: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    /// The state that outlives the process.
    pub(in crate::daemon) takeover: Takeover,
}

/// What BFD publishes.
pub(in crate::daemon) struct BfdHandles {
    /// The task.
    pub(in crate::daemon) task: StoppableTask<bool>,
    /// The state of BFD with each router.
    pub(in crate::daemon) status: watch::Receiver<Arc<BfdReport>>,
}

/// Starts BFD, and the task that stores its sessions for the next process. `started` is the thread with the sessions of the former
/// process, if it runs.
pub(in crate::daemon) fn bfd(
    inputs: &RouterInputs,
    started: Option<StartedBfd>,
    realtime: RealtimeThread,
    turns: MainTurns,
) -> BfdHandles {
    let (status_tx, status) = watch::channel(Arc::new(BfdReport::default()));
    let (reports, report) = watch::channel(None);
    tokio::spawn(inputs.takeover.clone().store_bfd(report));
    let (stop, stopped) = watch::channel(false);
    let channels = BfdChannels {
        configs: inputs.shared.configs.clone(),
        vips: inputs.held.clone(),
        routers: inputs.routers.clone(),
        peers: inputs.shared.peers.clone(),
        stop: stopped,
        status: status_tx,
        started: Arc::new(Mutex::new(started)),
        realtime,
        turns,
        report: reports,
    };
    let task = OwnedTask::new("BFD".into(), move || bfd_task::keep(channels.clone()));
    BfdHandles { task: StoppableTask { task, stop }, status }
}

/// What the sessions and the tasks around them publish.
pub(in crate::daemon) struct SessionHandles {
    /// The task of the sessions.
    pub(in crate::daemon) task: StoppableTask<Option<String>>,
    /// The turns of their loops.
    pub(in crate::daemon) turns: watch::Receiver<SessionTurns>,
    /// Our BGP identifier, once it is known.
    pub(in crate::daemon) router_ids: watch::Receiver<Identity>,
    /// The warnings about VIPs that are sent to no router.
    pub(in crate::daemon) delivery_warnings: watch::Receiver<Vec<String>>,
    _tasks: [OwnedTask; 2],
}

/// Starts the sessions, the router id and the delivery. `identity` is our BGP identifier, if it is known already. `restarted`: the
/// previous daemon ended without a withdraw.
pub(in crate::daemon) fn sessions(
    inputs: &RouterInputs,
    identity: Identity,
    restarted: bool,
    bfd: watch::Receiver<Arc<BfdReport>>,
    joined: watch::Receiver<bool>,
    peers: watch::Sender<Peers>,
) -> SessionHandles {
    let RouterInputs { shared, network, routers, held, takeover } = inputs.clone();
    let (router_id_tx, router_ids) = watch::channel(identity);
    let (stop, stopped) = watch::channel(None);
    let resources = SessionResources {
        configs: shared.configs.clone(),
        router_ids: router_ids.clone(),
        vips: held,
        network: network.clone(),
        routers,
        files: shared.files.clone(),
        ribs: shared.ribs.clone(),
        restarted,
        bfd,
        joined,
        stop: stopped,
        continuations: Continuations(Arc::new(move |peer| takeover.continuation(peer))),
    };
    let (turns_tx, turns) = watch::channel(SessionTurns::new());
    let task = OwnedTask::new("sessions".into(), move || {
        sessions_task::keep(resources.clone(), peers.clone(), turns_tx.clone())
    });
    let follows = (shared.configs.clone(), network, shared.peers.clone());
    let router_id_task = OwnedTask::new("router id".into(), move || {
        let (configs, network, peers) = follows.clone();
        router_id::follow(configs, network, peers, router_id_tx.clone())
    });
    let (warnings_tx, delivery_warnings) = watch::channel(Vec::new());
    let channels =
        DeliveryChannels { asks: shared.asks, ribs: shared.ribs, peers: shared.peers, warnings: warnings_tx };
    let delivery_task = OwnedTask::new("delivery".into(), move || delivery::watch(channels.clone()));
    SessionHandles {
        task: StoppableTask { task, stop },
        turns,
        router_ids,
        delivery_warnings,
        _tasks: [router_id_task, delivery_task],
    }
}
