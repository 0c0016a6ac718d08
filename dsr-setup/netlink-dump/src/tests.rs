//! The answers are scripted, and say how often they were read to their end; the last test asks the kernel.

use std::num::NonZeroI32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::stream;
use netlink_packet_core::ErrorMessage;

use super::*;

/// One answer: a number, or an error number of the kernel.
type Scripted = Result<u32, i32>;

/// How many answers were read to their end.
static ENDED: AtomicUsize = AtomicUsize::new(0);

struct Script(&'static [Scripted]);

impl GetRequest for Script {
    type Answer = u32;

    fn answers(self) -> impl Stream<Item = Result<u32, rtnetlink::Error>> + Send {
        let end = stream::poll_fn(|_| {
            ENDED.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(None)
        });
        stream::iter(self.0).map(|answer| answer.map_err(failed)).chain(end)
    }
}

fn failed(code: i32) -> rtnetlink::Error {
    let mut message = ErrorMessage::default();
    message.code = NonZeroI32::new(-code);
    rtnetlink::Error::NetlinkError(message)
}

/// The error number, and how many answers were read to their end meanwhile.
async fn ask<T>(
    asking: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> (Result<T, Option<i32>>, usize) {
    let before = ENDED.load(Ordering::Relaxed);
    let answer = asking.await.map_err(|error| {
        let rtnetlink::Error::NetlinkError(message) = &error else { panic!("{error}") };
        message.to_io().raw_os_error()
    });
    (answer, ENDED.load(Ordering::Relaxed) - before)
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_read_to_its_end_and_a_busy_socket_is_asked_again() {
    let whole = dump(|| Script(&[Ok(1), Ok(2), Ok(3)]));
    assert_eq!(ask(whole).await, (Ok(vec![1, 2, 3]), 1));
    assert_eq!(ask(one(Script(&[Ok(1), Ok(2), Ok(3)]))).await, (Ok(Some(1)), 1));
    assert_eq!(ask(one(Script(&[]))).await, (Ok(None), 1));
    // An answer that is an error is not the end.
    assert_eq!(ask(dump(|| Script(&[Ok(1), Err(libc::EPERM), Ok(3)]))).await, (Err(Some(libc::EPERM)), 1));
    assert_eq!(ask(one(Script(&[Ok(1), Err(libc::EPERM), Ok(3)]))).await, (Err(Some(libc::EPERM)), 1));

    let asked = AtomicUsize::new(0);
    let busy_twice = || match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Script(&[Err(libc::EBUSY)]),
        _ => Script(&[Ok(7)]),
    };
    assert_eq!(ask(dump(busy_twice)).await, (Ok(vec![7]), 3));
    let start = Instant::now();
    let (answer, asked) = ask(dump(|| Script(&[Err(libc::EBUSY)]))).await;
    assert_eq!(answer, Err(Some(libc::EBUSY)));
    assert!(asked > 100 && start.elapsed() >= PATIENCE, "{asked} in {:?}", start.elapsed());
}

#[tokio::test]
async fn the_kernel_answers_one_question_after_another() {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    for _ in 0..100 {
        let lo = one(handle.link().get().match_name("lo")).await.unwrap().unwrap();
        let links = dump(|| handle.link().get()).await.unwrap();
        assert!(links.iter().any(|link| link.header.index == lo.header.index));
        let addresses = dump(|| handle.address().get()).await.unwrap();
        assert!(addresses.iter().any(|address| address.header.index == lo.header.index));
        // The first of several answers, and the next question: without the rest, it would be refused.
        one(handle.address().get()).await.unwrap().unwrap();
    }
}
