//! exp and GELU in float32, written so that the compiler turns loops over them into vectors: no branches, no calls,
//! fused multiply-adds in a fixed order. The same bits on every instruction set and at every vector width.
//!
//! Results that would be near or below the smallest normal number, 2⁻¹²⁶, are 0: below 2⁻¹²⁴ to 2⁻¹²⁰, as the function has it. On
//! Intel's processors each operation with a subnormal number takes a hundred cycles, also those that would make one, and the products
//! that follow meet each result hundreds of times.
//!
//! Their largest errors, in units in the last place, are asserted by the tests over a grid of the whole float range,
//! and over every float by `cargo test --release -- --ignored every_float`.

/// exp(x + rest) for a `rest` that is small beside 1: at most 1.2 ulp off; 0 below -86.4, infinite above 88.8.
#[inline(always)]
pub(super) fn exp(x: f32, rest: f32) -> f32 {
    Power::of(x, rest).times(1.0)
}

/// exp of a number as a mantissa and a power of two in two factors, of which one alone could not reach the largest numbers. The
/// second factor is 0 below [`Power::LEAST`].
#[derive(Clone, Copy)]
struct Power {
    mantissa: f32,
    scale: [f32; 2],
}

impl Power {
    /// The smallest power of two that is not 0. With a mantissa from 0.7 on, and a factor from 0.4 on, no result is subnormal.
    const LEAST: i32 = -124;

    /// Cody & Waite's reduction to |r| ≤ ln 2 / 2 and a minimax polynomial of degree 6 (relative error 2⁻²⁸).
    #[inline(always)]
    fn of(x: f32, rest: f32) -> Power {
        /// Adding it leaves the nearest whole number in the low bits.
        const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
        const LN_2_HIGH: f32 = 0.693_359_4; // ln 2 to 9 bits, so that a multiple of it is exact
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        // Written as comparisons so that a NaN stays one.
        let x = if x < -120.0 { -120.0 } else { x };
        let x = if x > 89.0 { 89.0 } else { x };
        let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
        let n = rounded - ROUND;
        let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x)) + rest;
        let q = 1.381_417_1e-3_f32;
        let q = q.mul_add(r, 8.368_921e-3);
        let q = q.mul_add(r, 4.166_840_8e-2);
        let q = q.mul_add(r, 0.166_665_2);
        let q = q.mul_add(r, 0.499_999_94);
        let n = rounded.to_bits() as i32 - ROUND.to_bits() as i32;
        let two_to = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
        let second = if n < Self::LEAST { 0.0 } else { two_to(n - (n >> 1)) };
        Power { mantissa: (r * r).mul_add(q, r) + 1.0, scale: [two_to(n >> 1), second] }
    }

    /// `factor` times this.
    #[inline(always)]
    fn times(self, factor: f32) -> f32 {
        factor * self.mantissa * self.scale[0] * self.scale[1]
    }
}

/// x · Φ(x), the erf form.
///
/// With h(t) = 1 - Φ(t) for t ≥ 0, it is max(x, 0) - |x| · h(|x|), without cancellation on either side. h(t) is
/// exp(-t² / 2) times a function that falls slowly, a polynomial in t / (t + 3) (relative error 2⁻²⁶).
///
/// At most 3.2 ulp off for x ≥ -1, 6.8 for x ≥ -3, 15 for x ≥ -6, and 37 below, where the result is nearer to 0 than
/// 6e-9: the polynomial's terms cancel there.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let t = x.abs();
    let t = if t > 15.0 { 15.0 } else { t }; // h is 0 from 14.5 on
    let square = t * t;
    let lost = t.mul_add(t, -square); // what rounding the square lost, which exp would magnify
    let w = t / (t + 3.0);
    let p = 2.721_892_1e-2_f32;
    let p = p.mul_add(w, -9.304_164e-2);
    let p = p.mul_add(w, 8.380_26e-2);
    let p = p.mul_add(w, 9.253_223e-3);
    let p = p.mul_add(w, 6.215_951_2e-2);
    let p = p.mul_add(w, -0.158_741_03);
    let p = p.mul_add(w, -0.286_976_07);
    let p = p.mul_add(w, 1.053_156_5);
    let p = p.mul_add(w, -1.196_826_7);
    let p = p.mul_add(w, 0.5);
    let positive = if x > 0.0 { x } else { 0.0 };
    positive - Power::of(-0.5 * square, -0.5 * lost).times(t * p)
}

/// The tanh form of GELU, x · σ(2u) with u = √(2/π) · (x + 0.044715 · x³), where σ is the logistic function.
///
/// At most 3.4 ulp off. 2u is computed to twice the precision: exp magnifies an error of its argument by the argument's size.
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    const A: [f32; 2] = [1.595_769_2, -4.534_068e-8]; // 2 √(2/π), and what is missing to it
    const B: [f32; 2] = [7.135_481_4e-2, 2.398_832_5e-9]; // 0.044715 · 2 √(2/π)
    let t = x.abs();
    let t = if t > 15.0 { 15.0 } else { t }; // beyond, the result is x or 0
    // A · t and B · t³, each as a rounded product and what it lost.
    let linear = A[0] * t;
    let linear_lost = A[1].mul_add(t, A[0].mul_add(t, -linear));
    let square = t * t;
    let cube = square * t;
    let cube_lost = t.mul_add(t, -square).mul_add(t, square.mul_add(t, -cube));
    let cubic = B[0] * cube;
    let cubic_lost = B[1].mul_add(cube, B[0].mul_add(cube_lost, B[0].mul_add(cube, -cubic)));
    // Their sum likewise (Knuth's two-sum).
    let sum = linear + cubic;
    let part = sum - linear;
    let sum_lost = (linear - (sum - part)) + (cubic - part);
    let power = Power::of(-sum, -(sum_lost + linear_lost + cubic_lost));
    let one_and_power = 1.0 + power.times(1.0);
    if x > 0.0 { x / one_and_power } else { -power.times(t / one_and_power) }
}

/// x · σ(x) with the logistic function σ (SiLU). At most 3 ulp off, and 0 below -86.4.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    let t = x.abs();
    let t = if t > 120.0 { 120.0 } else { t }; // beyond, the result is x or 0
    let power = Power::of(-t, 0.0);
    let one_and_power = 1.0 + power.times(1.0);
    if x > 0.0 { x / one_and_power } else { -power.times(t / one_and_power) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    /// 2⁻¹¹⁶: a result may be 0 in place of a smaller one. SiLU's is 86 times the exponential that is 0.
    const SMALLEST: f64 = 1.2e-35;

    /// The largest error in units in the last place of `function` against `truth` over every `step`th float from
    /// `from` to `to`, and where it is.
    fn largest_error(function: fn(f32) -> f32, truth: fn(f64) -> f64, [from, to]: [f32; 2], step: u64) -> (f64, f32) {
        (0..=u64::from(u32::MAX) / step)
            .into_par_iter()
            .map(|i| f32::from_bits((i * step) as u32))
            .filter(|x| (from..=to).contains(x))
            .map(|x| {
                let (found, truth) = (function(x), truth(f64::from(x)));
                if found == 0.0 && truth.abs() < SMALLEST {
                    return (0.0, x);
                }
                let size = (truth as f32).abs().clamp(f32::MIN_POSITIVE, f32::MAX);
                let ulp = f64::from(size) - f64::from(size.next_down());
                ((f64::from(found) - truth).abs() / ulp, x)
            })
            .max_by(|a, b| a.0.total_cmp(&b.0)) // a NaN is the largest
            .unwrap_or((f64::NAN, 0.0))
    }

    fn gelu_truth(x: f64) -> f64 {
        0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
    }

    fn gelu_tanh_truth(x: f64) -> f64 {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        // tanh would cancel in float64 for large negative x.
        x / (1.0 + libm::exp(-2.0 * u))
    }

    /// Name, function, truth, range, and the documented bound in ulp.
    type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64, [f32; 2], f64);

    fn check(step: u64) {
        let all = [f32::MIN, f32::MAX];
        let cases: [Case; 7] = [
            ("exp", |x| exp(x, 0.0), libm::exp, [f32::MIN, 88.7], 1.2),
            ("gelu", gelu, gelu_truth, [-1.0, f32::MAX], 3.2),
            ("gelu", gelu, gelu_truth, [-3.0, f32::MAX], 6.8),
            ("gelu", gelu, gelu_truth, [-6.0, f32::MAX], 15.0),
            ("gelu", gelu, gelu_truth, all, 37.0),
            ("gelu_tanh", gelu_tanh, gelu_tanh_truth, all, 3.4),
            ("silu", silu, |x| x / (1.0 + libm::exp(-x)), all, 3.0),
        ];
        for (name, function, truth, range, bound) in cases {
            let (error, at) = largest_error(function, truth, range, step);
            assert!(error <= bound, "{name}({at:e}) = {:e} is {error} ulp off", function(at));
        }
    }

    #[test]
    fn errors_stay_below_what_is_documented() {
        check(5003);
    }

    #[test]
    fn no_result_is_subnormal() {
        let functions: [fn(f32) -> f32; 4] = [|x| exp(x, 0.0), gelu, gelu_tanh, silu];
        let inputs = (0..=u32::MAX / 1009).map(|i| f32::from_bits(i * 1009)).filter(|x| x.abs() >= 1e-37);
        let near_the_edge = (0..100_000).map(|i| -5.0 - i as f32 * 1e-3);
        for x in inputs.chain(near_the_edge) {
            for function in functions {
                assert!(!function(x).is_subnormal(), "{x:e}");
            }
        }
    }

    #[test]
    #[ignore = "minutes: every one of the 2³² floats"]
    fn every_float() {
        check(1);
    }

    #[test]
    fn edges() {
        for function in [gelu, gelu_tanh, silu] {
            assert!(function(f32::NAN).is_nan());
            assert_eq!(function(f32::INFINITY), f32::INFINITY);
            assert_eq!(function(f32::MAX), f32::MAX);
            assert_eq!(function(0.0), 0.0);
            assert_eq!(function(-120.0), 0.0);
            assert_eq!(function(f32::MIN), 0.0);
        }
        assert_eq!(exp(0.0, 0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY, 0.0), 0.0);
        assert_eq!(exp(f32::INFINITY, 0.0), f32::INFINITY);
        assert!(exp(f32::NAN, 0.0).is_nan());
        assert!(exp(-85.9, 0.0) > 0.0);
    }
}
