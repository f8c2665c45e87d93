//! The client's task on the journal's thread ends. What happens if the thread itself panics is tested
//! with whole hubs, in `tidings-hub/tests/suite/jetstream_failure.rs`.

use std::time::Duration;

use tidings_core::journal::{AppendError, Health as _, History as _, Log as _, ReadError, Room};
use tidings_core::model::{Position, Rights, Selectors, Update};
use tidings_sse::Event;

use super::{on_a_server, options};
use crate::journal::NatsJournal;

#[test]
fn a_connection_whose_task_has_ended_counts_as_nats_that_is_unreachable() {
    on_a_server(async |nats| {
        let options = options(nats, "A").publish_wait(Duration::from_millis(300));
        let journal = NatsJournal::open(options).await.unwrap();
        let append = || {
            let update = Update::new("a", Event::new("x"));
            journal.append(vec![update], None, Room::uncounted())
        };
        append().await.unwrap();
        // A panic of the client's task would end it too.
        journal.shared().client().drain().await.unwrap();
        while journal.trouble().is_none() {
            tokio::task::yield_now().await;
        }
        let trouble = journal.trouble().unwrap();
        assert!(trouble.starts_with("NATS has been unreachable"), "{trouble}");
        for _ in 0..2 {
            let appended = append().await;
            assert!(matches!(appended, Err(AppendError::Unavailable(_))), "{appended:?}");
        }
        let (all, last) = (Selectors::all(), journal.edges().last.position);
        let read = journal.read(Position::START, last, &all, &Rights::Public).await;
        assert!(matches!(read, Err(ReadError::Unreachable(_))), "{read:?}");
        let batch = journal.read_at_hand(Position::START, last, &all, &Rights::Public);
        assert_eq!(batch.expect("memory has it").records.len(), 1);
        // The thread goes on, and nothing connects again.
        assert!(journal.is_running());
    });
}
