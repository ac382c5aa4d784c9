//! Where a result goes: made ready before the work, so that a wrong path costs no time.

use std::path::Path;

use anyhow::bail;
use dreamsmith_base::create_folder;

/// Refuses a folder in the place of the picture `file`, and creates the folder around it.
pub fn prepare_file(file: &Path) -> anyhow::Result<()> {
    if file.is_dir() {
        bail!(
            "`{}` is a folder; give the name of a PNG file",
            file.display()
        );
    }
    let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    Ok(create_folder(folder)?)
}
