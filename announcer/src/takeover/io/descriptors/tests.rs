use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::*;

/// systemd's side: the messages that have come, with the descriptors.
struct StoringManager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
    notifier: Notifier,
}

impl StoringManager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let notifier = Notifier::new(path.to_str().unwrap(), None).unwrap();
        StoringManager { socket, _folder: folder, notifier }
    }

    fn received(&self) -> Vec<(String, Option<OwnedFd>)> {
        std::iter::from_fn(|| receive(&self.socket)).collect()
    }

    fn texts(&self) -> Vec<String> {
        self.received().into_iter().map(|(text, _)| text.replace('\n', " ")).collect()
    }
}

#[allow(unsafe_code, reason = "recvmsg returns numbers")]
fn receive(socket: &UnixDatagram) -> Option<(String, Option<OwnedFd>)> {
    let (mut octets, mut space) = ([0; 4096], nix::cmsg_space!([RawFd; 4]));
    let mut slices = [IoSliceMut::new(&mut octets)];
    let got = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty()).ok()?;
    let numbers: Vec<RawFd> = got
        .cmsgs()
        .unwrap()
        .flat_map(|message| {
            let ControlMessageOwned::ScmRights(numbers) = message else { panic!("{message:?}") };
            numbers
        })
        .collect();
    let length = got.bytes;
    // SAFETY: the kernel has just made this descriptor for us.
    let descriptor = numbers.first().map(|number| unsafe { OwnedFd::from_raw_fd(*number) });
    assert!(numbers.len() < 2, "one descriptor a message");
    Some((String::from_utf8(octets[..length].to_vec()).unwrap(), descriptor))
}

#[test]
fn systemd_gets_a_copy_that_outlives_ours() {
    let manager = StoringManager::new();
    let descriptors = Descriptors::new(manager.notifier.clone());
    let (mut near, far) = UnixStream::pair().unwrap();
    descriptors.keep("peer-r1", far.as_fd()).unwrap();
    drop((far, descriptors));
    let mut all = manager.received();
    assert_eq!(all.len(), 1);
    let (text, descriptor) = all.remove(0);
    assert_eq!(text, "FDSTORE=1\nFDNAME=peer-r1");
    near.write_all(b"still open").unwrap();
    let mut octets = [0; 10];
    UnixStream::from(descriptor.unwrap()).read_exact(&mut octets).unwrap();
    assert_eq!(&octets, b"still open");
}

#[test]
fn a_kept_connection_ends_when_it_is_forgotten() {
    let descriptors = Descriptors::new(Notifier::none());
    let (mut near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    descriptors.clone().keep("peer-r1", far.as_fd()).unwrap();
    drop(far);
    let error = near.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the duplicate keeps it open");
    descriptors.forget("peer-r1");
    assert_eq!(near.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_replaces_a_descriptor_is_stored_after_the_old_one_is_removed() {
    let manager = StoringManager::new();
    let descriptors = Descriptors::new(manager.notifier.clone());
    let (one, other) = UnixStream::pair().unwrap();
    descriptors.keep("peer-r1", one.as_fd()).unwrap();
    descriptors.keep("peer-r1", other.as_fd()).unwrap();
    descriptors.keep("state", other.as_fd()).unwrap();
    descriptors.forget("former"); // which only a former process has kept
    descriptors.forget_all();
    assert_eq!(
        manager.texts(),
        [
            "FDSTORE=1 FDNAME=peer-r1",
            "FDSTOREREMOVE=1 FDNAME=peer-r1",
            "FDSTORE=1 FDNAME=peer-r1",
            "FDSTORE=1 FDNAME=state",
            "FDSTOREREMOVE=1 FDNAME=former",
            "FDSTOREREMOVE=1 FDNAME=peer-r1",
            "FDSTOREREMOVE=1 FDNAME=state",
        ]
    );
    for name in ["", "a:b", "a\nREADY=1"] {
        assert!(descriptors.keep(name, one.as_fd()).is_err(), "{name}");
    }
    assert_eq!(manager.texts(), Vec::<String>::new());
}

#[test]
fn a_message_that_systemd_does_not_read_is_sent_later_and_in_order() {
    let manager = StoringManager::new();
    let descriptors = Descriptors::new(manager.notifier.clone());
    let (one, other) = UnixStream::pair().unwrap();
    assert!((0..100_000).any(|_| !manager.notifier.send(&Notice::Alive)), "the queue is full at last");
    descriptors.keep("peer-r1", one.as_fd()).unwrap();
    descriptors.keep("peer-r1", other.as_fd()).unwrap();
    descriptors.keep("peer-r2", one.as_fd()).unwrap();
    descriptors.forget("peer-r2");
    assert_eq!(descriptors.crash_store(), CrashStore::Unread(3));
    assert!(manager.texts().iter().all(|text| text == "WATCHDOG=1"));
    descriptors.send_again();
    // Nothing was ever stored for the first `peer-r1` and for `peer-r2`.
    let want =
        ["FDSTOREREMOVE=1 FDNAME=peer-r1", "FDSTORE=1 FDNAME=peer-r1", "FDSTOREREMOVE=1 FDNAME=peer-r2"];
    assert_eq!(manager.texts(), want);
    assert_eq!(descriptors.crash_store(), CrashStore::Unconfirmed);
}

#[test]
fn programs_inherit_what_is_kept_only_for_the_exec() {
    let descriptors = Descriptors::new(Notifier::none());
    let (one, _other) = UnixStream::pair().unwrap();
    descriptors.keep("peer-r1", one.as_fd()).unwrap();
    let flags = |number: i32| {
        let info = std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(number.to_string())).unwrap();
        info.lines()
            .find_map(|line| line.strip_prefix("flags:").map(|flags| flags.trim().to_owned()))
            .unwrap()
    };
    let is_inherited =
        |number: i32| i64::from_str_radix(&flags(number), 8).unwrap() & i64::from(libc::O_CLOEXEC) == 0;
    let open = descriptors.open_for_exec().unwrap();
    let number = open.numbers()["peer-r1"];
    assert!(is_inherited(number));
    drop(open);
    assert!(!is_inherited(number));
    assert!(!is_inherited(one.as_raw_fd()));
}
