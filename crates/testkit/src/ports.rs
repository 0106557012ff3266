//! Free ports of 127.0.0.1 that two tests never share.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use parking_lot::Mutex;

/// Below the range that Linux takes the ports of outgoing connections from (32768 and up), so that no client of a
/// parallel test sits on a port between its choice here and the moment the server binds it.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Every port handed out by this process, with the lock that keeps other test processes off it.
static TAKEN: Mutex<BTreeMap<u16, Option<File>>> = Mutex::new(BTreeMap::new());

/// A port of 127.0.0.1 that nothing listens on and that no test, in this process or another, gets again while this
/// process lives.
///
/// # Panics
///
/// When all 12000 are in use: it ends the test that asked.
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock();
    let folder = std::env::temp_dir().join("okra-testkit-ports");
    // Without the folder (it belongs to another user, say) the check by binding remains.
    let locks = std::fs::create_dir_all(&folder).is_ok();
    // Each process starts elsewhere, so that they seldom ask for the same port.
    let offset = std::process::id().wrapping_mul(257) % u32::from(COUNT);
    for step in 0..COUNT {
        let port = FIRST + ((offset + u32::from(step)) % u32::from(COUNT)) as u16;
        if taken.contains_key(&port) {
            continue;
        }
        let lock = if locks { lock(&folder, port) } else { Lock::Unavailable };
        let file = match lock {
            Lock::Held(file) => Some(file),
            Lock::Unavailable => None,
            Lock::Elsewhere => continue,
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.insert(port, file);
            return port;
        }
    }
    #[expect(clippy::panic, reason = "the end of the test that asked")]
    {
        panic!("no port between {FIRST} and {} of 127.0.0.1 is free", FIRST + COUNT - 1)
    }
}

enum Lock {
    Held(File),
    Elsewhere,
    Unavailable,
}

fn lock(folder: &Path, port: u16) -> Lock {
    let path = folder.join(port.to_string());
    let Ok(file) = OpenOptions::new().create(true).truncate(false).write(true).open(path) else {
        return Lock::Unavailable;
    };
    match file.try_lock() {
        Ok(()) => Lock::Held(file),
        Err(std::fs::TryLockError::WouldBlock) => Lock::Elsewhere,
        Err(std::fs::TryLockError::Error(_)) => Lock::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_port_locked_by_another_process_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let Lock::Held(held) = lock(folder.path(), 20_000) else { panic!("the first lock must succeed") };
        assert!(matches!(lock(folder.path(), 20_000), Lock::Elsewhere));
        drop(held);
        assert!(matches!(lock(folder.path(), 20_000), Lock::Held(_)));
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let port = free_port();
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(free_port(), port);
        drop(held);
    }
}
