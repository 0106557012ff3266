//! Two reports side by side.

use std::path::Path;

use crate::report::{Report, number, say, table};

/// Prints the figures of two reports and the ratio of the newer to the older.
pub fn print(base: &Path, with: &Path) -> anyhow::Result<()> {
    let (base, with) = (Report::read(base)?, Report::read(with)?);
    say(&table(&rows(&base, &with)));
    Ok(())
}

fn rows(base: &Report, with: &Report) -> Vec<[String; 6]> {
    let mut rows = vec![["workload", "figure", "base", "now", "ratio", "unit"].map(str::to_owned)];
    for now in &with.figures {
        let was = base.figures.iter().find(|was| was.workload == now.workload && was.what == now.what);
        let ratio = was.filter(|was| was.value != 0.0).map(|was| format!("{:.2}", now.value / was.value));
        rows.push([
            now.workload.clone(),
            now.what.clone(),
            was.map_or_else(|| "-".to_owned(), |was| number(was.value)),
            number(now.value),
            ratio.unwrap_or_else(|| "-".to_owned()),
            now.unit.clone(),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_new_has_no_ratio() {
        let okrad = std::env::current_exe().unwrap();
        let (mut base, mut with) = (Report::new(&okrad).unwrap(), Report::new(&okrad).unwrap());
        base.add("calls", "writes", (20.0, ""), None, "");
        with.add("calls", "writes", (25.0, ""), None, "");
        with.add("calls", "reads", (5.0, ""), None, "");
        let rows = rows(&base, &with);
        assert_eq!(rows[1][2..5], ["20", "25", "1.25"].map(str::to_owned));
        assert_eq!(rows[2][2..5], ["-", "5", "-"].map(str::to_owned));
    }
}
