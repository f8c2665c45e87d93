use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn second(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A machine and its clock.
struct Bench {
    machine: Reconnect,
    now: Now,
}

impl Bench {
    fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = Policy::default();
        change(&mut policy);
        Self { machine: Reconnect::new(policy, Limits::default(), 7), now: Now::read() }
    }

    fn new() -> Self {
        Self::with(|_| ())
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    fn sleep(&mut self, time: Duration) {
        self.now.wall += time;
    }

    #[track_caller]
    fn connects(&mut self, expected: u32) {
        assert_eq!(self.machine.next(self.now), Step::Connect { attempt: expected });
    }

    fn open(&mut self) {
        self.machine.opened(self.now);
    }

    /// The items of these bytes, as a short text.
    fn read(&mut self, bytes: &str) -> Vec<String> {
        self.machine.bytes(bytes.as_bytes());
        let mut items = Vec::new();
        while let Step::Deliver(item) = self.machine.next(self.now) {
            items.push(match item {
                Item::Event(event) => format!("{} {}", event.last_event_id(), event.data()),
                other => format!("{other:?}"),
            });
        }
        items
    }

    fn end(&mut self) -> Verdict {
        self.machine.ended(self.now).0
    }

    fn unreachable(&mut self) -> Verdict {
        self.machine.failed(self.now, Failure::Passing)
    }

    fn status(&mut self, status: u16) -> Verdict {
        self.machine.refused(self.now, StatusCode::from_u16(status).unwrap(), None, false)
    }

    /// Lets the wait of the verdict pass.
    #[track_caller]
    fn wait_out(&mut self, verdict: Verdict) -> Duration {
        let Verdict::Retry { after, attempt } = verdict else { panic!("{verdict:?}") };
        assert_eq!(self.machine.ready_state(), ReadyState::Connecting);
        if !after.is_zero() {
            let step = self.machine.next(self.now);
            assert!(matches!(step, Step::Wait { until } if until <= self.now.instant + after));
        }
        self.pass(after);
        self.connects(attempt);
        after
    }
}

#[track_caller]
fn after(verdict: Verdict) -> Duration {
    match verdict {
        Verdict::Retry { after, .. } => after,
        Verdict::GiveUp(why) => panic!("{why:?}"),
    }
}

#[test]
fn a_stream_that_delivered_an_event_reconnects_after_the_reconnection_time() {
    let mut bench = Bench::new();
    bench.connects(1);
    bench.open();
    assert_eq!(bench.machine.ready_state(), ReadyState::Open);
    assert_eq!(bench.read("data: a\n\n"), [" a"]);
    let verdict = bench.end();
    assert_eq!(bench.wait_out(verdict), second(3));
}

#[test]
fn a_reconnection_time_of_the_server_stays_in_effect_and_needs_no_blank_line() {
    let mut bench = Bench::new();
    bench.open();
    bench.read("data: a\n\nretry: 1500\n");
    for _ in 0..3 {
        let verdict = bench.end();
        assert_eq!(bench.wait_out(verdict), Duration::from_millis(1500));
        bench.open();
        bench.read("data: b\n\n");
    }
}

#[test]
fn a_reconnection_time_is_clamped_at_both_ends() {
    for (sent, expected) in [("0", 100), ("99", 100), ("101", 101), ("99999999999999", 3_600_000)] {
        let mut bench = Bench::new();
        bench.open();
        bench.read(&format!("retry: {sent}\ndata: a\n\n"));
        assert_eq!(after(bench.end()), Duration::from_millis(expected), "{sent}");
    }
}

#[test]
fn the_caller_may_set_a_reconnection_time_of_zero() {
    let mut bench = Bench::with(|policy| policy.reconnection_time = Duration::ZERO);
    bench.open();
    bench.read("data: a\n\n");
    assert_eq!(after(bench.end()), Duration::ZERO);
    bench.connects(1);
}

#[test]
fn the_last_event_id_is_carried_over_connections() {
    let mut bench = Bench::new();
    bench.open();
    bench.read("id: 7\ndata: a\n\n");
    let verdict = bench.end();
    bench.wait_out(verdict);
    assert_eq!(bench.machine.last_event_id(), "7");
    bench.open();
    assert_eq!(bench.read("data: b\n\n"), ["7 b"]);
    bench.read("id\n\n");
    assert_eq!(bench.machine.last_event_id(), "");
}

#[test]
fn an_event_without_its_blank_line_is_discarded_with_its_id() {
    let mut bench = Bench::new();
    bench.open();
    assert_eq!(bench.read("id: 7\ndata: a\n\nid: 8\ndata: b\n"), ["7 a"]);
    let (verdict, loss) = bench.machine.ended(bench.now);
    assert_eq!(loss, Loss::Unfinished);
    bench.wait_out(verdict);
    assert_eq!(bench.machine.last_event_id(), "7");
    bench.open();
    assert_eq!(bench.read("data: c\n\n"), ["7 c"]);
}

#[test]
fn the_backoff_doubles_to_its_cap_and_never_goes_below_the_reconnection_time() {
    let mut longest = [Duration::ZERO; 9];
    for seed in 0..400 {
        let mut bench = Bench::new();
        bench.machine.random = fastrand::Rng::with_seed(seed);
        for (index, longest) in longest.iter_mut().enumerate() {
            let verdict = bench.unreachable();
            let waited = bench.wait_out(verdict);
            let most = second(3) + second(1 << index).min(second(30));
            assert!((second(3)..=most).contains(&waited), "attempt {index}: {waited:?}");
            *longest = waited.max(*longest);
        }
    }
    // Full jitter: some waits are near each limit.
    for (index, longest) in longest.iter().enumerate() {
        let most = second(3) + second(1 << index).min(second(30));
        assert!(*longest > second(3) + (most - second(3)).mul_f64(0.9), "{index}: {longest:?}");
    }
}

#[test]
fn two_clients_do_not_reconnect_at_the_same_time() {
    let waits = [1, 2].map(|seed| {
        let mut bench = Bench::new();
        bench.machine.random = fastrand::Rng::with_seed(seed);
        after(bench.unreachable())
    });
    assert_ne!(waits[0], waits[1]);
}

#[test]
fn an_empty_answer_does_not_reset_the_backoff_and_neither_does_a_comment() {
    let mut bench = Bench::new();
    for attempt in 1..20 {
        bench.connects(attempt);
        bench.open();
        bench.read(":\nretry: 3000\n");
        let verdict = bench.end();
        assert!(matches!(verdict, Verdict::Retry { attempt: next, .. } if next == attempt + 1));
        bench.wait_out(verdict);
    }
    bench.open();
    bench.read("data: a\n\n");
    assert!(matches!(bench.end(), Verdict::Retry { attempt: 1, after } if after == second(3)));
}

#[test]
fn some_seconds_without_an_event_are_healthy_too() {
    let mut bench = Bench::new();
    let verdict = bench.unreachable();
    bench.wait_out(verdict);
    bench.open();
    bench.pass(second(10));
    assert!(matches!(bench.end(), Verdict::Retry { attempt: 1, after } if after == second(3)));
}

#[test]
fn a_204_ends_reconnecting_for_good() {
    let mut bench = Bench::new();
    assert_eq!(bench.status(204), Verdict::GiveUp(Why::NoContent));
    assert_eq!(bench.machine.ready_state(), ReadyState::Closed);
    bench.machine.restart();
    bench.open();
    bench.sleep(second(9999));
    bench.pass(second(9999));
    assert_eq!(bench.machine.next(bench.now), Step::GiveUp(Why::NoContent));
}

#[test]
fn temporary_statuses_are_retried_and_others_are_final() {
    for status in [408, 425, 429, 500, 502, 503, 504, 520, 529] {
        assert!(matches!(Bench::new().status(status), Verdict::Retry { .. }), "{status}");
    }
    for status in [201, 202, 205, 206, 210, 299, 400, 401, 403, 404, 405, 410, 422, 451, 501, 505] {
        assert_eq!(Bench::new().status(status), Verdict::GiveUp(Why::Final), "{status}");
    }
}

#[test]
fn the_meaning_of_statuses_can_be_changed() {
    let mut bench = Bench::with(|policy| {
        policy.classify = Classify::new(|status| match status.as_u16() {
            404 => StatusClass::Passing,
            _ => StatusClass::Final,
        });
    });
    assert!(matches!(bench.status(404), Verdict::Retry { .. }));
    bench.pass(second(60));
    bench.connects(2);
    assert_eq!(bench.status(503), Verdict::GiveUp(Why::Final));
}

#[test]
fn fresh_credentials_are_tried_once_in_a_row() {
    let mut bench = Bench::new();
    let unauthorized =
        |bench: &mut Bench| bench.machine.refused(bench.now, StatusCode::UNAUTHORIZED, None, true);
    let verdict = unauthorized(&mut bench);
    bench.wait_out(verdict);
    bench.open();
    bench.read("data: a\n\n");
    let verdict = bench.end();
    bench.wait_out(verdict);
    let verdict = unauthorized(&mut bench);
    bench.wait_out(verdict);
    assert_eq!(unauthorized(&mut bench), Verdict::GiveUp(Why::Final));
}

#[test]
fn retry_after_is_respected_up_to_an_hour() {
    for (asked, expected) in [(20, 20), (9_999_999, 3600)] {
        let mut bench = Bench::new();
        let asked = Some(second(asked));
        let verdict = bench.machine.refused(bench.now, StatusCode::TOO_MANY_REQUESTS, asked, false);
        assert_eq!(after(verdict), second(expected));
    }
    let mut bench = Bench::new();
    let verdict =
        bench.machine.refused(bench.now, StatusCode::SERVICE_UNAVAILABLE, Some(SECOND), false);
    assert!(after(verdict) >= second(3), "the reconnection time is the least");
}

#[test]
fn only_fruitless_attempts_use_up_the_time_budget() {
    let mut bench = Bench::with(|policy| policy.budget = Some(second(60)));
    for _ in 0..100 {
        bench.open();
        bench.read("data: a\n\n");
        let verdict = bench.end();
        bench.wait_out(verdict);
    }
    let begun = bench.now.instant;
    let attempts = loop {
        match bench.unreachable() {
            Verdict::GiveUp(Why::Budget { attempts }) => break attempts,
            verdict => bench.wait_out(verdict),
        };
    };
    assert!(attempts > 3);
    assert!(bench.now.instant - begun <= second(60));
}

#[test]
fn attempts_have_a_limit_if_one_is_set() {
    let mut bench = Bench::with(|policy| policy.attempts_max = Some(3));
    for _ in 0..2 {
        let verdict = bench.unreachable();
        bench.wait_out(verdict);
    }
    assert_eq!(bench.unreachable(), Verdict::GiveUp(Why::Budget { attempts: 3 }));
}

#[test]
fn a_first_attempt_can_be_the_last() {
    let mut bench = Bench::with(|policy| policy.retry_first = false);
    assert_eq!(bench.unreachable(), Verdict::GiveUp(Why::Final));
    let mut bench = Bench::with(|policy| policy.retry_first = false);
    assert_eq!(bench.status(503), Verdict::GiveUp(Why::Final));
    let mut bench = Bench::with(|policy| policy.retry_first = false);
    bench.open();
    let verdict = bench.end();
    bench.wait_out(verdict);
    assert!(matches!(bench.status(503), Verdict::Retry { .. }));
}

#[test]
fn a_single_request_is_never_repeated() {
    let once = || Bench::with(|policy| policy.mode = Mode::Once);
    assert_eq!(once().unreachable(), Verdict::GiveUp(Why::Once(Loss::Unreachable)));
    assert_eq!(once().status(503), Verdict::GiveUp(Why::Once(Loss::Refused)));
    let mut bench = once();
    bench.open();
    bench.read("id: 1\nretry: 5\ndata: a\n\n");
    assert_eq!(bench.end(), Verdict::GiveUp(Why::Once(Loss::Ended)));
    let mut bench = once();
    bench.open();
    bench.read("data: a\n");
    assert_eq!(bench.end(), Verdict::GiveUp(Why::Once(Loss::Unfinished)));
    let mut bench = once();
    bench.open();
    assert_eq!(bench.machine.broken(bench.now), Verdict::GiveUp(Why::Once(Loss::Broken)));
}

/// Calls the machine whenever it asks for it, until it reports that the stream is lost.
fn silence_until_lost(bench: &mut Bench) -> Duration {
    let begun = bench.now.instant;
    loop {
        let Step::Read { until } = bench.machine.next(bench.now) else { panic!() };
        bench.pass(until - bench.now.instant);
        if bench.machine.nothing(bench.now).is_some() {
            return bench.now.instant - begun;
        }
    }
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut bench = Bench::with(|policy| policy.silence_max = Some(second(60)));
    bench.open();
    for _ in 0..100 {
        assert!(matches!(bench.machine.next(bench.now), Step::Read { .. }));
        for _ in 0..11 {
            bench.pass(second(5));
            assert!(bench.machine.nothing(bench.now).is_none());
            assert!(matches!(bench.machine.next(bench.now), Step::Read { .. }));
        }
        // Not even a line.
        bench.machine.bytes(b"d");
    }
    assert_eq!(silence_until_lost(&mut bench), second(60));
}

#[test]
fn an_announced_heartbeat_limits_the_silence() {
    let mut bench = Bench::new();
    bench.open();
    bench.machine.heartbeat(second(15));
    assert_eq!(silence_until_lost(&mut bench), second(45));
}

#[test]
fn a_silent_connection_is_not_healthy() {
    let mut bench = Bench::new();
    bench.open();
    silence_until_lost(&mut bench);
    bench.pass(second(60));
    bench.connects(2);
}

#[test]
fn silence_counts_only_while_the_stream_is_read() {
    let mut bench = Bench::new();
    bench.open();
    assert!(matches!(bench.machine.next(bench.now), Step::Read { .. }));
    // The reader was busy for an hour, and did not read what arrived meanwhile.
    bench.pass(second(3600));
    assert!(matches!(bench.machine.next(bench.now), Step::Read { .. }));
    assert!(bench.machine.nothing(bench.now).is_none());
    assert_eq!(silence_until_lost(&mut bench), second(300));
}

#[test]
fn without_a_limit_silence_is_never_a_loss() {
    let mut bench = Bench::with(|policy| policy.silence_max = None);
    bench.open();
    bench.machine.heartbeat(SECOND);
    for _ in 0..1000 {
        let Step::Read { until } = bench.machine.next(bench.now) else { panic!() };
        bench.pass(until - bench.now.instant);
        assert!(bench.machine.nothing(bench.now).is_none());
    }
}

#[test]
fn after_a_suspend_the_stream_reconnects_at_once() {
    let mut bench = Bench::new();
    bench.connects(1);
    bench.open();
    bench.read("id: 7\ndata: a\n\n");
    bench.sleep(second(600));
    assert_eq!(bench.machine.next(bench.now), Step::Drop);
    bench.connects(1);
    assert_eq!(bench.machine.last_event_id(), "7");
}

#[test]
fn after_a_suspend_the_wait_is_over() {
    let mut bench = Bench::new();
    bench.connects(1);
    bench.unreachable();
    bench.sleep(second(600));
    bench.connects(2);
}

#[test]
fn setting_the_clock_is_not_taken_for_a_suspend() {
    let mut bench = Bench::new();
    bench.connects(1);
    bench.open();
    bench.sleep(second(9));
    assert!(matches!(bench.machine.next(bench.now), Step::Read { .. }));
    bench.now.wall -= second(99_999);
    assert!(matches!(bench.machine.next(bench.now), Step::Read { .. }));
}

#[test]
fn a_suspend_does_not_discard_a_single_request() {
    let mut bench = Bench::with(|policy| policy.mode = Mode::Once);
    bench.connects(1);
    bench.open();
    bench.sleep(second(600));
    assert!(matches!(bench.machine.next(bench.now), Step::Read { .. }));
}

#[test]
fn a_restart_connects_at_once_and_discards_an_incomplete_event() {
    let mut bench = Bench::new();
    bench.connects(1);
    bench.unreachable();
    bench.machine.restart();
    bench.connects(2);
    bench.open();
    bench.read("id: 7\ndata: a\n\nid: 8\ndata: b\n");
    bench.machine.restart();
    bench.connects(1);
    bench.open();
    assert_eq!(bench.read("data: c\n\n"), ["7 c"]);
}

#[test]
fn exceeding_the_limits_is_final() {
    let limits = Limits::default().line_bytes_max(8).excess(tidings_sse::decode::Excess::Fail);
    let mut machine = Reconnect::new(Policy::default(), limits, 1);
    let now = Now::read();
    machine.opened(now);
    machine.bytes(b"data: far too long\n\n");
    assert!(matches!(machine.next(now), Step::Deliver(Item::Failed(_))));
    assert!(matches!(machine.next(now), Step::GiveUp(Why::TooLarge(_))));
}
