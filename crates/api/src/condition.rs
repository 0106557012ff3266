//! Condition types and reasons, and how a list of conditions is kept.

use jiff::Timestamp;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// True: the object does what its spec says and nothing is due.
pub const READY: &str = "Ready";
/// True: a rollout is moving.
pub const PROGRESSING: &str = "Progressing";
/// False: the object cannot be acted on; the message names the field and the remedy.
pub const VALID: &str = "Valid";
/// True: the load balancer answered with the weights that the spec asks for.
pub const TRAFFIC_VERIFIED: &str = "TrafficVerified";
/// True: a rollout stands still until a person or a timer lets it go on.
pub const PAUSED: &str = "Paused";
/// True: something is wrong that Okra cannot mend by itself.
pub const DEGRADED: &str = "Degraded";
/// True: the version before could take the traffic back now.
pub const ROLLBACK_READY: &str = "RollbackReady";

/// True: everybody who was asked for clusters answered completely.
pub const DISCOVERED: &str = "Discovered";

/// Reasons: the machine-readable cause of a condition.
pub mod reason {
    /// Everything is as asked.
    pub const AS_DESIRED: &str = "AsDesired";
    /// A rollout is under way.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Traffic is on its way back to the stable version.
    pub const ROLLING_BACK: &str = "RollingBack";
    /// Nothing serves yet.
    pub const WAITING_FOR_TARGET_GROUPS: &str = "WaitingForTargetGroups";
    /// Healthy targets are missing.
    pub const WAITING_FOR_HEALTH: &str = "WaitingForHealth";
    /// The load balancer has not answered with the new weights yet.
    pub const WAITING_FOR_ROUTE: &str = "WaitingForRoute";
    /// A field has a value that cannot be acted on.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Some target groups are left out; the message names them.
    pub const INVALID_TARGET_GROUPS: &str = "InvalidTargetGroups";
    /// The object could not be parsed at all.
    pub const MALFORMED: &str = "Malformed";
    /// More target groups than one action of the router can hold.
    pub const CAPACITY_EXCEEDED: &str = "CapacityExceeded";
    /// No target group is left; the rule stays as it is.
    pub const NO_TARGET_GROUPS: &str = "NoTargetGroups";
    /// No version has a healthy target; nothing moves.
    pub const NOTHING_HEALTHY: &str = "NothingHealthy";
    /// A step waits for a person or a time.
    pub const PAUSE_STEP: &str = "PauseStep";
    /// A person asked to pause.
    pub const PAUSED_BY_PERSON: &str = "PausedByPerson";
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
    /// An analysis cannot be made: a template is missing, or does not fit its arguments.
    pub const INVALID_ANALYSIS: &str = "InvalidAnalysis";
    /// An analysis could not tell; a person decides.
    pub const INCONCLUSIVE: &str = "Inconclusive";
    /// A step failed and `onFailure` is Hold; a person decides.
    pub const HELD_ON_FAILURE: &str = "HeldOnFailure";
    /// The status was lost while the rule was split; a person decides.
    pub const STATE_LOST: &str = "StateLost";
    /// Somebody else changed the rule.
    pub const FOREIGN_EDIT: &str = "ForeignEdit";
    /// The rule belongs to somebody else.
    pub const FOREIGN_RULE: &str = "ForeignRule";
    /// Another Cell has the same rule.
    pub const RULE_TAKEN: &str = "RuleTaken";
    /// The cloud refuses what is asked; the message has its words.
    pub const REFUSED: &str = "Refused";
    /// The cloud or the API server cannot be reached.
    pub const UNREACHABLE: &str = "Unreachable";
    /// Waiting took longer than `progressDeadlineSeconds`.
    pub const PROGRESS_DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
    /// The version is on the blocklist.
    pub const VERSION_BLOCKED: &str = "VersionBlocked";
    /// The last rollout failed and its version is blocked.
    pub const ROLLOUT_FAILED: &str = "RolloutFailed";
    /// No version other than the stable one is attached.
    pub const NO_PREVIOUS_VERSION: &str = "NoPreviousVersion";
    /// The parked side has fewer healthy targets than it had.
    pub const PREVIOUS_VERSION_SHRUNK: &str = "PreviousVersionShrunk";
    /// A plan broke an invariant and was not carried out.
    pub const INVARIANT_BREACH: &str = "InvariantBreach";
    /// An answer does not name everything that is there; nothing is removed because of it.
    pub const INCOMPLETE: &str = "Incomplete";
    /// Clusters are not ready yet; the message names them.
    pub const WAITING_FOR_CLUSTERS: &str = "WaitingForClusters";
    /// Clusters get no Secret; the message names them.
    pub const REFUSED_CLUSTERS: &str = "RefusedClusters";
    /// Bindings get no AWSTargetGroup; the message names them.
    pub const REFUSED_BINDINGS: &str = "RefusedBindings";
    /// The bindings of clusters are not known; the message names them. What they had is kept.
    pub const UNREACHABLE_CLUSTERS: &str = "UnreachableClusters";
    /// This store or build has no router of this type.
    pub const UNSUPPORTED_INGRESS: &str = "UnsupportedIngress";
}

/// The condition of type `type_`, if it is there.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of type `type_` is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// Sets one condition. Its transition time is kept unless its status changes, so that an unchanged
/// decision writes nothing.
pub fn set(conditions: &mut Vec<Condition>, now: Timestamp, generation: Option<i64>, new: NewCondition<'_>) {
    let status = new.status.map_or("Unknown", |status| if status { "True" } else { "False" });
    let reason = if new.reason.is_empty() { reason::AS_DESIRED } else { new.reason };
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(condition) => {
            if condition.status != status {
                condition.last_transition_time = Time(now);
                status.clone_into(&mut condition.status);
            }
            reason.clone_into(&mut condition.reason);
            condition.message = new.message;
            condition.observed_generation = generation;
        }
        None => conditions.push(Condition {
            type_: new.type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: new.message,
            observed_generation: generation,
            last_transition_time: Time(now),
        }),
    }
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// What [`set`] sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCondition<'a> {
    /// One of this module's types.
    pub type_: &'a str,
    /// True, False, or `None` for Unknown.
    pub status: Option<bool>,
    /// One of [`reason`].
    pub reason: &'a str,
    /// A sentence for a person: what is, why, and what to do.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        let new = |status, message: &str| NewCondition {
            type_: READY,
            status: Some(status),
            reason: reason::AS_DESIRED,
            message: message.to_owned(),
        };
        set(&mut conditions, at(1), Some(1), new(true, "a"));
        set(&mut conditions, at(2), Some(2), new(true, "b"));
        assert_eq!(conditions[0].last_transition_time.0, at(1));
        assert_eq!(conditions[0].message, "b");
        assert_eq!(conditions[0].observed_generation, Some(2));
        set(&mut conditions, at(3), Some(2), new(false, "c"));
        assert_eq!(conditions[0].last_transition_time.0, at(3));
        assert!(!is_true(&conditions, READY));
        assert_eq!(conditions.len(), 1);
    }
}
