//! `okra clusters`.

use okra_app::clusters::{SurveyedCluster, SurveyedGroup, survey};
use okra_cli::{
    CommandError, Context, ExitStatus,
    printer::to_value,
    render::{Column, Text, columns},
    style::{Paint, one_line},
};

use crate::args::Clusters;

/// Asks every cluster, and says which answers.
pub async fn run(args: Clusters, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let session = context.session().await?;
    let namespace = (!args.all_namespaces).then_some(session.namespace.as_str());
    let clusters = survey(&session.store, namespace).await;
    let clusters = clusters.map_err(|why| CommandError::failed("failed to list cluster Secrets", why))?;
    let status = if clusters.iter().all(|cluster| cluster.reachable) { ExitStatus::Ok } else { ExitStatus::Failed };
    if context.printer.output().is_for_programs() {
        let names: Vec<String> = clusters.iter().map(|cluster| format!("secret/{}", cluster.secret)).collect();
        context.printer.value(&to_value(&clusters)?, &names.join("\n"))?;
    } else if clusters.is_empty() {
        context.printer.note(&format!("no cluster found in {}", session.place(args.all_namespaces)));
    } else {
        let head = ["NAMESPACE", "SECRET", "CLUSTER", "SET", "REACHABLE", "APPLICATIONS", "TARGETGROUPS", "ANSWER"];
        let head = head.map(Column::left);
        let rows: Vec<Vec<Text>> = clusters.iter().map(row).collect();
        let lines = columns(&head, &rows, context.printer.style());
        context.printer.result(&lines.join("\n"))?;
    }
    Ok(status)
}

fn row(cluster: &SurveyedCluster) -> Vec<Text> {
    let reachable = if cluster.reachable { Text::new("True", Paint::Good) } else { Text::new("False", Paint::Bad) };
    vec![
        Text::plain(&cluster.namespace),
        Text::plain(&cluster.secret),
        Text::plain(&cluster.cluster),
        Text::plain(&cluster.set),
        reachable,
        applications(cluster.applications),
        Text::plain(cluster.target_groups.iter().map(group).collect::<Vec<_>>().join(", ")),
        Text::plain(one_line(&cluster.answer)),
    ]
}

/// `2/3`: two of three are ready; nothing where there is none.
fn applications((ready, total): (usize, usize)) -> Text {
    match total {
        0 => Text::plain(""),
        _ if ready == total => Text::new(format!("{ready}/{total}"), Paint::Good),
        _ => Text::new(format!("{ready}/{total}"), Paint::Warn),
    }
}

/// `default-web1 2.0.0 (cell1: 50)`.
fn group(group: &SurveyedGroup) -> String {
    let weights: Vec<String> = group.weights.iter().map(|(cell, weight)| format!("{cell}: {weight}")).collect();
    let weights = if weights.is_empty() { String::new() } else { format!(" ({})", weights.join(", ")) };
    one_line(&format!("{} {}{weights}", group.name, group.version))
}
