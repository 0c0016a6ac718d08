//! Two members of a chain, each a daemon in its own network namespace, with a cable between them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;

use announcer::control::api::{ChainReport, Request, Response};

use super::{Daemon, ip};

/// The addresses of the two members on the interface `segment`. The first is that of the namespace of the test.
pub const ADDRESSES: [&str; 2] = ["10.9.9.11", "10.9.9.12"];

/// Runs `start` for each of the two members, in its namespace, with its folder. The interface `segment` is up and has its address.
pub fn start_two<T: Send + 'static>(
    folder: &Path,
    start: impl Fn(&Path) -> T + Copy + Send + 'static,
) -> (T, T) {
    let folders = ["1", "2"].map(|name| folder.join(name));
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let [first, second] = folders;
    let start = move |folder: &Path, address: &str| {
        ip("link set lo up");
        ip(&format!("address add {address}/24 dev segment"));
        ip("link set segment up");
        start(folder)
    };
    let (says, said) = mpsc::channel();
    let (goes, go) = mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        says.send(nix::unistd::gettid()).unwrap();
        go.recv().unwrap();
        start(&second, ADDRESSES[1])
    });
    let thread = said.recv().unwrap();
    ip(&format!("link add segment type veth peer name segment netns {thread}"));
    goes.send(()).unwrap();
    let first = start(&first, ADDRESSES[0]);
    (first, other.join().unwrap())
}

/// The configuration of a member, whose folder gets the key: `[bgp]`, one router, which does not exist, and `[chain]`, to which keys can be
/// added.
pub fn head(folder: &Path) -> String {
    let key = folder.join("key");
    std::fs::write(&key, "a key of the test, long enough\n").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let [first, second] = ADDRESSES;
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"0s\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nasn = 65000\n\
         [chain]\ninterface = \"segment\"\nmembers = [\"{first}\", \"{second}\"]\nkey_file = \"{}\"\n",
        key.display()
    )
}

/// What the daemon says about the chain.
pub fn chain_of(daemon: &Daemon) -> Result<ChainReport, String> {
    match daemon.ask(&Request::Chain) {
        Ok(Response::Chain(report)) => Ok(*report),
        other => Err(format!("{other:?}")),
    }
}
