//! `cargo bench`: throughput of each decoder on each input.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use decode_bench::{decoders, inputs};

const INPUT_BYTES: usize = 16 << 20;
/// A decoder that would take longer than this for an input is left out of its table.
const TOO_SLOW: Duration = Duration::from_secs(1);

fn decode(criterion: &mut Criterion) {
    for input in inputs::all(INPUT_BYTES) {
        let mut group = criterion.benchmark_group(input.name);
        group
            .throughput(Throughput::Bytes(input.bytes as u64))
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_secs(1));
        for (name, read) in decoders::ALL {
            let begun = std::time::Instant::now();
            assert_eq!(read(&input), input.expected, "{name} on {}", input.name);
            if begun.elapsed() > TOO_SLOW {
                continue;
            }
            group.bench_with_input(BenchmarkId::from_parameter(name), &input, |bencher, input| {
                bencher.iter(|| read(input));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
