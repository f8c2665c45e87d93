//! Identifiers that others choose: event ids and idempotency keys.

use std::io::{Read as _, Write as _};

use super::peers::{attacker, connect};
use super::{Trial, scaled};
use crate::hub::{File, Hub};

#[test]
fn ids_that_another_publisher_also_uses_move_no_subscribers_position() {
    let hub = Hub::start();
    let publish = |topic: &str, id: usize| {
        let form = format!("topic={topic}&id=order-{id}&data={topic}-{id}");
        assert_eq!(hub.connect().post_form("", &form).status, 200);
    };
    // A stranger guesses the ids, before they are used and after.
    (0..10).for_each(|id| publish("stranger", id));
    (0..10).for_each(|id| publish("orders", id));
    (0..10).for_each(|id| publish("stranger", id));
    let mut stream = hub.subscribe_with("topic=orders", "last-event-id: order-7\r\n");
    assert_eq!(stream.cursor(), Some("order-7"));
    hub.publish("orders", "end");
    assert_eq!(stream.data(3), ["orders-8", "orders-9", "end"]);
}

/// Publishes as many updates with long ids as a request may have, each request under a new key.
fn keyed(hub: &Hub, count: usize) {
    let id = "i".repeat(1000);
    let body: String = (0..950)
        .map(|number| format!("{{\"topics\":[\"k\"],\"id\":\"{number}-{id}\"}}\n"))
        .collect();
    let mut answer = vec![0; 64 << 10];
    let mut connection = None;
    for number in 0..count {
        let socket = match &mut connection {
            Some(socket) => socket,
            none => match connect(hub.address, attacker(0, 1)) {
                Ok(socket) => none.insert(socket),
                Err(_) => return,
            },
        };
        let request = format!(
            "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\nidempotency-key: key-{number}\r\n\
             content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // The answer has all ids.
        let mut left = 950 * 1010;
        let mut is_open = socket.write_all(request.as_bytes()).is_ok();
        while is_open && left > 0 {
            let count = socket.read(&mut answer).unwrap_or(0);
            is_open = count > 0;
            left -= count.min(left);
        }
        if !is_open {
            connection = None;
        }
    }
}

#[test]
fn idempotency_keys_of_many_updates_take_a_bounded_memory() {
    let count = scaled(150, 3000);
    let config = File::new(
        "[access]\nanonymous_publish = true\nanonymous_subscribe = true\n\
         [[journal.retention]]\nbytes = \"4MiB\"\n",
    );
    let trial = Trial {
        flags: &["--config", config.path()],
        // The updates that retention keeps, and the keys that are remembered for a day.
        kept_kb: (4 + 16) << 10,
        ..Trial::new("idempotency keys")
    };
    trial.run(|hub| keyed(hub, count));
}
