//! Each kernel by itself, on one thread, at the shapes of BERT-base and all-MiniLM-L6-v2.
//!
//! Throughput of products, layers and attention is in floating-point operations, to be compared with `limit`, which does
//! nothing but multiply-adds; that of the others is in numbers written. `cargo bench --bench kernels`; `LAYERWISE_ISA`
//! chooses the instructions.

use std::convert::Infallible;
use std::hint::black_box;
use std::ops::Range;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use layerwise::family::NormKind;
use layerwise::kernels::single::{self, Attention};
use layerwise::kernels::{
    self, EncoderLayer, FeedForwardParameters, InstructionSet, LayerNorms, LayerParameters, Lookup, Norm, PackedLinear,
    Parameters, RelativePositions,
};
use layerwise::spec::{Activation, Compute};

/// A model's shape: name, hidden size, heads, intermediate size.
const SHAPES: [(&str, usize, usize, usize); 2] = [("minilm", 384, 12, 1536), ("base", 768, 12, 3072)];

/// Tokens of a batch.
const TOKENS: usize = 1024;

/// Numbers between -1 and 1 without a pattern.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as f32 / 2f32.powi(31) - 1.0
    };
    (0..count).map(next).collect()
}

fn parameters(inputs: usize, outputs: usize) -> Parameters<'static, Infallible> {
    let weight = numbers(inputs * outputs);
    let read = move |rows: Range<usize>, out: &mut Vec<f32>| {
        out.extend_from_slice(&weight[rows.start * inputs..rows.end * inputs]);
        Ok(())
    };
    Parameters { inputs, bias: vec![0.5; outputs], read: Box::new(read) }
}

fn norm(hidden: usize) -> Norm {
    Norm::new(NormKind::LayerNorm, vec![1.0; hidden], None, 1e-12)
}

fn benchmarks(criterion: &mut Criterion) {
    let instruction_set = InstructionSet::from_env(Compute::Bf16).expect("LAYERWISE_ISA");
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("one thread");
    let mut group = criterion.benchmark_group("limit");
    let steps = 1 << 16;
    group.throughput(Throughput::Elements(single::multiply_adds(instruction_set, steps) as u64));
    group.bench_function("multiply-add", |b| b.iter(|| single::multiply_adds(instruction_set, black_box(steps))));
    group.finish();
    for compute in [Compute::F32, Compute::Bf16, Compute::Int8] {
        for (model, hidden, heads, inner) in SHAPES {
            let mut group = criterion.benchmark_group(format!("{model}/{compute:?}"));
            for (name, inputs, outputs) in [("up", hidden, inner), ("down", inner, hidden)] {
                let x = numbers(TOKENS * inputs);
                let Ok(linear) = PackedLinear::load(parameters(inputs, outputs), None, compute, instruction_set);
                group.throughput(Throughput::Elements((2 * TOKENS * inputs * outputs) as u64));
                group.bench_function(name, |b| b.iter(|| linear.forward(black_box(&x))));
            }
            let layer = LayerParameters {
                norms: LayerNorms {
                    after_attention: Some(norm(hidden)),
                    after_feed_forward: Some(norm(hidden)),
                    ..LayerNorms::default()
                },
                query_key_value: [(); 3].map(|()| parameters(hidden, hidden)),
                heads,
                key_value_heads: heads,
                rotary: None,
                window: None,
                relative: RelativePositions::None,
                attention_output: parameters(hidden, hidden),
                feed_forward: FeedForwardParameters {
                    gate: None,
                    up: parameters(hidden, inner),
                    down: parameters(inner, hidden),
                    activation: Activation::Gelu,
                },
                convolution: None,
            };
            let Ok(layer) = EncoderLayer::load(layer, compute, instruction_set);
            let hidden_state = numbers(TOKENS * hidden);
            for length in [16, 64, 512] {
                let cu_seqlens: Vec<usize> = (0..=TOKENS).step_by(length).collect();
                let linear = 2 * TOKENS * (4 * hidden + 2 * inner) * hidden;
                group.throughput(Throughput::Elements((linear + 4 * TOKENS * length * hidden) as u64));
                group.bench_function(format!("layer/{length}"), |b| {
                    b.iter(|| layer.forward(black_box(&hidden_state), &cu_seqlens));
                });
            }
            if compute == Compute::F32 {
                let rows: Vec<u32> = (0..TOKENS as u32).collect();
                let norm = norm(hidden);
                group.throughput(Throughput::Elements((TOKENS * inner) as u64));
                for (name, activation) in [("gelu", Activation::Gelu), ("gelu_tanh", Activation::GeluTanh)] {
                    let values: Vec<f32> = numbers(TOKENS * inner).iter().map(|x| 3.0 * x).collect();
                    let copy = || values.clone();
                    group.bench_function(name, |b| {
                        b.iter_batched_ref(
                            copy,
                            |values| single::activate(instruction_set, activation, values),
                            BatchSize::LargeInput,
                        );
                    });
                }
                for length in [16, 64, 512] {
                    let mut attention =
                        Attention::new(heads, hidden / heads, length, numbers(3 * length * hidden).into_iter());
                    group.throughput(Throughput::Elements((4 * length * length * hidden) as u64));
                    group.bench_function(format!("attention/{length}"), |b| b.iter(|| attention.run(instruction_set)));
                }
                let (x, residual) = (numbers(TOKENS * hidden), numbers(TOKENS * hidden));
                let mut out = vec![0.0; TOKENS * hidden];
                group.throughput(Throughput::Elements((TOKENS * hidden) as u64));
                group.bench_function("layer_norm", |b| {
                    b.iter(|| single::layer_norm(instruction_set, &norm, black_box(&x), &residual, &mut out));
                });
                group.bench_function("embed", |b| {
                    let lookup = Lookup { table: &hidden_state, rows: &rows, factors: None };
                    b.iter(|| kernels::embed(&[lookup; 3], hidden, Some(&norm), instruction_set));
                });
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = benchmarks
}
criterion_main!(all);
