//! Files and folders that appear whole or not at all, and reads with a limit.
//! A new file or folder is written beside its target, flushed, and renamed over it.
//! Leaves out locking: two writers of one target both succeed, the later one stays.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempDir};

/// What went wrong with a file or a folder, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Nothing lies at the path.
    #[error("`{path}` does not exist: check the path")]
    Missing {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The system refuses the access.
    #[error("no permission to {action} `{path}`: change its permissions or choose another place")]
    Denied {
        /// What was tried: read, write, create.
        action: &'static str,
        /// The path that was refused.
        path: PathBuf,
    },
    /// The disk or the quota is used up.
    #[error(
        "the disk is full, so `{path}` was not written: free some space or choose another place"
    )]
    Full {
        /// The path that was to be written.
        path: PathBuf,
    },
    /// A parent of the path is a file, or the path itself is of the other kind.
    #[error("cannot {action} `{path}`: {expected}")]
    WrongKind {
        /// What was tried.
        action: &'static str,
        /// The path in question.
        path: PathBuf,
        /// What should have been there.
        expected: &'static str,
    },
    /// The file is larger than the reader accepts.
    #[error("`{path}` has {found} bytes, more than the limit of {limit}: is it the right file?")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes, as far as it was read.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Anything else the system reports.
    #[error("cannot {action} `{path}`: {source}")]
    Other {
        /// What was tried.
        action: &'static str,
        /// The path in question.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
}

impl FileError {
    /// Names the path and the remedy for an error of the system; `action` is a verb such as "read".
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            ErrorKind::NotFound => Self::Missing { path },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::Denied { action, path }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            ErrorKind::NotADirectory => Self::WrongKind {
                action,
                path,
                expected: "a part of its path is a file where a folder is needed",
            },
            ErrorKind::IsADirectory => Self::WrongKind {
                action,
                path,
                expected: "it is a folder where a file is needed",
            },
            _ => Self::Other {
                action,
                path,
                source,
            },
        }
    }
}

/// Creates a folder and its parents; fine if it is there already.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => FileError::WrongKind {
            action: "create the folder",
            path: path.to_path_buf(),
            expected: "a file of that name is in the way",
        },
        _ => FileError::new("create the folder", path, e),
    })
}

/// Reads a whole file of at most `max_bytes` bytes.
pub fn read_limited(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let fail = |e| FileError::new("read", path, e);
    let too_large = |found| FileError::TooLarge {
        path: path.to_path_buf(),
        found,
        limit: max_bytes,
    };
    let file = File::open(path).map_err(fail)?;
    let claimed = file.metadata().map_err(fail)?.len();
    if claimed > max_bytes {
        return Err(too_large(claimed));
    }
    let mut bytes = Vec::with_capacity(claimed as usize);
    // Devices and pipes claim no size, so the read itself is limited too.
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    match bytes.len() as u64 {
        found if found > max_bytes => Err(too_large(found)),
        _ => Ok(bytes),
    }
}

/// Writes a file so that `path` holds either its old content or all of the new one.
pub fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let fail = |e| FileError::new("write", path, e);
    if path.is_dir() {
        return Err(fail(ErrorKind::IsADirectory.into()));
    }
    let mut file = sibling(path)
        .tempfile_in(parent(path))
        .map_err(|e| not_begun("write", path, e))?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    fill(&mut buffered)
        .and_then(|()| buffered.flush())
        .map_err(fail)?;
    drop(buffered);
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    sync_folder(parent(path)).map_err(fail)
}

/// [`write_atomic`] for bytes at hand.
pub fn write_atomic_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_atomic(path, |w| w.write_all(bytes))
}

/// A folder that is filled beside its target and then takes the target's place.
///
/// Dropped before [`AtomicDir::commit`], it vanishes and the target stays as it was.
#[derive(Debug)]
pub struct AtomicDir {
    target: PathBuf,
    filling: TempDir,
}

impl AtomicDir {
    /// Begins a folder that will be called `target`; the parent folder must exist.
    pub fn create(target: &Path) -> Result<Self, FileError> {
        if target.is_file() {
            return Err(FileError::WrongKind {
                action: "create the folder",
                path: target.to_path_buf(),
                expected: "a file of that name is in the way",
            });
        }
        let filling =
            sibling_folder(target).map_err(|e| not_begun("create the folder", target, e))?;
        Ok(Self {
            target: target.to_path_buf(),
            filling,
        })
    }

    /// Where the content goes until the commit.
    pub fn path(&self) -> &Path {
        self.filling.path()
    }

    /// Puts the folder in the target's place. What was there is removed once the new one is in.
    pub fn commit(self) -> Result<(), FileError> {
        let fail = |e| FileError::new("write", &self.target, e);
        sync_tree(self.filling.path()).map_err(fail)?;
        if fs::symlink_metadata(&self.target).is_ok() {
            replace_folder(self.filling, &self.target).map_err(fail)?;
        } else {
            fs::rename(self.filling.path(), &self.target).map_err(fail)?;
            // Nothing is left under the temporary name.
            let _ = self.filling.keep();
        }
        sync_folder(parent(&self.target)).map_err(fail)
    }
}

/// Swaps the two names in one step where the system can, else parks the old folder meanwhile.
fn replace_folder(filling: TempDir, target: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, filling.path(), CWD, target, RenameFlags::EXCHANGE).is_ok() {
            // The temporary name now holds the old content and removes it.
            return filling.close();
        }
    }
    let parking = sibling_folder(target)?;
    let parked = parking.path().join("old");
    fs::rename(target, &parked)?;
    if let Err(e) = fs::rename(filling.path(), target) {
        fs::rename(&parked, target)?;
        return Err(e);
    }
    let _ = filling.keep();
    parking.close()
}

/// Nothing can be written into a folder that is not there: then it is the folder that is missing.
fn not_begun(action: &'static str, path: &Path, source: io::Error) -> FileError {
    match source.kind() {
        ErrorKind::NotFound => FileError::new(action, parent(path), source),
        _ => FileError::new(action, path, source),
    }
}

/// The folder a path lies in; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// How the names of unfinished files and folders begin and end.
const UNFINISHED: (&str, &str) = (".dreamsmith-", ".part");

/// Removes what a killed program left unfinished in `folder`, which no other program may be writing to.
pub fn remove_unfinished(folder: &Path) -> Result<(), FileError> {
    let fail = |e| FileError::new("clean up", folder, e);
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1)) {
            continue;
        }
        match entry.file_type().map_err(fail)?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        }
        .map_err(fail)?;
    }
    Ok(())
}

/// Names a temporary neighbour `.dreamsmith-<random>.part`, with the permissions of any new file.
fn sibling(path: &Path) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED.0).suffix(UNFINISHED.1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A new file gets what the umask leaves; one that is replaced keeps its mode.
        let mode = fs::metadata(path).map_or(0o666, |m| m.permissions().mode() & 0o777);
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    builder
}

fn sibling_folder(target: &Path) -> io::Result<TempDir> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED.0).suffix(UNFINISHED.1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(parent(target))
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else if entry.file_type()?.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

/// Makes a rename last through a power cut; only Unix can open a folder for that.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).map_or(0, Iterator::count)
    }

    #[test]
    fn only_unfinished_things_are_removed() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let place = |name: &str| folder.path().join(name);
        fs::create_dir_all(place(".dreamsmith-abc.part/inside"))?;
        fs::write(place(".dreamsmith-def.part"), "half")?;
        fs::write(place("kept.part"), "whole")?;
        remove_unfinished(folder.path())?;
        assert!(!place(".dreamsmith-abc.part").exists() && !place(".dreamsmith-def.part").exists());
        assert!(place("kept.part").exists());
        Ok(())
    }

    #[test]
    fn a_file_is_replaced_whole() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.txt");
        write_atomic_bytes(&path, b"one")?;
        write_atomic_bytes(&path, b"two!")?;
        assert_eq!(fs::read(&path)?, b"two!");
        assert_eq!(entries(dir.path()), 1);
        Ok(())
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_debris() -> Result<(), Box<dyn std::error::Error>>
    {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.txt");
        write_atomic_bytes(&path, b"old")?;
        for (kind, words) in [
            (ErrorKind::StorageFull, "disk is full"),
            (ErrorKind::PermissionDenied, "no permission to write"),
        ] {
            let failed = write_atomic(&path, |w| {
                w.write_all(b"half")?;
                Err(kind.into())
            });
            let message = failed.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(
                message.contains(words) && message.contains("a.txt"),
                "{message}"
            );
            assert_eq!(fs::read(&path)?, b"old");
            assert_eq!(entries(dir.path()), 1);
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_without_space_is_a_full_disk() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.bin");
        let result = write_atomic(&path, |_| {
            let mut full = File::options().write(true).open("/dev/full")?;
            full.write_all(&[0; 4096])
        });
        assert!(matches!(result, Err(FileError::Full { .. })), "{result:?}");
        assert_eq!(entries(dir.path()), 0);
        Ok(())
    }

    #[test]
    fn targets_that_cannot_be_written_say_why() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("file");
        write_atomic_bytes(&file, b"")?;
        let below_file = write_atomic_bytes(&file.join("a"), b"");
        assert!(
            matches!(below_file, Err(FileError::WrongKind { .. })),
            "{below_file:?}"
        );
        let over_folder = write_atomic_bytes(dir.path(), b"");
        assert!(
            matches!(over_folder, Err(FileError::WrongKind { .. })),
            "{over_folder:?}"
        );
        let nowhere = write_atomic_bytes(&dir.path().join("no/a"), b"");
        assert!(
            matches!(&nowhere, Err(FileError::Missing { path }) if path.ends_with("no")),
            "{nowhere:?}"
        );
        assert!(matches!(
            create_folder(&file),
            Err(FileError::WrongKind { .. })
        ));
        assert!(matches!(
            AtomicDir::create(&file),
            Err(FileError::WrongKind { .. })
        ));
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn new_files_obey_the_umask_and_old_ones_keep_their_mode()
    -> Result<(), Box<dyn std::error::Error>> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir()?;
        let mode = |p: &Path| fs::metadata(p).map(|m| m.permissions().mode() & 0o777);
        let (plain, ours) = (dir.path().join("plain"), dir.path().join("ours"));
        fs::write(&plain, b"")?;
        write_atomic_bytes(&ours, b"")?;
        assert_eq!(mode(&ours)?, mode(&plain)?);
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o640))?;
        write_atomic_bytes(&ours, b"again")?;
        assert_eq!(mode(&ours)?, 0o640);
        Ok(())
    }

    #[test]
    fn a_folder_is_replaced_whole() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("model");
        for (name, other) in [("one", "two"), ("two", "one")] {
            let new = AtomicDir::create(&target)?;
            create_folder(&new.path().join("unet"))?;
            fs::write(new.path().join("unet").join(name), name)?;
            new.commit()?;
            assert!(target.join("unet").join(name).is_file());
            assert!(!target.join("unet").join(other).exists());
            assert_eq!(entries(dir.path()), 1);
        }
        Ok(())
    }

    #[test]
    fn an_abandoned_folder_vanishes() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("model");
        create_folder(&target)?;
        fs::write(target.join("old"), "old")?;
        let new = AtomicDir::create(&target)?;
        fs::write(new.path().join("new"), "new")?;
        drop(new);
        assert!(target.join("old").is_file());
        assert_eq!(entries(dir.path()), 1);
        Ok(())
    }

    #[test]
    fn large_files_are_refused() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a");
        fs::write(&path, [7; 10])?;
        assert_eq!(read_limited(&path, 10)?, [7; 10]);
        let result = read_limited(&path, 9);
        assert!(
            matches!(
                result,
                Err(FileError::TooLarge {
                    found: 10,
                    limit: 9,
                    ..
                })
            ),
            "{result:?}"
        );
        assert!(matches!(
            read_limited(&dir.path().join("b"), 9),
            Err(FileError::Missing { .. })
        ));
        assert!(matches!(
            read_limited(dir.path(), 1 << 20),
            Err(FileError::WrongKind { .. })
        ));
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn endless_files_are_refused() {
        let result = read_limited(Path::new("/dev/zero"), 1000);
        assert!(
            matches!(result, Err(FileError::TooLarge { .. })),
            "{result:?}"
        );
    }
}
