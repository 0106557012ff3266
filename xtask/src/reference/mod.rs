//! `docs/reference`: the fields of every kind, and the help of every command.

mod cli;
mod crd;

use anyhow::Result;

use crate::files::Files;

/// `crd.md` and `cli.md`.
pub fn files() -> Result<Files> {
    let mut files = Files::of("docs", "docs/reference");
    files.contents.push(("crd.md".to_owned(), crd::page(&okra_api::crds())?));
    files.contents.push(("cli.md".to_owned(), cli::page(cli::programs())));
    Ok(files)
}
