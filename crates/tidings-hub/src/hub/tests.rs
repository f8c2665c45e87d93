use std::future::Future as _;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::Hub;
use crate::shard::{Command, ShardThread};

#[tokio::test]
async fn a_connection_counts_when_it_is_assigned() {
    let hub = Hub::builder().shards(3).build().await.unwrap();
    let mut dealt: Vec<_> = (0..9).map(|_| hub.deal()).collect();
    assert!(hub.shards().iter().all(|shard| shard.load() == 3));
    dealt.clear();
    assert!(hub.shards().iter().all(|shard| shard.load() == 0));
    hub.close().await;
}

#[tokio::test]
async fn a_failed_shard_gets_no_connection_and_is_reported() {
    let hub = Hub::builder().shards(2).build().await.unwrap();
    let fail = |_: &Rc<ShardThread>| panic!("as a fault of the hub would");
    assert!(hub.shards()[0].send(Command::Run(Box::new(fail))).await);
    let failed = hub.failed().await;
    assert!(failed.to_string().contains("a shard"), "{failed}");
    assert!(!hub.is_healthy());
    let dealt: Vec<_> = (0..4).map(|_| hub.deal()).collect();
    assert!(dealt.iter().all(|(shard, _)| std::ptr::eq(*shard, &hub.shards()[1])));
    drop(dealt);
    hub.close().await;
}

#[tokio::test]
async fn a_hub_that_was_stopped_has_not_failed() {
    let hub = Hub::builder().shards(2).build().await.unwrap();
    let watched = hub.clone();
    let mut failed = pin!(watched.failed());
    hub.close().await;
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut failed).await.is_err());
}

#[tokio::test]
async fn a_reader_of_the_operators_page_that_stops_reading_holds_up_no_other() {
    let hub = Hub::builder().shards(1).build().await.unwrap();
    let (go_on, held_up) = std::sync::mpsc::sync_channel::<()>(1);
    let hold_up = move |_: &Rc<ShardThread>| held_up.recv().expect("the test goes on");
    assert!(hub.shards()[0].send(Command::Run(Box::new(hold_up))).await);
    // It needs a reading, and is never polled again.
    let mut first = pin!(hub.reading());
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    go_on.send(()).unwrap();
    let second = tokio::time::timeout(Duration::from_secs(60), hub.reading()).await;
    assert_eq!(second.expect("a reading").slow.count, 0);
    hub.stop().await;
    let later = hub.reading().await;
    assert_eq!(later.slow.count, 0);
}
