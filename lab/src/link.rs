//! Links: veth pairs between two nodes.
//!
//! Touches netlink, inside the nodes' network namespaces: no interface ever exists on the host, so none can be left there.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread;

use netlink_dump::{dump, one};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkMessage};
use nix::sched::{CloneFlags, setns};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::topology::{Link, LinkEnd};

/// Runs `work` on a separate thread inside the network namespace: its sockets belong to that namespace.
pub(crate) fn inside<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ask<F>(netns: BorrowedFd<'_>, work: impl FnOnce(Handle) -> F + Send) -> io::Result<()>
where
    F: Future<Output = Result<(), rtnetlink::Error>>,
{
    inside(netns, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            work(handle).await.map_err(|error| {
                if let rtnetlink::Error::NetlinkError(message) = &error {
                    return message.to_io();
                }
                io::Error::other(error.to_string())
            })
        })
    })?
}

/// Sets an interface up.
pub(crate) fn up(netns: impl AsFd, interface: &str) -> io::Result<()> {
    let up = LinkUnspec::new_with_name(interface).up().build();
    ask(netns.as_fd(), |handle| async move { handle.link().set(up).execute().await })
}

/// Sets an interface down.
pub(crate) fn down(netns: impl AsFd, interface: &str) -> io::Result<()> {
    let down = LinkUnspec::new_with_name(interface).down().build();
    ask(netns.as_fd(), |handle| async move { handle.link().set(down).execute().await })
}

/// Sets every interface of the namespace down.
pub(crate) fn all_down(netns: impl AsFd) -> io::Result<()> {
    ask(netns.as_fd(), |handle| async move {
        let links = dump(|| handle.link().get()).await?;
        for link in links {
            let down = LinkMessageBuilder::<LinkUnspec>::new().index(link.header.index).down().build();
            handle.link().set(down).execute().await?;
        }
        Ok(())
    })
}

/// The message that makes a veth pair: `own`, and its peer.
fn pair(link: &Link, own: &str, peer: LinkMessageBuilder<LinkUnspec>) -> LinkMessage {
    let mut own = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth).name(own.to_string());
    let mut peer = peer;
    if let Some(mtu) = link.mtu {
        (own, peer) = (own.mtu(mtu), peer.mtu(mtu));
    }
    own.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build()))).build()
}

/// Makes the link between two nodes that exist, and sets both ends up.
pub(crate) fn connect(link: &Link, here: impl AsFd, there: impl AsFd) -> io::Result<()> {
    let [a, b] = &link.ends;
    let peer_in = there.as_fd().as_raw_fd();
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name(b.interface.clone()).setns_by_fd(peer_in);
    let pair = pair(link, &a.interface, peer);
    ask(here.as_fd(), |handle| async move { handle.link().add(pair).execute().await })?;
    // This is not done when they are made, because one end cannot be up before the other exists.
    up(here, &a.interface)?;
    up(there, &b.interface)
}

/// Makes the end of a link in the first of its two nodes, and sets it up. The other end waits there, as `parked`, until
/// [`complete`] moves it to the other node.
pub(crate) fn half(link: &Link, end: &LinkEnd, parked: &str, here: impl AsFd) -> io::Result<()> {
    let pair = pair(link, &end.interface, LinkMessageBuilder::<LinkUnspec>::new().name(parked.to_string()));
    ask(here.as_fd(), |handle| async move { handle.link().add(pair).execute().await })?;
    up(here, &end.interface)
}

/// Moves the other end of a link to its node, and sets it up.
pub(crate) fn complete(end: &LinkEnd, parked: &str, from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let target = to.as_fd().as_raw_fd();
    let name = end.interface.clone();
    ask(from.as_fd(), |handle| async move {
        if let Some(link) = one(handle.link().get().match_name(parked.to_string())).await? {
            let moved = LinkMessageBuilder::<LinkUnspec>::new().index(link.header.index).name(name.clone());
            handle.link().set(moved.setns_by_fd(target).build()).execute().await?;
        }
        Ok(())
    })?;
    up(to, &end.interface)
}
