//! Base64 as Go's `encoding/base64.StdEncoding` has it.

use crate::error::EvalError;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let digit = (group >> (18 - 6 * position)) & 63;
            let known = position <= chunk.len();
            out.push(if known { ALPHABET.get(digit as usize).map_or('=', |c| char::from(*c)) } else { '=' });
        }
    }
    out
}

pub(crate) fn decode(text: &[u8]) -> Result<Vec<u8>, EvalError> {
    let corrupt = |at: usize| EvalError::Failed(format!("illegal base64 data at input byte {at}"));
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut digits, mut padding) = (0_u32, 0_usize, 0_usize);
    for (at, byte) in text.iter().enumerate() {
        if matches!(byte, b'\r' | b'\n') {
            continue;
        }
        if *byte == b'=' {
            if digits + padding >= 4 || digits < 2 {
                return Err(corrupt(at));
            }
            padding += 1;
            continue;
        }
        let digit = ALPHABET.iter().position(|c| c == byte).filter(|_| padding == 0).ok_or_else(|| corrupt(at))?;
        group = group << 6 | digit as u32;
        digits += 1;
        if digits == 4 {
            out.extend_from_slice(group.to_be_bytes().get(1..).unwrap_or_default());
            (group, digits) = (0, 0);
        }
    }
    match (digits, padding) {
        (0, 0) => {}
        (2, 2) => out.push((group >> 4) as u8),
        (3, 1) => out.extend([(group >> 10) as u8, (group >> 2) as u8]),
        (digits, 0) => return Err(corrupt(text.len() - digits)),
        _ => return Err(corrupt(text.len())),
    }
    Ok(out)
}
