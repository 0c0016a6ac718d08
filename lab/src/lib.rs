//! The lab: reads a containerlab topology file and starts it, with one of two engines: without Docker, or with containerlab.
//!
//! ```text
//! topology     pure: the file -> nodes, links                 load    an open-loop HTTP client
//! generate     pure: the topologies `scale` and `lan`,        flows   long-lived connections beside those of `load`
//!              of any size
//!                                                         director   checks hosts, and forwards to the healthy ones
//!    │
//! engine       Lab: up, down        node    Node: exec, spawn, kill, in_netns
//!    ├── containerlab  real containerlab, Docker's containers
//!    ├── netns         this program alone
//!    │      ├── rootfs   the nodes' root filesystem, built once by debootstrap
//!    │      ├── init     `lab __node`, `lab __init`: a node's namespaces, mounts and first process
//!    │      └── link     veth pairs, by netlink
//!    ├── enter         `lab __enter`, `lab __exec`: a command inside a node
//!    └── state         what is up, where another process finds it; locks; the end of it all
//! ```
//!
//! In the engine `netns` a node is a set of namespaces (network, mount, pid, uts, ipc) kept by one process, its init. Everything
//! that belongs to a node (processes, mounts, interfaces) exists only in these namespaces, so nothing is left after that process is
//! killed. A node is found by the command line of its init, so no state has to be stored. `unsafe` is not needed: operations that
//! need a single-threaded process are in the hidden subcommands of the `lab` program.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))] // the crate `output` prints
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cancel;
pub mod director;
pub mod engine;
pub mod enter;
mod error;
pub mod flows;
pub mod generate;
pub mod init;
mod link;
pub mod load;
mod node;
pub mod rootfs;
pub mod state;
pub mod topology;

pub use cancel::Cancel;
pub use engine::{Engine, Lab, Options};
pub use error::Error;
pub use node::{Cut, Node, Output};
