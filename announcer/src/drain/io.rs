//! The drain folder and its one owner: read at the start, watched by inotify, changed for commands.
//!
//! Touches the file system below the state directory, through [`files::io`](crate::files::io) alone. Only this task sends drains to
//! the director, in the order in which the folder was read, so that an old copy cannot arrive after a newer one. A command sends
//! its change to this task, and gets the generation of the Loc-RIB that contains the change.

mod clock;
pub mod connections;
mod folder;
pub mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventStream, Inotify, WatchMask};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::ends::{DrainEnds, EndEvent, EndState};
use super::{
    ChangePlan, DrainChange, DrainFolderReport, DrainRefusal, DrainTarget, Drains, FileStep, Order, WallClock,
};
use crate::files::io::{self as files, FileError, Files, LIMIT};
use crate::model::Generation;

pub use self::clock::{boot_id, clock};
pub use self::folder::{change, directory, read, read_at_start, write};
use self::folder::{end, read_existing};

/// A change of many names may take this many times [`LIMIT`].
const MOST_LIMITS: u32 = 5;
/// The time between two reads of a folder that is not watched or cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The request of a command for a change.
#[derive(Debug)]
pub struct DrainRequest {
    /// What to change.
    pub change: DrainChange,
    /// The channel for the result.
    pub reply: oneshot::Sender<Result<AppliedChange, DrainError>>,
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedChange {
    /// The first generation of the Loc-RIB that contains the change.
    pub generation: Generation,
    /// What was changed, and what was not.
    pub plan: ChangePlan,
}

/// Why a change was not made, or not completely.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The folder or a file in it.
    #[error("the drain folder `{0}` cannot be changed: {1}")]
    Folder(String, FileError),
    /// There was no answer in time. The change may have been made, or may be made later.
    #[error(
        "the change of the drain folder `{0}` was not confirmed: {1}; `announcer status` says what is drained"
    )]
    Unconfirmed(String, FileError),
    /// It is not made at all.
    #[error("{0}")]
    Refused(#[from] DrainRefusal),
    /// The daemon ends.
    #[error("announcer is ending")]
    Ending,
}

/// The fact for the director: the contents of the folder, and the VIPs whose flaps are forgotten.
#[derive(Debug)]
pub struct DrainFact {
    /// All drains in force.
    pub drains: Drains,
    /// The VIPs whose flaps are forgotten.
    pub forgiven: Vec<DrainTarget>,
    /// The VIPs whose drain has ended by itself: their checks have to pass anew.
    pub renewed: Vec<DrainTarget>,
    /// The channel for the generation in which this holds; `None`: no command waits for it.
    pub applied: Option<oneshot::Sender<Generation>>,
}

/// The requests of commands. A restarted task continues with the waiting requests.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Mutex<mpsc::Receiver<DrainRequest>>>);

/// A channel for requests.
pub fn requests() -> (mpsc::Sender<DrainRequest>, Requests) {
    let (sender, receiver) = mpsc::channel(16);
    (sender, Requests(Arc::new(Mutex::new(receiver))))
}

/// The owner of the drain folder.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The folder.
    pub folder: PathBuf,
    /// The door to the disk.
    pub files: Files,
    /// To the director.
    pub facts: mpsc::Sender<DrainFact>,
    /// The published state.
    pub state: watch::Sender<DrainFolderReport>,
    /// To the history: drains that come near their end.
    pub events: mpsc::Sender<EndEvent>,
    /// The wall clock.
    pub clock: fn() -> WallClock,
}

impl Owner {
    /// Serves requests and follows the folder; never returns. It reads the folder at each start, so that no change is missed.
    pub async fn run(self, requests: Requests) {
        let mut requests = requests.0.lock().await;
        let (mut events, mut complained) = (None, false);
        let mut folder = Folder::default();
        loop {
            if events.is_none() {
                events = match self.watch(&folder).await {
                    Ok(events) => Some(events),
                    Err(error) => {
                        if !complained {
                            warn!(folder = %self.folder.display(), %error, "drain folder is not watched, read every second");
                        }
                        None
                    }
                };
                complained = events.is_none();
                self.refresh(&mut folder, None).await;
            }
            let look_again = events.is_none() || self.state.borrow().unreadable.is_some();
            let ends = self.state.borrow().drains.ends((self.clock)());
            for event in folder.near(&ends) {
                let _ = self.events.send(event).await; // if this fails, the daemon is ending
            }
            let prepared = folder.preparing.values().min().copied();
            if !ends.over.is_empty() {
                self.end(&mut folder, ends.over).await;
            }
            tokio::select! {
                Some(request) = requests.recv() => self.serve(request, &mut folder).await,
                event = next(&mut events) => match event {
                    FolderEvent::Content => drop(self.refresh(&mut folder, None).await),
                    FolderEvent::Removed => {
                        info!(folder = %self.folder.display(), "drain folder was removed, made again");
                        folder.make = true;
                        events = None;
                    }
                    FolderEvent::Away => {
                        warn!(folder = %self.folder.display(), "drain folder was moved or unmounted, drained services stay \
                            drained");
                        folder.away = true;
                        events = None;
                    }
                },
                () = sleep_until(prepared.unwrap_or_else(Instant::now)), if prepared.is_some() => {
                    self.refresh(&mut folder, None).await;
                }
                () = sleep(ends.look_again.unwrap_or_default()), if ends.look_again.is_some() => {}
                () = sleep(LOOK_AGAIN), if look_again => {
                    if folder.away {
                        events = None;
                    }
                    self.refresh(&mut folder, None).await;
                }
            }
        }
    }

    async fn serve(&self, DrainRequest { change, reply }: DrainRequest, folder: &mut Folder) {
        // Each file is written and synced separately.
        let targets = u32::try_from(change.targets().len()).unwrap_or(u32::MAX);
        let limit = LIMIT * targets.clamp(1, MOST_LIMITS);
        folder.forgiven.extend(change.forgiven());
        let order = change.clone();
        let changed =
            self.files.run_within(&self.folder, limit, move |folder| self::change(folder, &change)).await;
        let name = || self.folder.display().to_string();
        let done = match changed {
            // After an error, the folder is read, so that a partial change is known.
            Err(error) => {
                self.refresh(folder, None).await;
                let hangs = matches!(error, FileError::Hangs(_));
                Err(if hangs {
                    DrainError::Unconfirmed(name(), error)
                } else {
                    DrainError::Folder(name(), error)
                })
            }
            Ok(Err(refusal)) => Err(refusal.into()),
            Ok(Ok(plan)) => {
                folder.away = false; // a command has changed this folder, so it counts again
                folder.device = None;
                folder.prepare(&order, &plan);
                let (applied, generation) = oneshot::channel();
                match self.refresh(folder, Some(applied)).await {
                    Some(error) => Err(DrainError::Unconfirmed(name(), error)),
                    None => match generation.await {
                        Ok(generation) => Ok(AppliedChange { generation, plan }),
                        Err(_) => Err(DrainError::Ending),
                    },
                }
            }
        };
        audit(&order, &done);
        let _ = reply.send(done); // the requester may have ended
    }

    /// Ends drains whose time has come.
    async fn end(&self, folder: &mut Folder, over: Vec<Order>) {
        let clock = self.clock;
        folder.ending.clone_from(&over);
        let ended = self.files.run(&self.folder, move |path| end(path, &over, clock())).await;
        if let Err(error) = ended {
            warn!(folder = %self.folder.display(), %error, "drains were not ended, they stay");
        }
        self.refresh(folder, None).await;
    }

    /// Reads the folder, and publishes the result to the director and all others. Returns the error if it could not be read. Then
    /// the drains stay, and flaps that should be forgotten are forgotten at the next read.
    async fn refresh(
        &self,
        folder: &mut Folder,
        applied: Option<oneshot::Sender<Generation>>,
    ) -> Option<FileError> {
        let known = folder.clone();
        let read = self.files.run(&self.folder, move |path| {
            if known.away && known.device != Some(files::device(path)?) {
                return Err(io::Error::other("it was moved or unmounted"));
            }
            let drains = if known.make { read(path)? } else { read_existing(path)? };
            Ok((drains, files::device(path)?))
        });
        match read.await {
            Ok((drains, device)) => {
                (folder.away, folder.make, folder.device) = (false, false, Some(device));
                let forgiven = std::mem::take(&mut folder.forgiven);
                let ended = folder.ended(&drains, (self.clock)());
                let renewed = ended.iter().map(|event| event.order.target.clone()).collect();
                for event in ended {
                    let _ = self.events.send(event).await; // if this fails, the daemon is ending
                }
                let now = Instant::now();
                folder.preparing.retain(|_, until| *until > now);
                let drains = drains.preparing(&folder.preparing.keys().map(String::as_str).collect());
                self.publish(|state| *state = DrainFolderReport { drains: drains.clone(), unreadable: None });
                let _ = self.facts.send(DrainFact { drains, forgiven, renewed, applied }).await; // if this fails, the daemon is ending
                None
            }
            Err(error) => {
                let why = error.to_string();
                if self.state.borrow().unreadable.as_ref() != Some(&why) {
                    warn!(folder = %self.folder.display(), error = why, "drain folder was not read, drained services stay drained");
                }
                self.publish(|state| state.unreadable = Some(why));
                Some(error)
            }
        }
    }

    fn publish(&self, change: impl FnOnce(&mut DrainFolderReport)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }

    /// Begins to watch the folder.
    async fn watch(&self, known: &Folder) -> Result<EventStream<[u8; 4096]>, FileError> {
        let content = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB;
        let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
        let make = known.make;
        let begin = move |folder: &Path| {
            if make {
                files::make_folder(folder)?;
            }
            let inotify = Inotify::init()?;
            inotify.watches().add(folder, content | itself)?;
            Ok(inotify)
        };
        Ok(self.files.run(&self.folder, begin).await?.into_event_stream([0; 4096])?)
    }
}

/// The state of the folder between two reads.
#[derive(Debug, Clone)]
struct Folder {
    /// The file system of the folder at the last read.
    device: Option<u64>,
    /// The folder was moved or unmounted. A folder that is in its place now does not have the drains.
    away: bool,
    /// Whether a missing folder is made: at the start, and after it was removed. A folder that is missing for another reason is not
    /// made again, because an empty folder would end every drain.
    make: bool,
    /// The VIPs whose flaps are forgotten at the next read.
    forgiven: Vec<DrainTarget>,
    /// The drains whose files are being removed because their time has come.
    ending: Vec<Order>,
    /// The drains in preparation, by file, and until when. This is not in the files: a start of the daemon withdraws.
    preparing: BTreeMap<String, Instant>,
    /// The drains whose end was warned of.
    warned: BTreeSet<(String, EndState, Option<SystemTime>)>,
}

impl Folder {
    /// Begins or ends the preparation of orders.
    fn prepare(&mut self, change: &DrainChange, plan: &ChangePlan) {
        match change {
            DrainChange::Drain { prepare, .. } => {
                let until = Instant::now() + *prepare;
                for step in &plan.steps {
                    match step {
                        FileStep::Write(file, _) => drop(self.preparing.insert(file.clone(), until)),
                        FileStep::Remove(_) => {}
                    }
                }
            }
            DrainChange::Withdraw { .. } => self.preparing.retain(|file, _| !plan.withdrawn.contains(file)),
            DrainChange::Undrain { .. } | DrainChange::Extend { .. } => {}
        }
    }

    /// The drains that have ended by themselves, by the contents of the folder. A file that is still there may be removed later,
    /// because the file system hangs.
    fn ended(&mut self, drains: &Drains, clock: WallClock) -> Vec<EndEvent> {
        let there = |known: &Order| drains.of(&known.target).iter().find(|order| order.file == known.file);
        let (still, gone): (Vec<Order>, Vec<Order>) =
            std::mem::take(&mut self.ending).into_iter().partition(|order| there(order).is_some());
        self.ending = still
            .into_iter()
            .filter(|order| there(order).is_some_and(|order| order.is_over(clock)))
            .collect();
        let events: Vec<EndEvent> =
            gone.into_iter().map(|order| EndEvent { order, state: EndState::Ended }).collect();
        for EndEvent { order: Order { file, target, drain, .. }, state } in &events {
            info!(file, what = %target, by = drain.by, "{}", state.sentence());
        }
        events
    }

    /// The drains that will end soon, or that stay although their time has come: each once, and logged.
    fn near(&mut self, ends: &DrainEnds) -> Vec<EndEvent> {
        let of = |orders: &[Order], state| {
            orders.iter().map(|order| EndEvent { order: order.clone(), state }).collect::<Vec<_>>()
        };
        let mut all = of(&ends.soon, EndState::EndsSoon);
        all.extend(of(&ends.held, EndState::Stays));
        let key = |event: &EndEvent| (event.order.file.clone(), event.state, event.order.end());
        self.warned.retain(|known| all.iter().any(|event| key(event) == *known));
        all.retain(|event| self.warned.insert(key(event)));
        for EndEvent { order, state } in &all {
            let until = order.drain.until.as_ref().map(ToString::to_string);
            warn!(file = order.file, what = %order.target, by = order.drain.by, until, "{}", state.sentence());
        }
        all
    }
}

/// Logs who has ordered what, and whether it was accepted.
fn audit(change: &DrainChange, done: &Result<AppliedChange, DrainError>) {
    let owner = change.owner();
    let (operator, uid) = (owner.to_string(), owner.uid);
    let what = change.targets().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (order, drain, force) = match change {
        DrainChange::Drain { drain, .. } => ("drain", Some(drain), false),
        DrainChange::Withdraw { .. } => return, // a part of the order of the drain
        DrainChange::Undrain { force, .. } => ("undrain", None, *force),
        DrainChange::Extend { force, .. } => ("extend", None, *force),
    };
    let reason = drain.and_then(|drain| drain.reason.clone());
    let until = drain.and_then(|drain| drain.until.as_ref().map(ToString::to_string));
    match done {
        Ok(AppliedChange { generation, .. }) => {
            info!(operator, uid, order, what, reason, until, force, generation, "order was accepted");
        }
        Err(error) => warn!(operator, uid, order, what, reason, until, force, %error, "order was refused"),
    }
}

impl Default for Folder {
    fn default() -> Self {
        Folder {
            device: None,
            away: false,
            make: true,
            forgiven: Vec::new(),
            ending: Vec::new(),
            preparing: BTreeMap::new(),
            warned: BTreeSet::new(),
        }
    }
}

/// An event of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FolderEvent {
    /// Its contents have changed.
    Content,
    /// It was removed.
    Removed,
    /// It was moved, or its file system was unmounted.
    Away,
}

/// Waits for events, and reads all that are available.
async fn next(events: &mut Option<EventStream<[u8; 4096]>>) -> FolderEvent {
    let Some(events) = events else { return pending().await };
    let (mut event, mut seen) = (events.next().await, FolderEvent::Content);
    loop {
        match event {
            Some(Ok(event)) if event.mask.intersects(EventMask::MOVE_SELF | EventMask::UNMOUNT) => {
                return FolderEvent::Away;
            }
            Some(Ok(event)) if event.mask.intersects(EventMask::DELETE_SELF | EventMask::IGNORED) => {
                seen = FolderEvent::Removed;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return FolderEvent::Removed,
        }
        match events.next().now_or_never() {
            Some(more) => event = more,
            None => return seen,
        }
    }
}

#[cfg(test)]
mod tests;
