//! Labels, annotations, tags, finalizers and field managers: every name that Okra puts on an object.

/// The API group of Okra's kinds.
pub const GROUP: &str = "okra.mumo.co";
/// The version of Okra's kinds.
pub const VERSION: &str = "v1alpha1";

/// Default label that holds the version of a target group.
pub const VERSION_LABEL: &str = "okra.mumo.co/version";
/// On a child of a Cell: the Cell's name.
pub const CELL_LABEL: &str = "cell";
/// On a child of a rollout: the rollout's id, made safe for a label.
pub const ROLLOUT_LABEL: &str = "okra.mumo.co/rollout";
/// On a child of a rollout: the index of its step.
pub const STEP_INDEX_LABEL: &str = "okra.mumo.co/step-index";

/// On an AnalysisRun that a person made from the command line: when, in seconds since 1970.
pub const TIMESTAMP_LABEL: &str = "okra.mumo.co/timestamp";

/// On a Secret: `cluster` makes it one of Argo CD's clusters.
pub const SECRET_TYPE_LABEL: &str = "argocd.argoproj.io/secret-type";
/// Value of [`SECRET_TYPE_LABEL`].
pub const CLUSTER_SECRET_TYPE: &str = "cluster";
/// On a cluster Secret: the ClusterSet of the same namespace that made it.
pub const CLUSTER_SET_LABEL: &str = "okra.mumo.co/cluster-set";
/// On a cluster Secret: the uid of that ClusterSet.
pub const CLUSTER_SET_UID_LABEL: &str = "okra.mumo.co/cluster-set-uid";
/// On a cluster Secret: which cluster it is of: an ARN, or a generator's name for it.
pub const CLUSTER_ID_ANNOTATION: &str = "okra.mumo.co/cluster-id";
/// On a cluster Secret or an AWSTargetGroup: labels and annotations that a set put there, separated by commas. It
/// replaces these, and leaves those of others.
pub const TEMPLATE_KEYS_ANNOTATION: &str = "okra.mumo.co/template-keys";
/// On a cluster Secret whose server is an ARN: the URL of the API server.
pub const CLUSTER_ENDPOINT_ANNOTATION: &str = "okra.mumo.co/cluster-endpoint";
/// On a cluster Secret whose server is an ARN: the certificates of the API server, PEM in base64.
pub const CLUSTER_CA_ANNOTATION: &str = "okra.mumo.co/cluster-ca";

/// On an AWSTargetGroup: the name of the cluster whose binding it stands for, where a label can hold it.
pub const BINDING_CLUSTER_LABEL: &str = "okra.mumo.co/target-group-binding-cluster";
/// On an AWSTargetGroup: the namespace of that binding.
pub const BINDING_NAMESPACE_LABEL: &str = "okra.mumo.co/target-group-binding-namespace";
/// On an AWSTargetGroup: the name of that binding, where a label can hold it.
pub const BINDING_NAME_LABEL: &str = "okra.mumo.co/target-group-binding-name";
/// On an AWSTargetGroup: that binding, as `<namespace>/<name>`.
pub const BINDING_ANNOTATION: &str = "okra.mumo.co/target-group-binding";
/// On an AWSTargetGroup: the AWSTargetGroupSet of the same namespace that made it.
pub const TARGET_GROUP_SET_LABEL: &str = "okra.mumo.co/target-group-set";
/// On an AWSTargetGroup: the uid of that AWSTargetGroupSet.
pub const TARGET_GROUP_SET_UID_LABEL: &str = "okra.mumo.co/target-group-set-uid";

/// On a target group: `"true"` takes it out of service and keeps it out.
pub const DRAIN_ANNOTATION: &str = "okra.mumo.co/drain";
/// On a Cell: a person's request, as JSON (see [`crate::Request`]).
pub const REQUEST_ANNOTATION: &str = "okra.mumo.co/request";
/// On a Cell or a route object: adopt a rule that Okra did not create. `"true"` for an untagged rule,
/// another installation's id to take its rule over.
pub const ADOPT_RULE_ANNOTATION: &str = "okra.mumo.co/adopt-rule";

/// On an AnalysisTemplate or an AnalysisRun: the named profile that its metrics are measured with. Of one metric:
/// `okra.mumo.co/metric-profile.<metric>`, which wins.
pub const METRIC_PROFILE_ANNOTATION: &str = "okra.mumo.co/metric-profile";

/// Tag on a listener rule: `<namespace>/<name>` of the Cell that owns it.
pub const CELL_TAG: &str = "okra.mumo.co/cell";
/// Tag on a listener rule: the id of the installation that owns it.
pub const OWNER_TAG: &str = "okra.mumo.co/owner";

/// Finalizer on a route object: the rule is removed, when the deletion policy says so, before the object goes.
pub const ROUTE_FINALIZER: &str = "okra.mumo.co/route";
/// Value of `managedFields[].manager` for what okrad writes.
pub const FIELD_MANAGER: &str = "okrad";
/// Name of the leader lease.
pub const LEASE_NAME: &str = "okra";
