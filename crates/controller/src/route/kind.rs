//! The two kinds of route objects, as the one controller sees them.

use okra_api::{AWSApplicationLoadBalancerConfig, Route, RouteStatus, route::DeletionPolicy};
use okra_core::field::FieldError;
use okra_core::route::{Identity, Intent, validate_alb, validate_route};
use okra_provider::Stored;

/// Where a route object wants its rule: two of them with the same place are in each other's way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim<'a> {
    listener: &'a str,
    priority: i32,
}

/// A kind of route object.
pub trait RouteKind: Stored {
    /// The controller's name: the kind in snake case.
    const NAME: &'static str;
    /// Why objects of this kind are refused where there is no router for them, and what to do.
    const WITHOUT_ROUTER: &'static str;
    /// The status, if one was written.
    fn status(&self) -> Option<&RouteStatus>;
    /// Replaces the status.
    fn set_status(&mut self, status: RouteStatus);
    /// What the spec asks for, or every fault of it.
    fn intent(&self, identity: &Identity) -> Result<Intent, Vec<FieldError>>;
    /// Where the rule is to be; of a bad spec too.
    fn claim(&self) -> Claim<'_>;
    /// What becomes of the rule when the object is deleted.
    fn deletion_policy(&self) -> DeletionPolicy;
    /// Names of target groups whose health is to be in the status.
    fn health_of(&self) -> &[String];
    /// The fingerprint of a foreign state that may be overwritten.
    fn overwrite(&self) -> Option<&str>;
    /// Whether the spec takes traffic back to safety, if it says so.
    fn way_back(&self) -> Option<bool>;
    /// Fingerprints of former intents, if the spec keeps them.
    fn former_intents(&self) -> Option<&[String]>;
}

macro_rules! common {
    () => {
        fn status(&self) -> Option<&RouteStatus> {
            self.status.as_ref()
        }

        fn set_status(&mut self, status: RouteStatus) {
            self.status = Some(status);
        }

        fn deletion_policy(&self) -> DeletionPolicy {
            self.spec.deletion_policy
        }

        fn health_of(&self) -> &[String] {
            &self.spec.health_of
        }

        fn overwrite(&self) -> Option<&str> {
            self.spec.overwrite.as_deref()
        }

        fn way_back(&self) -> Option<bool> {
            self.spec.way_back
        }

        fn former_intents(&self) -> Option<&[String]> {
            self.spec.former_intents.as_deref()
        }
    };
}

impl RouteKind for AWSApplicationLoadBalancerConfig {
    const NAME: &'static str = "aws_application_load_balancer_config";
    const WITHOUT_ROUTER: &'static str =
        "there is no router for Application Load Balancers here: run a build with the AWS adapter";

    common!();

    fn intent(&self, identity: &Identity) -> Result<Intent, Vec<FieldError>> {
        validate_alb(&self.spec, identity)
    }

    fn claim(&self) -> Claim<'_> {
        Claim { listener: &self.spec.listener_arn, priority: self.spec.listener.rule.priority }
    }
}

impl RouteKind for Route {
    const NAME: &'static str = "route";
    const WITHOUT_ROUTER: &'static str = "the embedded balancer belongs to the directory store: use --store dir:PATH, or \
                                          an AWSApplicationLoadBalancerConfig";

    common!();

    fn intent(&self, identity: &Identity) -> Result<Intent, Vec<FieldError>> {
        validate_route(&self.spec, identity)
    }

    fn claim(&self) -> Claim<'_> {
        Claim { listener: &self.spec.local.listen, priority: 0 }
    }
}
