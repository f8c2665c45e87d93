//! Random acts, against what a naive model expects.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Publish { topics: Vec<usize>, bytes: usize, private: bool },
    Join { shard: usize, selectors: usize, topics: bool, notices: bool, from: f64 },
    Route { shard: usize, count: usize, aside: bool },
    Flush { shard: usize },
    Advance { reader: usize },
    Room { reader: usize, room: usize },
    Break { reader: usize },
    Leave { reader: usize },
}

fn selector_sets() -> Vec<Selectors> {
    let exact = |topic: &str| Selector::Exact(topic.into());
    vec![
        Selectors::all(),
        Selectors::topic("a"),
        Selectors::topic("b"),
        Selectors::new([exact("a"), exact("b")]).unwrap(),
        Selectors::new([exact("a"), exact("c"), exact("d")]).unwrap(),
        Selectors::new([exact("a"), Selector::All]).unwrap(),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let sizes = prop_oneof![4 => 0..40_usize, 2 => Just(300), 1 => Just(5000)];
    prop_oneof![
        6 => (proptest::collection::vec(0..TOPICS.len(), 1..3), sizes, proptest::bool::weighted(0.1))
            .prop_map(|(topics, bytes, private)| Act::Publish { topics, bytes, private }),
        2 => (0..4_usize, 0..6_usize, any::<bool>(), any::<bool>(), 0.0..1.5)
            .prop_map(|(shard, selectors, topics, notices, from)| {
                Act::Join { shard, selectors, topics, notices, from }
            }),
        4 => (0..4_usize, 1..20_usize, proptest::bool::weighted(0.2))
            .prop_map(|(shard, count, aside)| Act::Route { shard, count, aside }),
        4 => (0..4_usize).prop_map(|shard| Act::Flush { shard }),
        6 => (0..64_usize).prop_map(|reader| Act::Advance { reader }),
        4 => (0..64_usize, prop_oneof![Just(0), 1..200_usize, 1..2000_usize, Just(10_000_000)])
            .prop_map(|(reader, room)| Act::Room { reader, room }),
        1 => (0..64_usize).prop_map(|reader| Act::Break { reader }),
        1 => (0..64_usize).prop_map(|reader| Act::Leave { reader }),
    ]
}

fn simulate(shards: usize, kept: u64, acts: &[Act]) {
    let mut world = World::new(shards, kept);
    world.unlocated = true;
    let sets = selector_sets();
    for act in acts {
        let count = world.readers.len().max(1);
        match act {
            Act::Publish { topics, bytes, private } => world.publish(topics, *bytes, *private),
            Act::Join { shard, selectors, topics, notices, from } => {
                let last = world.published.len() as u64;
                // Cursors of all ages, and often the newest: that is a first connection.
                let start = (last as f64 * from.min(1.0)) as u64;
                let selectors = sets[*selectors].clone();
                let journal = &world.journal;
                let missed = now(journal.missed(Position::new(start), &selectors, &Rights::Public));
                let start = match missed.unwrap() {
                    Some(missed) => missed.resume.position.number(),
                    None => start,
                };
                let options = stream_options(*topics, *notices);
                world.join(shard % shards, selectors, options, start);
            }
            Act::Route { shard, count, aside } => {
                world.route_past(shard % shards, *count, *aside);
            }
            Act::Flush { shard } => {
                world.flush(shard % shards);
            }
            Act::Advance { reader } if !world.readers.is_empty() => world.advance(reader % count),
            Act::Room { reader, room } if !world.readers.is_empty() => {
                world.readers[reader % count].wire.0.borrow_mut().room = *room;
            }
            Act::Break { reader } if !world.readers.is_empty() => {
                world.readers[reader % count].wire.0.borrow_mut().broken = true;
            }
            Act::Leave { reader } if !world.readers.is_empty() => {
                let reader = &mut world.readers[reader % count];
                world.shards[reader.shard].0.remove(reader.key);
                reader.left = true;
            }
            _ => {}
        }
    }
    world.finish();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4000, ..tidings_seed::proptest() })]

    #[test]
    fn every_reader_receives_exactly_the_updates_that_it_selects(acts in proptest::collection::vec(act(), 1..200)) {
        simulate(1, u64::MAX, &acts);
    }

    #[test]
    fn every_reader_receives_exactly_the_updates_that_it_selects_from_four_shards(
        acts in proptest::collection::vec(act(), 1..200),
    ) {
        simulate(4, u64::MAX, &acts);
    }

    #[test]
    fn exactly_the_readers_that_missed_trimmed_updates_are_told(
        shards in prop_oneof![Just(1_usize), Just(4)],
        kept in 1..12_u64,
        acts in proptest::collection::vec(act(), 1..200),
    ) {
        simulate(shards, kept, &acts);
    }
}
