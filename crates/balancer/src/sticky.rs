//! The cookie that keeps a client on its group.

use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The name of the cookie, after the ALB's `AWSALBTG`.
pub const STICKINESS_COOKIE: &str = "OKRATG";

/// An opaque key of a group: the same in every process (FNV-1a), so that a client keeps its group across a restart.
pub(crate) fn group_key(group: &str) -> String {
    let hash = group
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// The keys that the client sent; more than one when cookies of several paths meet.
pub(crate) fn keys(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(name, value)| (name == STICKINESS_COOKIE).then_some(value))
}

pub(crate) fn cookie(key: &str, time: Duration) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{STICKINESS_COOKIE}={key}; Max-Age={}; Path=/; HttpOnly", time.as_secs())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=b; OKRATG=one;c=d".parse().unwrap());
        headers.append(COOKIE, "XOKRATG=no; OKRATG=two".parse().unwrap());
        assert_eq!(keys(&headers).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn the_key_is_stable_and_tells_nothing() {
        assert_eq!(group_key("web-v1"), group_key("web-v1"));
        assert_ne!(group_key("web-v1"), group_key("web-v2"));
        assert!(!group_key("web-v1").contains("web"));
        let cookie = cookie(&group_key(""), Duration::from_mins(1)).unwrap();
        assert_eq!(cookie, "OKRATG=cbf29ce484222325; Max-Age=60; Path=/; HttpOnly");
    }
}
