//! Generated files: written, or compared with what is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The generated files of one folder.
pub struct Files {
    /// The make target that writes them.
    pub target: &'static str,
    /// The folder, from the root of the repository.
    pub folder: &'static str,
    /// Files of this extension that are not generated any more are removed; unset: nothing is removed.
    pub owns: Option<&'static str>,
    /// Name and content of each.
    pub contents: Vec<(String, String)>,
}

impl Files {
    /// Writes those that differ, and removes those that are not generated any more.
    pub fn write(&self, root: &Path) -> Result<()> {
        let folder = root.join(self.folder);
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        for (name, content) in &self.contents {
            let path = folder.join(name);
            if fs::read_to_string(&path).is_ok_and(|present| present == *content) {
                continue;
            }
            fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
        }
        for path in self.left_over(&folder)? {
            fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
        Ok(())
    }

    /// The files that differ, are missing, or are not generated any more, from the root.
    pub fn stale(&self, root: &Path) -> Result<Vec<String>> {
        let folder = root.join(self.folder);
        let differs = |(name, content): &&(String, String)| {
            fs::read_to_string(folder.join(name)).map_or(true, |present| present != *content)
        };
        let mut stale: Vec<String> =
            self.contents.iter().filter(differs).map(|(name, _)| format!("{}/{name}", self.folder)).collect();
        let name = |path: PathBuf| format!("{}/{}", self.folder, path.file_name().unwrap_or_default().display());
        stale.extend(self.left_over(&folder)?.into_iter().map(name));
        Ok(stale)
    }

    fn left_over(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let (Some(extension), true) = (self.owns, folder.exists()) else { return Ok(Vec::new()) };
        let listing = fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
        let mut paths = listing.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
        let generated = |path: &Path| {
            path.file_name().is_some_and(|name| self.contents.iter().any(|(known, _)| name == known.as_str()))
        };
        paths.retain(|path| path.extension().is_some_and(|found| found == extension) && !generated(path));
        paths.sort();
        Ok(paths)
    }
}

/// The root of the repository: the folder above this crate.
pub fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).context("the crate has no folder above it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_and_mended() {
        let root = tempfile::tempdir().unwrap();
        let contents = vec![("a.yaml".to_owned(), "a\n".to_owned()), ("b.yaml".to_owned(), "b\n".to_owned())];
        let files = Files { owns: Some("yaml"), contents, ..Files::of("manifests", "config/crd") };
        assert_eq!(files.stale(root.path()).unwrap(), ["config/crd/a.yaml", "config/crd/b.yaml"]);
        files.write(root.path()).unwrap();
        assert_eq!(files.stale(root.path()).unwrap(), Vec::<String>::new());

        let folder = root.path().join("config/crd");
        fs::write(folder.join("b.yaml"), "edited\n").unwrap();
        fs::write(folder.join("old.yaml"), "old\n").unwrap();
        fs::write(folder.join("notes.txt"), "kept\n").unwrap();
        assert_eq!(files.stale(root.path()).unwrap(), ["config/crd/b.yaml", "config/crd/old.yaml"]);
        files.write(root.path()).unwrap();
        assert_eq!(files.stale(root.path()).unwrap(), Vec::<String>::new());
        assert!(folder.join("notes.txt").exists() && !folder.join("old.yaml").exists());
    }
}
