//! The port to what a cloud knows of target groups, besides their health.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
pub use okra_core::target_group_set::{NamedGroup, TaggedGroup};

/// What the cloud said of each; why it did not in words that hold no credential.
pub type Answers<T> = BTreeMap<T, Result<Option<String>, String>>;

/// Who knows names and tags of target groups. Answers are kept for some minutes, failures for some seconds, so that it
/// may be asked again at every look. `timeout` is that of one call, waiting for a rate limit apart.
#[async_trait]
pub trait TargetGroupInventory: Send + Sync {
    /// The ARNs of named target groups; `None`: there is none of that name.
    async fn arns(&self, groups: &BTreeSet<NamedGroup>, timeout: Duration) -> Answers<NamedGroup>;

    /// The versions that target groups are tagged with (`okra.mumo.co/version`); `None`: it has no such tag.
    async fn versions(&self, groups: &BTreeSet<TaggedGroup>, timeout: Duration) -> Answers<TaggedGroup>;
}
