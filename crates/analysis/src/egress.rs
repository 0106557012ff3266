//! Which addresses may be asked for metrics.
//!
//! People's metrics live in private ranges, so these are allowed. What a template must not reach is this machine
//! (loopback), the credentials of the machine (link-local and metadata addresses), and the API server, which trusts
//! addresses more than it should.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A range of addresses, `10.0.0.0/8`; a single address is a range too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse {0:?}: expected an address or a range of addresses such as 10.0.0.0/8")]
pub struct InvalidCidr(String);

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse::<u8>().ok().filter(|prefix| *prefix <= most).ok_or_else(invalid)?,
            None => most,
        };
        Ok(Self { address, prefix })
    }
}

impl Cidr {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    const fn v6(segments: [u16; 8], prefix: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::from_segments(segments)), prefix }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                let top = |address: Ipv4Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                top(range) == top(address)
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                let top = |address: Ipv6Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                top(range) == top(address)
            }
            _ => false,
        }
    }
}

const LOOPBACK: &str = "a loopback address";

/// Denied unless allowed, with the reason that is told.
const DENIED: &[(Cidr, &str)] = &[
    (Cidr::v4(127, 0, 0, 0, 8), LOOPBACK),
    // Linux takes it for this machine.
    (Cidr::v4(0, 0, 0, 0, 8), LOOPBACK),
    (Cidr::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), LOOPBACK),
    (Cidr::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), LOOPBACK),
    (Cidr::v4(169, 254, 0, 0, 16), "a link-local address"),
    (Cidr::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "a link-local address"),
    // AWS over IPv6, Google Cloud over IPv6, Azure, Alibaba Cloud, Oracle Cloud.
    (Cidr::v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254], 128), "a metadata address"),
    (Cidr::v6([0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254], 128), "a metadata address"),
    (Cidr::v4(168, 63, 129, 16, 32), "a metadata address"),
    (Cidr::v4(100, 100, 100, 200, 32), "a metadata address"),
    (Cidr::v4(192, 0, 0, 192, 32), "a metadata address"),
];

/// Which addresses may be asked.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    allow: Vec<Cidr>,
    deny: Vec<Cidr>,
    api_server: Vec<IpAddr>,
    loopback: bool,
}

/// An address that may not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("egress to {host} is denied: {address} is {reason}; --metric-egress-allow permits it")]
pub struct EgressDenied {
    host: String,
    address: IpAddr,
    reason: &'static str,
}

impl EgressPolicy {
    /// Allowed ranges win over denied ones, and those over what is denied by default.
    pub fn new(allow: Vec<Cidr>, deny: Vec<Cidr>) -> Self {
        Self { allow, deny, api_server: Vec::new(), loopback: false }
    }

    /// Lets this machine be asked, where whoever writes the template owns it. What is denied by a range stays denied.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Denies the addresses of the API server.
    #[must_use]
    pub fn with_api_server(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.api_server.extend(addresses.into_iter().map(plain));
        self
    }

    /// Whether an address that a host stands for may be asked.
    ///
    /// # Errors
    /// If not, with the reason.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), EgressDenied> {
        let address = plain(address);
        let within = |ranges: &[Cidr], address| ranges.iter().any(|range| range.contains(address));
        if within(&self.allow, address) {
            return Ok(());
        }
        let carried = carried(address);
        for address in std::iter::once(address).chain(carried) {
            if let Some(reason) = self.denied(address, within(&self.deny, address)) {
                return Err(EgressDenied { host: host.to_owned(), address, reason });
            }
        }
        Ok(())
    }

    fn denied(&self, address: IpAddr, by_flag: bool) -> Option<&'static str> {
        if by_flag {
            return Some("in a range of --metric-egress-deny");
        }
        if self.api_server.contains(&address) {
            return Some("the address of the API server");
        }
        let denied = DENIED.iter().find(|(range, _)| range.contains(address)).map(|(_, reason)| *reason);
        denied.filter(|reason| !(self.loopback && *reason == LOOPBACK))
    }
}

/// An IPv4 address written as IPv6 is that IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The IPv4 address that an IPv6 address leads to on networks that translate: NAT64 (RFC 6052), 6to4 (RFC 3056), and
/// the old IPv4-compatible form.
fn carried(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else { return None };
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    let ([0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] | [0, 0, 0, 0, 0, 0, high, low]) =
        address.segments()
    else {
        return None;
    };
    Some(v4(high, low))
}

/// Where names are looked up.
pub trait Lookup: Send + Sync {
    /// The addresses of a host.
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// The names of this machine's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Looks names up and hands the connector only addresses that were checked, so that no second answer of the name
/// server can lead elsewhere.
pub(crate) struct CheckedResolver {
    pub(crate) policy: Arc<EgressPolicy>,
    pub(crate) lookup: Arc<dyn Lookup>,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let (policy, lookup) = (self.policy.clone(), self.lookup.lookup(host.clone()));
        Box::pin(async move {
            let mut checked = Vec::new();
            let mut refused = None;
            for address in lookup.await? {
                match policy.check(&host, address) {
                    Ok(()) => checked.push(SocketAddr::new(address, 0)),
                    Err(denied) => refused = Some(denied),
                }
            }
            match refused {
                Some(denied) if checked.is_empty() => Err(denied.into()),
                _ => Ok(Box::new(checked.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &EgressPolicy, address: &str) -> Result<(), String> {
        policy.check("host", address.parse().unwrap()).map_err(|denied| denied.reason.to_owned())
    }

    #[test]
    fn private_ranges_are_allowed_and_the_machine_is_not() {
        let policy = EgressPolicy::default().with_api_server(["10.96.0.1".parse().unwrap()]);
        for allowed in ["10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd12::1", "2001:db8::1"] {
            assert_eq!(check(&policy, allowed), Ok(()), "{allowed}");
        }
        let denied = [
            ("127.0.0.1", "a loopback address"),
            ("127.8.8.8", "a loopback address"),
            ("0.0.0.0", "a loopback address"),
            ("::1", "a loopback address"),
            ("::", "a loopback address"),
            ("::ffff:127.0.0.1", "a loopback address"),
            ("::127.0.0.1", "a loopback address"),
            ("169.254.169.254", "a link-local address"),
            ("::ffff:169.254.169.254", "a link-local address"),
            ("64:ff9b::169.254.169.254", "a link-local address"),
            ("2002:a9fe:a9fe::1", "a link-local address"),
            ("fe80::1", "a link-local address"),
            ("febf::1", "a link-local address"),
            ("fd00:ec2::254", "a metadata address"),
            ("fd20:ce::254", "a metadata address"),
            ("168.63.129.16", "a metadata address"),
            ("100.100.100.200", "a metadata address"),
            ("10.96.0.1", "the address of the API server"),
            ("::ffff:10.96.0.1", "the address of the API server"),
            ("64:ff9b::10.96.0.1", "the address of the API server"),
        ];
        for (address, reason) in denied {
            assert_eq!(check(&policy, address), Err(reason.to_owned()), "{address}");
        }
    }

    #[test]
    fn allow_wins_over_deny_and_deny_over_the_rest() {
        let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let policy = EgressPolicy::new(ranges(&["127.0.0.1", "10.1.0.0/16"]), ranges(&["10.0.0.0/8", "::/0"]));
        assert_eq!(check(&policy, "127.0.0.1"), Ok(()));
        assert_eq!(check(&policy, "::ffff:127.0.0.1"), Ok(()));
        assert_eq!(check(&policy, "127.0.0.2"), Err("a loopback address".to_owned()));
        assert_eq!(check(&policy, "10.1.2.3"), Ok(()));
        assert_eq!(check(&policy, "10.2.2.3"), Err("in a range of --metric-egress-deny".to_owned()));
        assert_eq!(check(&policy, "2001:db8::1"), Err("in a range of --metric-egress-deny".to_owned()));
        assert_eq!(check(&policy, "8.8.8.8"), Ok(()));
    }

    #[test]
    fn this_machine_is_allowed_where_it_is_said_and_not_denied() {
        let policy = EgressPolicy::new(Vec::new(), vec!["127.0.0.2".parse().unwrap()]).with_loopback();
        for allowed in ["127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1"] {
            assert_eq!(check(&policy, allowed), Ok(()), "{allowed}");
        }
        assert_eq!(check(&policy, "127.0.0.2"), Err("in a range of --metric-egress-deny".to_owned()));
        assert_eq!(check(&policy, "169.254.169.254"), Err("a link-local address".to_owned()));
    }

    #[test]
    fn ranges_are_read_or_refused() {
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("1.2.3.4".parse().unwrap()));
        assert!("::/0".parse::<Cidr>().unwrap().contains("::1".parse().unwrap()));
        assert!(!"10.0.0.0/8".parse::<Cidr>().unwrap().contains("11.0.0.0".parse().unwrap()));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "host", "10.0.0.0/8/8"] {
            assert_eq!(wrong.parse::<Cidr>(), Err(InvalidCidr(wrong.to_owned())));
        }
    }
}
