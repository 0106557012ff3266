//! A port that nobody uses.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    ops::Range,
};

use anyhow::Context as _;
use okra_provider::Entropy as _;

use crate::clock::SystemEntropy;

/// Below the ports that systems give to outgoing connections: nobody gets one of these by chance between the look at
/// it and its use.
const PORTS: Range<u16> = 20_000..30_000;

/// How many ports are tried.
const ATTEMPTS: u32 = 50;

/// The address itself, or with port 0 one whose port is free.
pub(super) fn chosen(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    if address.port() != 0 {
        TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))?;
        return Ok(address);
    }
    (0..ATTEMPTS).find_map(|_| free(address.ip())).with_context(|| format!("failed to find a free port of {address}"))
}

fn free(ip: IpAddr) -> Option<SocketAddr> {
    let number = SystemEntropy.below(u64::from(PORTS.end - PORTS.start));
    let address = SocketAddr::new(ip, PORTS.start + u16::try_from(number).ok()?);
    TcpListener::bind(address).is_ok().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_becomes_one_that_can_be_listened_on() {
        let address = chosen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(PORTS.contains(&address.port()), "{address}");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = chosen(taken.local_addr().unwrap()).unwrap_err();
        assert!(error.to_string().contains("failed to listen on 127.0.0.1:"), "{error}");
    }
}
