//! Decoded pictures on disk, so that a second start needs no decoding.
//! One file for each size and fit: magic, key, header, pixels, and a BLAKE3 hash of it all.
//! Leaves out captions, which are read afresh, and partial reuse: any change decodes anew.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use blake3::{Hash, Hasher};
use dreamsmith_base::{FileError, create_folder, read_limited, write_atomic};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"DSPIXEL1";
const HASH: usize = blake3::OUT_LEN;
/// Magic, key, and the length of the header.
const PREFIX: usize = MAGIC.len() + HASH + 8;
/// Beyond the pixels a cache holds the reasons of broken pictures, no more.
const MAX_HEADER_BYTES: u64 = 1 << 28;

/// The usable pictures as squares, one after the other, and the others with their reasons.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// `[N, size, size, 4]` bytes of the usable pictures.
    pub(crate) pixels: Vec<u8>,
    /// Index among all pictures, and why it is left out; ascending.
    pub(crate) broken: Vec<(usize, String)>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    pixel_bytes: u64,
    broken: Vec<(usize, String)>,
}

/// Why a cache file was not used.
pub(crate) enum Miss {
    /// There is none yet, or it belongs to another state of the folder.
    Stale,
    /// It is damaged or cannot be read.
    Damaged(String),
}

/// Where the cache of a folder lies, and what it must have been made from.
pub(crate) struct Cache {
    path: PathBuf,
    key: Hash,
}

impl Cache {
    /// The cache in `folder` for pictures whose content and treatment hash to `key`.
    pub(crate) fn new(folder: &Path, name: &str, key: Hash) -> Self {
        Self {
            path: folder.join(format!("{name}.pixels")),
            key,
        }
    }

    pub(crate) fn load(&self, max_pixel_bytes: u64) -> Result<Decoded, Miss> {
        let limit = max_pixel_bytes.saturating_add(MAX_HEADER_BYTES);
        let bytes = match read_limited(&self.path, limit) {
            Ok(bytes) => bytes,
            Err(FileError::Missing { .. }) => return Err(Miss::Stale),
            Err(e) => return Err(Miss::Damaged(e.to_string())),
        };
        let damaged = |reason: &str| Miss::Damaged(format!("`{}` {reason}", self.path.display()));
        if bytes.len() < PREFIX + HASH || !bytes.starts_with(MAGIC) {
            return Err(damaged("is not a cache of this version"));
        }
        if bytes[MAGIC.len()..][..HASH] != *self.key.as_bytes() {
            return Err(Miss::Stale);
        }
        self.unpack(bytes).map_err(damaged)
    }

    fn unpack(&self, mut bytes: Vec<u8>) -> Result<Decoded, &'static str> {
        let end = bytes.len() - HASH;
        if blake3::hash(&bytes[..end]).as_bytes() != &bytes[end..] {
            return Err("does not match its checksum");
        }
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[PREFIX - 8..PREFIX]);
        let body = usize::try_from(u64::from_le_bytes(length))
            .ok()
            .and_then(|n| n.checked_add(PREFIX))
            .filter(|&body| body <= end)
            .ok_or("has a header longer than itself")?;
        let header: Header =
            serde_json::from_slice(&bytes[PREFIX..body]).map_err(|_| "has an unreadable header")?;
        if header.pixel_bytes != (end - body) as u64 {
            return Err("holds another number of pixels than it says");
        }
        bytes.truncate(end);
        bytes.drain(..body);
        Ok(Decoded {
            pixels: bytes,
            broken: header.broken,
        })
    }

    pub(crate) fn store(&self, decoded: &Decoded) -> Result<(), FileError> {
        if let Some(folder) = self.path.parent() {
            create_folder(folder)?;
        }
        write_atomic(&self.path, |w| {
            let header = serde_json::to_vec(&Header {
                pixel_bytes: decoded.pixels.len() as u64,
                broken: decoded.broken.clone(),
            })?;
            let length = (header.len() as u64).to_le_bytes();
            let mut hasher = Hasher::new();
            for part in [
                MAGIC,
                &self.key.as_bytes()[..],
                &length,
                &header,
                &decoded.pixels,
            ] {
                hasher.update(part);
                w.write_all(part)?;
            }
            w.write_all(hasher.finalize().as_bytes())
        })
    }
}

/// The key of a folder's state: each file's name, length and time of change, and the treatment.
pub(crate) fn fingerprint<'a>(
    root: &Path,
    files: impl Iterator<Item = &'a Path>,
    treatment: &str,
) -> Hash {
    let mut hasher = Hasher::new();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(treatment.as_bytes());
    for file in files {
        add(file.as_os_str().as_encoded_bytes());
        // A file that cannot be asked will not decode either: its absence is part of the state.
        if let Ok(meta) = root.join(file).metadata() {
            add(&meta.len().to_le_bytes());
            let changed = meta
                .modified()
                .ok()
                .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
            add(&changed.map_or(0, |t| t.as_nanos()).to_le_bytes());
        }
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn decoded() -> Decoded {
        Decoded {
            pixels: (0..64).collect(),
            broken: vec![(1, "`a.png` is cut".into())],
        }
    }

    #[test]
    fn what_was_stored_is_loaded() -> Outcome {
        let dir = tempfile::tempdir()?;
        let cache = Cache::new(&dir.path().join("deep/down"), "4-crop", blake3::hash(b"a"));
        assert!(matches!(cache.load(64), Err(Miss::Stale)));
        cache.store(&decoded())?;
        assert!(matches!(cache.load(64), Ok(d) if d == decoded()));
        let other = Cache::new(&dir.path().join("deep/down"), "4-crop", blake3::hash(b"b"));
        assert!(matches!(other.load(64), Err(Miss::Stale)));
        Ok(())
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() -> Outcome {
        let dir = tempfile::tempdir()?;
        let cache = Cache::new(dir.path(), "4-crop", blake3::hash(b"a"));
        cache.store(&decoded())?;
        let whole = fs::read(&cache.path)?;
        for i in 0..whole.len() {
            let mut bent = whole.clone();
            bent[i] ^= 1;
            fs::write(&cache.path, bent)?;
            assert!(cache.load(64).is_err(), "byte {i}");
            fs::write(&cache.path, &whole[..i])?;
            assert!(cache.load(64).is_err(), "cut at {i}");
        }
        Ok(())
    }

    #[test]
    fn the_key_follows_names_lengths_times_and_treatment() -> Outcome {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a");
        fs::write(&path, "one")?;
        let key = |name: &str, treatment| {
            fingerprint(dir.path(), [Path::new(name)].into_iter(), treatment)
        };
        let first = key("a", "x");
        assert_eq!(first, key("a", "x"));
        assert_ne!(first, key("b", "x"));
        assert_ne!(first, key("a", "y"));
        let later = UNIX_EPOCH + std::time::Duration::from_secs(5);
        fs::File::options()
            .write(true)
            .open(&path)?
            .set_modified(later)?;
        let touched = key("a", "x");
        assert_ne!(first, touched);
        fs::write(&path, "four")?;
        fs::File::options()
            .write(true)
            .open(&path)?
            .set_modified(later)?;
        assert_ne!(touched, key("a", "x"));
        Ok(())
    }
}
