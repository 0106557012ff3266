//! Whether a request meets the conditions of a rule, as an ALB decides it.

use std::net::IpAddr;
use std::str::FromStr;

use http::{HeaderMap, Method};

use crate::table::Conditions;

/// What conditions look at.
pub(crate) struct RequestFacts<'a> {
    /// The host without its port.
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) source: IpAddr,
}

/// Conditions made ready for use on every request.
#[derive(Debug)]
pub(crate) struct Matcher {
    conditions: Conditions,
    sources: Vec<Cidr>,
}

impl Matcher {
    /// Takes conditions that passed validation; a CIDR that does not parse matches nothing.
    pub(crate) fn new(conditions: Conditions) -> Self {
        let sources = conditions.source_ips.iter().filter_map(|cidr| cidr.parse().ok()).collect();
        Self { conditions, sources }
    }

    pub(crate) fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        let wanted = &self.conditions;
        any_or_empty(&wanted.hosts, |pattern| like_ignoring_case(pattern, facts.host))
            && any_or_empty(&wanted.path_patterns, |pattern| like(pattern, facts.path))
            && any_or_empty(&wanted.methods, |method| method == facts.method.as_str())
            && (wanted.source_ips.is_empty() || self.sources.iter().any(|cidr| cidr.contains(facts.source)))
            && wanted.headers.iter().all(|header| {
                let mut values = facts.headers.get_all(&header.name).iter();
                // A value that is no text is still one that `*` matches.
                values.any(|value| {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    header.values.iter().any(|pattern| like_ignoring_case(pattern, &value))
                })
            })
            && wanted.query_strings.iter().all(|alternatives| {
                let pairs = || facts.query.split('&').filter(|pair| !pair.is_empty());
                alternatives.iter().any(|wanted| {
                    pairs().any(|pair| {
                        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                        wanted.key.as_ref().is_none_or(|pattern| like_ignoring_case(pattern, key))
                            && like_ignoring_case(&wanted.value, value)
                    })
                })
            })
    }
}

fn any_or_empty(values: &[String], test: impl Fn(&String) -> bool) -> bool {
    values.is_empty() || values.iter().any(test)
}

fn like_ignoring_case(pattern: &str, text: &str) -> bool {
    like_by(pattern, text, |a, b| a == b || a.to_lowercase().eq(b.to_lowercase()))
}

fn like(pattern: &str, text: &str) -> bool {
    like_by(pattern, text, |a, b| a == b)
}

/// Goes back only to the last `*`, so the time is at most the product of the lengths: a pattern of many stars
/// cannot be used to stall the balancer.
fn like_by(pattern: &str, text: &str, same: impl Fn(char, char) -> bool) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star = None;
    loop {
        let (mut pattern_rest, mut text_rest) = (pattern.clone(), text.clone());
        match (pattern_rest.next(), text_rest.next()) {
            (Some('*'), _) => {
                pattern = pattern_rest;
                last_star = Some((pattern.clone(), text.clone()));
            }
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == '?' || same(wanted, found) => {
                (pattern, text) = (pattern_rest, text_rest);
            }
            _ => {
                let Some((after_star, from)) = &mut last_star else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), from.clone());
            }
        }
    }
}

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    network: IpAddr,
    prefix: u32,
}

/// Why a text is no CIDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CidrError {
    #[error("must be address/prefix")]
    Shape,
    #[error("the prefix must be at most {0}")]
    Prefix(u32),
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').ok_or(CidrError::Shape)?;
        let network: IpAddr = address.parse().map_err(|_| CidrError::Shape)?;
        let prefix: u32 = prefix.parse().map_err(|_| CidrError::Shape)?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        if prefix > bits { Err(CidrError::Prefix(bits)) } else { Ok(Self { network, prefix }) }
    }
}

impl Cidr {
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        // A socket that listens on `::` reports IPv4 clients as mapped addresses.
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{HeaderCondition, QueryMatch};

    #[test]
    fn wildcards() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("?", "a", true),
            ("?", "ab", false),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a*b*c", "aXbYbZc", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("/img/*/pics?", "/img/a/b/pics1", true),
            ("/img/*", "/imgs/x", false),
            ("**a", "aa", true),
            ("a?*", "a", false),
            ("*ä?", "xäö", true),
            ("abc", "ABC", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(like(pattern, text), expected, "{pattern:?} on {text:?}");
        }
        assert!(like_ignoring_case("*.Example.COM", "A.example.com"));
    }

    #[test]
    fn many_stars_do_not_stall() {
        let text = "a".repeat(2_000);
        assert!(!like(&format!("{}b", "a*".repeat(60)), &text));
    }

    #[test]
    fn networks() {
        let cases = [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("192.0.2.1/32", "192.0.2.1", true),
            ("192.0.2.1/32", "192.0.2.2", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
            ("::1/128", "::2", false),
            ("::/0", "10.0.0.1", false),
        ];
        for (cidr, address, expected) in cases {
            let network: Cidr = cidr.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{address} in {cidr}");
        }
        assert_eq!("10.0.0.0/33".parse::<Cidr>(), Err(CidrError::Prefix(32)));
        assert_eq!("10.0.0.0".parse::<Cidr>(), Err(CidrError::Shape));
        assert_eq!("x/8".parse::<Cidr>(), Err(CidrError::Shape));
        assert_eq!("10.0.0.0/-1".parse::<Cidr>(), Err(CidrError::Shape));
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn query(key: Option<&str>, value: &str) -> QueryMatch {
        QueryMatch { key: key.map(str::to_owned), value: value.to_owned() }
    }

    fn header(name: &str, values: &[&str]) -> HeaderCondition {
        HeaderCondition { name: name.to_owned(), values: strings(values) }
    }

    /// The request of the table below: `GET /shop/cart?Color=Red&size=&flag` to `Shop.example.com` from 192.0.2.7.
    fn decides(conditions: Conditions) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", "Mozilla/5.0 Chrome".parse().unwrap());
        headers.append("x-team", "blue".parse().unwrap());
        headers.append("x-team", "green".parse().unwrap());
        Matcher::new(conditions).matches(&RequestFacts {
            host: "Shop.example.com",
            path: "/shop/cart",
            query: "Color=Red&size=&flag",
            method: &Method::GET,
            headers: &headers,
            source: "192.0.2.7".parse().unwrap(),
        })
    }

    #[test]
    fn conditions_match_as_an_alb_does() {
        let all = Conditions::default;
        let cases = [
            ("none", all(), true),
            ("host", Conditions { hosts: strings(&["*.EXAMPLE.com"]), ..all() }, true),
            ("one of hosts", Conditions { hosts: strings(&["a", "shop.*"]), ..all() }, true),
            ("other host", Conditions { hosts: strings(&["example.com"]), ..all() }, false),
            ("path", Conditions { path_patterns: strings(&["/shop/*"]), ..all() }, true),
            ("path has case", Conditions { path_patterns: strings(&["/Shop/*"]), ..all() }, false),
            ("path without query", Conditions { path_patterns: strings(&["*Color*"]), ..all() }, false),
            ("method", Conditions { methods: strings(&["POST", "GET"]), ..all() }, true),
            ("method has case", Conditions { methods: strings(&["get"]), ..all() }, false),
            ("header", Conditions { headers: vec![header("User-Agent", &["*chrome*"])], ..all() }, true),
            ("second value", Conditions { headers: vec![header("X-Team", &["GREEN"])], ..all() }, true),
            (
                "both headers",
                Conditions { headers: vec![header("x-team", &["blue"]), header("user-agent", &["curl*"])], ..all() },
                false,
            ),
            ("no header", Conditions { headers: vec![header("x-other", &["*"])], ..all() }, false),
            ("query", Conditions { query_strings: vec![vec![query(Some("color"), "RED")]], ..all() }, true),
            ("query value", Conditions { query_strings: vec![vec![query(None, "r?d")]], ..all() }, true),
            ("query empty", Conditions { query_strings: vec![vec![query(Some("flag"), "")]], ..all() }, true),
            (
                "query either",
                Conditions { query_strings: vec![vec![query(Some("x"), "*"), query(Some("size"), "*")]], ..all() },
                true,
            ),
            (
                "query both",
                Conditions {
                    query_strings: vec![vec![query(Some("x"), "*")], vec![query(Some("size"), "*")]],
                    ..all()
                },
                false,
            ),
            ("source", Conditions { source_ips: strings(&["10.0.0.0/8", "192.0.2.0/24"]), ..all() }, true),
            ("other source", Conditions { source_ips: strings(&["10.0.0.0/8"]), ..all() }, false),
            (
                "kinds are joined by and",
                Conditions { hosts: strings(&["*"]), path_patterns: strings(&["/other"]), ..all() },
                false,
            ),
        ];
        for (name, conditions, expected) in cases {
            assert_eq!(decides(conditions), expected, "{name}");
        }
    }
}
