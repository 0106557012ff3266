//! Who calls: accounts by access key, keys that STS gave out, credentials that have expired, and what each account may
//! still call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::buckets::Buckets;
use super::error::AwsError;
use super::faults::CallInfo;
use super::node::Node;

/// Whose a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub name: String,
    pub account: String,
}

/// An access key id and its session token, as they came with a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Credential {
    pub key: String,
    pub token: String,
}

/// What is known of callers.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// The account of every key that is not told apart.
    default: String,
    known: BTreeMap<String, Identity>,
    expired: BTreeSet<Credential>,
    buckets: BTreeMap<(String, String), Buckets>,
}

impl Accounts {
    pub(crate) fn new(default: &str) -> Self {
        let (known, expired, buckets) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { default: default.to_owned(), known, expired, buckets }
    }

    pub(crate) fn assign(&mut self, key: &str, account: &str) {
        let identity = Identity { name: key.to_owned(), account: account.to_owned() };
        self.known.insert(key.to_owned(), identity);
    }

    pub(crate) fn of(&self, key: &str) -> Identity {
        let unknown = || Identity { name: key.to_owned(), account: self.default.clone() };
        self.known.get(key).cloned().unwrap_or_else(unknown)
    }

    /// Learns from STS's answer whose the key is that it gave out.
    pub(crate) fn learn(&mut self, info: &CallInfo, params: &Node, answer: &Node) {
        if !info.operation.starts_with("AssumeRole") {
            return;
        }
        let result = answer.get(&format!("{}Result", info.operation));
        let key = result.and_then(|result| result.get("Credentials")).and_then(|given| given.str("AccessKeyId"));
        let account = params.str("RoleArn").and_then(account_of);
        if let (Some(key), Some(account)) = (key, account) {
            let name = if info.caller == super::ANONYMOUS { key } else { &info.caller };
            self.known.insert(key.to_owned(), Identity { name: name.to_owned(), account: account.to_owned() });
        }
    }

    pub(crate) fn expire(&mut self, credential: &Credential) {
        self.expired.insert(credential.clone());
    }

    /// The credentials of this caller are good again.
    pub(crate) fn renew(&mut self, caller: &str) {
        let expired = std::mem::take(&mut self.expired);
        self.expired = expired.into_iter().filter(|credential| self.of(&credential.key).name != caller).collect();
    }

    pub(crate) fn is_expired(&self, credential: &Credential) -> bool {
        self.expired.contains(credential)
    }

    /// Nobody reaches into an account of another: refused is what names something of an account that somebody else
    /// here has.
    pub(crate) fn check_reach(&self, info: &CallInfo) -> Result<(), AwsError> {
        let is_known =
            |account: &str| account == self.default || self.known.values().any(|identity| identity.account == account);
        let others = info.about.iter().filter(|name| name.starts_with("arn:aws:elasticloadbalancing:"));
        let stray =
            others.filter_map(|arn| account_of(arn)).find(|account| *account != info.account && is_known(account));
        if stray.is_some() { Err(AwsError::access_denied(&info.operation)) } else { Ok(()) }
    }

    /// Pays for a call from its account's buckets.
    pub(crate) fn pay(&mut self, info: &CallInfo, now: Instant) -> Result<(), AwsError> {
        let key = (info.account.clone(), info.region.clone());
        self.buckets.entry(key).or_insert_with(|| Buckets::full(now)).pay(&info.operation, now)
    }

    /// All buckets are full again.
    pub(crate) fn refill(&mut self) {
        self.buckets.clear();
    }
}

/// The account in an ARN.
fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}
