//! The rules by which an EKS cluster's authenticator takes a token apart before it asks STS, as aws-iam-authenticator's
//! `pkg/token` has them. They are all that can be said of a token without AWS: nobody here can check its signature.

use jiff::{SignedDuration, Timestamp, fmt::strtime};

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The STS that it is for.
    pub host: String,
    /// The access key id of whoever signed it.
    pub access_key: String,
    /// The headers that the signature covers.
    pub signed_headers: String,
    /// Whether it is of a session.
    pub has_session_token: bool,
}

/// Query keys that the authenticator lets through.
const KEYS: [&str; 9] = [
    "action",
    "version",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// Takes a token apart; the rule that it breaks. The cluster's name is not in the token: the authenticator sends its
/// own in the signed header, so that a token of another cluster fails at STS. `cluster` is what it would send.
pub fn verify(token: &str, cluster: &str, now: Timestamp) -> Result<VerifiedToken, String> {
    if token.len() > 4096 {
        return Err("the token is too large".to_owned());
    }
    if cluster.is_empty() {
        return Err("the authenticator has no cluster id".to_owned());
    }
    let encoded = token.strip_prefix("k8s-aws-v1.").ok_or("the token lacks its prefix")?;
    let url = String::from_utf8(decode(encoded)?).map_err(|_| "the URL is no text")?;
    let rest = url.strip_prefix("https://").ok_or("the scheme is not https")?;
    let (host, rest) = rest.split_once('/').ok_or("the URL has no path")?;
    if !is_sts(host) {
        return Err(format!("{host} is no host of STS"));
    }
    let query = rest.strip_prefix('?').ok_or("the path is not /")?;
    let mut found: Vec<(String, String)> = Vec::new();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').ok_or("a query key has no value")?;
        let key = key.to_ascii_lowercase();
        if !KEYS.contains(&key.as_str()) {
            return Err(format!("query key {key} is not let through"));
        }
        if found.iter().any(|(known, _)| *known == key) {
            return Err(format!("query key {key} is there twice"));
        }
        found.push((key, percent_decoded(value)?));
    }
    let value = |key: &str| {
        let found = found.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
        found.ok_or_else(|| format!("query key {key} is missing"))
    };
    if value("action")? != "GetCallerIdentity" {
        return Err("the action is not GetCallerIdentity".to_owned());
    }
    let signed_headers = value("x-amz-signedheaders")?;
    if !signed_headers.split(';').any(|header| header == "x-k8s-aws-id") {
        return Err("x-k8s-aws-id is not signed".to_owned());
    }
    let expires: i64 = value("x-amz-expires")?.parse().map_err(|_| "x-amz-expires is no number")?;
    if !(0..=900).contains(&expires) {
        return Err("x-amz-expires is out of range".to_owned());
    }
    let date = strtime::parse("%Y%m%dT%H%M%SZ", value("x-amz-date")?).and_then(|date| date.to_datetime());
    let date = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC)).map_err(|error| error.to_string())?;
    if now.duration_since(date.timestamp()) > SignedDuration::from_mins(15) {
        return Err("the token is too old".to_owned());
    }
    if value("x-amz-signature")?.len() != 64 {
        return Err("the signature has another length".to_owned());
    }
    let credential = value("x-amz-credential")?;
    let mut parts = credential.split('/');
    let access_key = parts.next().unwrap_or_default().to_owned();
    if parts.nth(2) != Some("sts") {
        return Err("the signature is of another service".to_owned());
    }
    let has_session_token = found.iter().any(|(key, _)| key == "x-amz-security-token");
    Ok(VerifiedToken { host: host.to_owned(), access_key, signed_headers, has_session_token })
}

fn is_sts(host: &str) -> bool {
    let suffixes = [".amazonaws.com", ".amazonaws.com.cn", ".c2s.ic.gov", ".sc2s.sgov.gov"];
    let regional =
        suffixes.iter().find_map(|suffix| host.strip_suffix(suffix)).and_then(|rest| rest.strip_prefix("sts."));
    host == "sts.amazonaws.com" || regional.is_some_and(|region| !region.is_empty() && !region.contains('.'))
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or("a bad percent escape")?;
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| "a value is no text".to_owned())
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    let sextet = |letter: u8| match letter {
        b'A'..=b'Z' => Ok(letter - b'A'),
        b'a'..=b'z' => Ok(letter - b'a' + 26),
        b'0'..=b'9' => Ok(letter - b'0' + 52),
        b'-' => Ok(62),
        b'_' => Ok(63),
        _ => Err("the token is no unpadded base64 of URLs".to_owned()),
    };
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for letter in chunk {
            bits = bits << 6 | u32::from(sextet(*letter)?);
        }
        bits <<= 6 * (4 - chunk.len());
        let whole = bits.to_be_bytes();
        bytes.extend(whole.iter().skip(1).take(chunk.len().saturating_sub(1)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_break_a_rule_are_refused() {
        let good = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
            &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20261120%2Feu-west-1%2Fsts%2Faws4_request\
            &X-Amz-Date=20261120T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id\
            &X-Amz-Signature=0000000000000000000000000000000000000000000000000000000000000000";
        let now: Timestamp = "2026-11-20T12:01:00Z".parse().unwrap();
        let token = |url: &str| format!("k8s-aws-v1.{}", encode(url.as_bytes()));
        assert_eq!(verify(&token(good), "c", now).unwrap().access_key, "AKID");
        for (from, to, words) in [
            ("https", "http", "https"),
            ("sts.eu-west-1.amazonaws.com", "localhost:5000", "no host of STS"),
            ("sts.eu-west-1", "sts.eu.west", "no host of STS"),
            ("/?Action", "/x?Action", "path"),
            ("&Version", "&Evil=1&Version", "not let through"),
            ("&Version", "&ACTION=x&Version", "twice"),
            ("GetCallerIdentity", "AssumeRole", "action"),
            ("%3Bx-k8s-aws-id", "", "not signed"),
            ("Expires=60", "Expires=901", "range"),
            ("20261120T120000Z", "20261120T110000Z", "old"),
        ] {
            let error = verify(&token(&good.replace(from, to)), "c", now).unwrap_err();
            assert!(error.contains(words), "{from}: {error}");
        }
        assert!(verify("k8s-aws-v2.abc", "c", now).is_err());
        assert!(verify(&format!("k8s-aws-v1.{}", "A".repeat(5000)), "c", now).is_err());
    }

    fn encode(bytes: &[u8]) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for index in 0..=chunk.len() {
                text.push(char::from(alphabet[((bits >> (18 - 6 * index)) & 63) as usize]));
            }
        }
        text
    }
}
