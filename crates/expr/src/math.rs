//! Go's `math.Pow`, which rounds otherwise than the C library.

fn is_odd(value: f64) -> bool {
    // From 2^53 on every float is even.
    value.abs() < 9_007_199_254_740_992.0 && value.fract() == 0.0 && (value as i64) & 1 == 1
}

/// The special cases of `math.Pow`, in Go's order.
#[expect(clippy::float_cmp, reason = "Go compares exactly here")]
fn special(x: f64, y: f64) -> Option<f64> {
    if y == 0.0 || x == 1.0 {
        return Some(1.0);
    }
    if y == 1.0 {
        return Some(x);
    }
    if x.is_nan() || y.is_nan() {
        return Some(f64::NAN);
    }
    if x == 0.0 {
        return Some(match (y < 0.0, x.is_sign_negative() && is_odd(y)) {
            (true, true) => f64::NEG_INFINITY,
            (true, false) => f64::INFINITY,
            (false, true) => x,
            (false, false) => 0.0,
        });
    }
    if y.is_infinite() {
        return Some(if x == -1.0 {
            1.0
        } else if (x.abs() < 1.0) == (y > 0.0) {
            0.0
        } else {
            f64::INFINITY
        });
    }
    if x.is_infinite() {
        if x < 0.0 {
            // The sign of an odd power of minus infinity.
            let sign = if is_odd(y) { -1.0 } else { 1.0 };
            return Some(if y < 0.0 { sign * 0.0 } else { sign * f64::INFINITY });
        }
        return Some(if y < 0.0 { 0.0 } else { f64::INFINITY });
    }
    if y == 0.5 {
        return Some(x.sqrt());
    }
    if y == -0.5 {
        return Some(1.0 / x.sqrt());
    }
    None
}

/// `fraction * 2^exponent` with the fraction from one half up to one.
fn frexp(value: f64) -> (f64, i64) {
    if value == 0.0 || !value.is_finite() {
        return (value, 0);
    }
    let subnormal = value.abs() < f64::MIN_POSITIVE;
    let (value, shift) = if subnormal { (value * 2.0_f64.powi(52), -52) } else { (value, 0) };
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64 - 1022 + shift;
    (f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52), exponent)
}

fn ldexp(fraction: f64, exponent: i64) -> f64 {
    let mut value = fraction;
    let mut left = exponent.clamp(-5000, 5000);
    // In steps that a float can hold, the last one rounding.
    while left > 1000 {
        value *= 2.0_f64.powi(1000);
        left -= 1000;
    }
    while left < -1000 {
        value *= 2.0_f64.powi(-1000);
        left += 1000;
    }
    value * 2.0_f64.powi(left as i32)
}

/// `math.Pow(x, y)`.
#[expect(clippy::float_cmp, reason = "Go compares exactly here")]
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    if let Some(special) = special(x, y) {
        return special;
    }
    let (mut whole, mut fraction) = (y.abs().trunc(), y.abs().fract());
    if fraction != 0.0 && x < 0.0 {
        return f64::NAN;
    }
    if whole >= 9_223_372_036_854_775_808.0 {
        return if x == -1.0 {
            1.0
        } else if (x.abs() < 1.0) == (y > 0.0) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let (mut answer, mut exponent) = (1.0_f64, 0_i64);
    if fraction != 0.0 {
        if fraction > 0.5 {
            fraction -= 1.0;
            whole += 1.0;
        }
        answer = (fraction * x.ln()).exp();
    }
    let (mut base, mut base_exponent) = frexp(x);
    let mut rest = whole as i64;
    while rest != 0 {
        if !(-4096..=4096).contains(&base_exponent) {
            // It overflows or underflows whatever follows.
            exponent += base_exponent;
            break;
        }
        if rest & 1 == 1 {
            answer *= base;
            exponent += base_exponent;
        }
        base *= base;
        base_exponent <<= 1;
        if base < 0.5 {
            base += base;
            base_exponent -= 1;
        }
        rest >>= 1;
    }
    if y < 0.0 {
        answer = 1.0 / answer;
        exponent = -exponent;
    }
    ldexp(answer, exponent)
}
