//! AnalysisRun.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    argument::Argument,
    is_zero,
    metric::{DryRun, MeasurementRetention, Metric},
    run_status::AnalysisRunStatus,
};

/// Metrics that are measured until there is a verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "AnalysisRun",
    namespaced,
    status = "AnalysisRunStatus",
    shortname = "ar",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.phase","description":"AnalysisRun status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp","description":"Time since resource was created"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunSpec {
    /// What is measured.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// Arguments of the metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
    /// Ends the run before its time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub terminate: bool,
    /// Metrics that do not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements are kept. Default: the newest 10 of each metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// When the run is deleted after its end. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_strategy: Option<TtlStrategy>,
}

/// When a run is deleted after its end, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TtlStrategy {
    /// After any end that has no time of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_after_completion: Option<i32>,
    /// After a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_after_failure: Option<i32>,
    /// After a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_after_success: Option<i32>,
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;
    use crate::analysis::{AnalysisTemplate, ClusterAnalysisTemplate, Experiment};

    fn reads_back<T: Serialize + for<'de> Deserialize<'de>>(object: &Value) {
        let read: T = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(&serde_json::to_value(read).unwrap(), object);
    }

    #[test]
    fn a_run_reads_back_as_argo_wrote_it() {
        let time = "2026-01-02T03:04:05Z";
        reads_back::<AnalysisRun>(&json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "run"},
            "spec": {
                "metrics": [
                    {
                        "name": "rate", "interval": "5m", "initialDelay": "30s", "count": "10", "failureLimit": 3,
                        "inconclusiveLimit": 1, "consecutiveErrorLimit": "{{args.errors}}", "consecutiveSuccessLimit": 2,
                        "successCondition": "result[0] >= 0.95", "failureCondition": "result[0] < 0.5",
                        "provider": {"prometheus": {
                            "address": "http://prometheus:9090", "query": "sum(rate(x[5m]))", "timeout": 20, "insecure": true,
                            "headers": [{"key": "X-Scope", "value": "a"}],
                            "rangeQuery": {"start": "now() - duration(\"1h\")", "end": "now()", "step": "1m"},
                            "authentication": {
                                "sigv4": {"region": "r", "profile": "p", "roleArn": "a"},
                                "oauth2": {"tokenUrl": "t", "clientId": "i", "clientSecret": "s", "scopes": ["x"]},
                                "basicAuth": {"username": "u", "password": "p"},
                            },
                        }},
                    },
                    {"name": "web", "provider": {"web": {
                        "method": "POST", "url": "http://x", "jsonBody": {"a": [1, "b"]}, "jsonPath": "{$.a}", "timeoutSeconds": 5,
                    }}},
                    {"name": "job", "provider": {"job": {
                        "metadata": {"labels": {"a": "b"}},
                        "spec": {"backoffLimit": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
                    }}},
                    {"name": "cw", "provider": {"cloudWatch": {"interval": "1m", "metricDataQueries": [{
                        "id": "q", "expression": "a/b", "label": "l", "returnData": false, "period": "60",
                        "metricStat": {
                            "metric": {
                                "namespace": "AWS/ApplicationELB", "metricName": "RequestCount",
                                "dimensions": [{"name": "LoadBalancer", "value": "app/x"}],
                            },
                            "period": 300, "stat": "Sum", "unit": "None",
                        },
                    }]}}},
                    {"name": "dd", "provider": {"datadog": {
                        "apiVersion": "v2", "interval": "5m", "requestTimeout": "10s", "queries": {"a": "q"}, "formula": "a",
                        "aggregator": "last", "secretRef": {"name": "s", "namespaced": true},
                    }}},
                    {"name": "plugin", "provider": {"plugin": {"argoproj-labs/sample": {"any": {"thing": [1]}}}}},
                ],
                "args": [
                    {"name": "a", "value": ""},
                    {"name": "b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    {"name": "c", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "terminate": true,
                "dryRun": [{"metricName": ".*"}],
                "measurementRetention": [{"metricName": "rate", "limit": 20}],
                "ttlStrategy": {"secondsAfterCompletion": 1, "secondsAfterFailure": 2, "secondsAfterSuccess": 3},
            },
            "status": {
                "phase": "Running", "message": "m", "startedAt": time, "completedAt": time,
                "runSummary": {"count": 1, "successful": 1, "failed": 1, "inconclusive": 1, "error": 1},
                "dryRunSummary": {},
                "metricResults": [{
                    "name": "rate", "phase": "Running", "message": "m", "count": 1, "successful": 1, "failed": 1,
                    "inconclusive": 1, "error": 1, "consecutiveError": 1, "consecutiveSuccess": 1, "dryRun": true,
                    "metadata": {"ResolvedPrometheusQuery": "q"},
                    "measurements": [{
                        "phase": "Successful", "message": "m", "startedAt": time, "finishedAt": time, "resumeAt": time,
                        "value": "[1]", "metadata": {"a": "b"},
                    }],
                }],
            },
        }));
    }

    #[test]
    fn templates_and_experiments_read_back() {
        let spec = json!({
            "metrics": [{"name": "m", "provider": {"web": {"url": "http://x"}}}],
            "templates": [{"templateName": "t", "clusterScope": true}],
        });
        let object = |kind: &str, spec: &Value| json!({"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        reads_back::<AnalysisTemplate>(&object("AnalysisTemplate", &spec));
        reads_back::<ClusterAnalysisTemplate>(&object("ClusterAnalysisTemplate", &spec));
        let mut experiment = object(
            "Experiment",
            &json!({
                "duration": "1h", "progressDeadlineSeconds": 60, "scaleDownDelaySeconds": 5,
                "templates": [{
                    "name": "a", "replicas": 2, "minReadySeconds": 1, "selector": {"matchLabels": {"app": "a"}},
                    "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}}, "service": {"name": "s"},
                }],
                "analyses": [{"name": "x", "templateName": "t", "requiredForCompletion": true}],
                "analysisRunMetadata": {"labels": {"a": "b"}},
            }),
        );
        experiment["status"] = json!({
            "phase": "Pending", "availableAt": "2026-01-02T03:04:05Z",
            "templateStatuses": [{
                "name": "a", "replicas": 1, "updatedReplicas": 1, "readyReplicas": 0, "availableReplicas": 0,
                "status": "Progressing", "serviceName": "s", "podTemplateHash": "h", "collisionCount": 1,
            }],
            "analysisRuns": [{"name": "x", "analysisRun": "", "phase": ""}],
        });
        reads_back::<Experiment>(&experiment);
    }

    #[test]
    fn what_is_missing_is_judged_later() {
        let run = |object: Value| serde_json::from_value::<AnalysisRun>(object).unwrap();
        let bare = run(json!({"metadata": {}, "spec": {}, "status": {"phase": ""}}));
        assert_eq!((bare.spec.metrics.len(), bare.status.unwrap().phase), (0, None));
        let odd = run(json!({"metadata": {}, "spec": {"metrics": [{"unknown": 1}], "unknown": 2}}));
        assert_eq!(odd.spec.metrics, [Metric::default()]);
        let datadog = run(json!({"metadata": {}, "spec": {"metrics": [{"provider": {"datadog": {}}}]}}));
        let datadog = datadog.spec.metrics[0].provider.datadog.clone().unwrap();
        assert_eq!([datadog.api_version, datadog.interval, datadog.request_timeout], ["v1", "5m", "10s"]);
    }
}
