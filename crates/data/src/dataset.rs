//! A folder of captioned pictures, decoded once to squares in memory, and the batches drawn from it.
//! A batch is a pure function of (data, indices, seed, step).
//! Leaves out streaming: the decoded set must fit in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dreamsmith_base::{Image, ImageError, ImageLimits, Purpose, Rgba, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::batch::{Augment, Batch};
use crate::cache::{Cache, Decoded, Miss, fingerprint};
use crate::error::{DataError, Skip};
use crate::folder::{Entry, Listing, list_folder};
use crate::furniture_record::CameraRecord;
use crate::picture::{Fit, read_square};

/// The largest training size in pixels.
const MAX_SIZE: u32 = 4096;
/// Part of the cache's key: raise it when the same file decodes to other pixels.
const DECODER_VERSION: u32 = 1;

/// What happens to a picture or caption that is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFault {
    /// It is left out and named in the summary.
    #[default]
    Skip,
    /// The whole set is refused.
    Strict,
}

/// Where decoded pictures are kept between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CachePlace {
    /// In `.dreamsmith-cache` inside the folder itself.
    #[default]
    Beside,
    /// In a folder of the user's choice.
    Folder(PathBuf),
    /// Nowhere.
    Memory,
}

/// How a folder is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// Side of the training pictures in pixels.
    pub size: u32,
    /// How pictures that are not square are treated.
    pub fit: Fit,
    /// How broken pictures are treated.
    pub on_fault: OnFault,
    /// What one picture file may cost.
    pub limits: ImageLimits,
    /// The most bytes that the decoded set may take in memory.
    pub max_decoded_bytes: u64,
    /// Where decoded pictures are kept.
    pub cache: CachePlace,
}

impl FolderOptions {
    /// The defaults at a training size: crop, skip what is broken, 8 GiB, cache beside the pictures.
    pub fn new(size: u32) -> Self {
        Self {
            size,
            fit: Fit::default(),
            on_fault: OnFault::default(),
            limits: ImageLimits::default(),
            max_decoded_bytes: 8 << 30,
            cache: CachePlace::default(),
        }
    }
}

/// What happens while a folder is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataEvent {
    /// So many picture files were found.
    Listed {
        /// Picture files, usable or not.
        pictures: usize,
    },
    /// A cache cannot be used, so everything is decoded again.
    CacheRefused {
        /// Why.
        reason: String,
    },
    /// Decoding goes on.
    Decoded {
        /// Pictures tried so far.
        done: usize,
        /// Pictures to try.
        total: usize,
    },
}

/// Where the decoded pictures came from and went to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// Read from the cache: nothing was decoded.
    Hit,
    /// Decoded, and stored for the next time.
    Stored,
    /// Decoded, and kept in memory only.
    MemoryOnly {
        /// Why nothing was stored.
        reason: String,
    },
}

/// What a folder turned out to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Usable pictures.
    pub pictures: usize,
    /// Of these, the ones with a caption.
    pub captioned: usize,
    /// Of these, the ones with a label.
    pub labelled: usize,
    /// Pictures, captions and metadata lines that were left out.
    pub skipped: Vec<Skip>,
    /// What became of the cache.
    pub cache: CacheUse,
}

/// One sample.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// `[size, size, 4]` sRGB bytes, alpha not multiplied in.
    pub rgba: &'a [u8],
    /// The captions, each of them true; none where there is none.
    pub captions: &'a [Arc<str>],
    /// Index into the classes.
    pub label: Option<u32>,
    /// From where it is seen, if that is known.
    pub camera: Option<CameraRecord>,
}

/// The usable pictures of a folder at one size.
#[derive(Debug)]
pub struct Dataset {
    size: u32,
    pixels: Vec<u8>,
    entries: Vec<Entry>,
    /// The sample that each draw of an epoch shows.
    draws: Vec<u32>,
    classes: Vec<String>,
    summary: Summary,
}

impl Dataset {
    /// Opens a folder of pictures.
    pub fn open(dir: &Path, options: &FolderOptions) -> Result<Self, DataError> {
        Self::open_watched(dir, options, &|_| {})
    }

    /// [`Dataset::open`] with its progress; `watch` is called from several threads.
    pub fn open_watched(
        dir: &Path,
        options: &FolderOptions,
        watch: &(dyn Fn(DataEvent) + Sync),
    ) -> Result<Self, DataError> {
        if !(1..=MAX_SIZE).contains(&options.size) {
            return Err(DataError::Size {
                size: options.size,
                most: MAX_SIZE,
            });
        }
        let listing = list_folder(dir)?;
        let total = listing.entries.len();
        watch(DataEvent::Listed { pictures: total });
        check_memory(dir, total, options)?;
        let (decoded, cache) = load_or_decode(dir, &listing.entries, options, watch);
        assemble(dir, listing, decoded, cache, options)
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no sample; an opened folder always has one.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sample that each draw of an epoch shows: every one as often as its `repeat` says.
    pub fn draws(&self) -> &[u32] {
        &self.draws
    }

    /// Side of the pictures in pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The names of the classes; empty if nothing is labelled.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What the folder held.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Path of a sample relative to the folder. Panics if `index` is not below [`Dataset::len`].
    pub fn path(&self, index: usize) -> &Path {
        &self.entries[index].path
    }

    /// One sample. Panics if `index` is not below [`Dataset::len`].
    pub fn item(&self, index: usize) -> Item<'_> {
        let stride = self.stride();
        let entry = &self.entries[index];
        Item {
            rgba: &self.pixels[index * stride..][..stride],
            captions: &entry.captions,
            label: entry.label,
            camera: entry.camera,
        }
    }

    /// One picture over a background. Panics if `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize, background: [u8; 3]) -> Result<Image, ImageError> {
        let rgba = self.item(index).rgba.to_vec();
        Ok(Rgba::new(self.size, self.size, rgba)?.over(background))
    }

    /// The samples at `indices` as a network sees them, augmented by the draws of (`seed`, `step`, index);
    /// of several captions one is drawn.
    ///
    /// Panics if an index is not below [`Dataset::len`].
    pub fn batch(&self, indices: &[usize], augment: &Augment, seed: u64, step: u64) -> Batch {
        let sample = self.stride() / 4 * 3;
        let mut pixels = vec![0.0; indices.len() * sample];
        let rows = indices.iter().zip(pixels.chunks_exact_mut(sample));
        let behind = rows.map(|(&index, out)| {
            let draw = (step << 32) | index as u64;
            let mut stream = Stream::new(seed, Purpose::Augment, draw);
            augment.apply(self.item(index).rgba, self.size as usize, &mut stream, out)
        });
        let behind = behind.collect();
        let entries = || indices.iter().map(|&index| &self.entries[index]);
        let caption = |&index: &usize| self.caption(index, seed, step).cloned();
        Batch {
            pixels,
            labels: entries().map(|e| e.label).collect(),
            captions: indices.iter().map(caption).collect(),
            cameras: entries().map(|e| e.camera).collect(),
            behind,
        }
    }

    /// The caption that the sample at `index` shows in a batch of (`seed`, `step`), if it has any.
    ///
    /// Panics if `index` is not below [`Dataset::len`].
    pub fn caption(&self, index: usize, seed: u64, step: u64) -> Option<&Arc<str>> {
        let captions = &self.entries[index].captions;
        let draw = (step << 32) | index as u64;
        let mut stream = Stream::new(seed, Purpose::Caption, draw);
        captions.get(stream.below(captions.len() as u64) as usize)
    }

    fn stride(&self) -> usize {
        stride(self.size)
    }
}

/// Bytes of one decoded picture.
fn stride(size: u32) -> usize {
    size as usize * size as usize * 4
}

fn check_memory(dir: &Path, pictures: usize, options: &FolderOptions) -> Result<(), DataError> {
    let needed = pictures as u64 * stride(options.size) as u64;
    if needed > options.max_decoded_bytes {
        return Err(DataError::TooLarge {
            path: dir.to_path_buf(),
            pictures,
            size: options.size,
            needed,
            limit: options.max_decoded_bytes,
        });
    }
    Ok(())
}

fn load_or_decode(
    dir: &Path,
    entries: &[Entry],
    options: &FolderOptions,
    watch: &(dyn Fn(DataEvent) + Sync),
) -> (Decoded, CacheUse) {
    let FolderOptions {
        size, fit, limits, ..
    } = options;
    let folder = match &options.cache {
        CachePlace::Beside => dir.join(".dreamsmith-cache"),
        CachePlace::Folder(folder) => folder.clone(),
        CachePlace::Memory => {
            let reason = "no cache was asked for".into();
            return (
                decode(dir, entries, options, watch),
                CacheUse::MemoryOnly { reason },
            );
        }
    };
    let treatment = format!("{DECODER_VERSION} {size} {fit:?} {limits:?}");
    let key = fingerprint(dir, entries.iter().map(|e| e.path.as_path()), &treatment);
    // Folders that share a cache folder must not evict each other.
    let place = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let place = blake3::hash(place.as_os_str().as_encoded_bytes()).to_hex();
    let name = match &options.cache {
        CachePlace::Folder(_) => format!("{size}-{fit:?}-{}", &place[..16]),
        _ => format!("{size}-{fit:?}"),
    };
    let cache = Cache::new(&folder, &name.to_lowercase(), key);
    match cache.load((entries.len() * stride(*size)) as u64) {
        Ok(decoded) if fits(&decoded, entries.len(), *size) => return (decoded, CacheUse::Hit),
        Ok(_) => watch(DataEvent::CacheRefused {
            reason: "it holds another number of pictures".into(),
        }),
        Err(Miss::Stale) => {}
        Err(Miss::Damaged(reason)) => watch(DataEvent::CacheRefused { reason }),
    }
    let decoded = decode(dir, entries, options, watch);
    let cache = match cache.store(&decoded) {
        Ok(()) => CacheUse::Stored,
        Err(e) => CacheUse::MemoryOnly {
            reason: e.to_string(),
        },
    };
    (decoded, cache)
}

fn fits(decoded: &Decoded, total: usize, size: u32) -> bool {
    let ascending = decoded.broken.windows(2).all(|w| w[0].0 < w[1].0);
    let inside = decoded.broken.last().is_none_or(|(i, _)| *i < total);
    let usable = total.saturating_sub(decoded.broken.len());
    ascending && inside && decoded.pixels.len() == usable * stride(size)
}

fn decode(
    dir: &Path,
    entries: &[Entry],
    options: &FolderOptions,
    watch: &(dyn Fn(DataEvent) + Sync),
) -> Decoded {
    let (total, done) = (entries.len(), AtomicUsize::new(0));
    let stride = stride(options.size);
    let mut pixels = vec![0; total * stride];
    let faults: Vec<Option<String>> = entries
        .par_iter()
        .zip(pixels.par_chunks_exact_mut(stride))
        .map(|(entry, out)| {
            let path = dir.join(&entry.path);
            let read = read_square(&path, options.size, options.fit, &options.limits);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            watch(DataEvent::Decoded { done, total });
            match read {
                Ok(square) => {
                    out.copy_from_slice(square.rgba());
                    None
                }
                Err(e) => Some(e.to_string()),
            }
        })
        .collect();
    let mut kept = 0;
    for (i, fault) in faults.iter().enumerate() {
        if fault.is_none() {
            pixels.copy_within(i * stride..(i + 1) * stride, kept * stride);
            kept += 1;
        }
    }
    pixels.truncate(kept * stride);
    let broken = faults.into_iter().enumerate();
    Decoded {
        pixels,
        broken: broken.filter_map(|(i, fault)| Some((i, fault?))).collect(),
    }
}

/// Leaves the broken pictures out and tells what was left.
fn assemble(
    dir: &Path,
    listing: Listing,
    decoded: Decoded,
    cache: CacheUse,
    options: &FolderOptions,
) -> Result<Dataset, DataError> {
    let Listing {
        mut entries,
        classes,
        faults,
    } = listing;
    let broken: Vec<Skip> = decoded
        .broken
        .iter()
        .map(|(i, reason)| Skip {
            what: entries[*i].path.display().to_string(),
            reason: reason.clone(),
        })
        .collect();
    if let (true, Some(first)) = (broken.len() == entries.len(), broken.first()) {
        return Err(DataError::NoneUsable {
            path: dir.to_path_buf(),
            count: entries.len(),
            first: first.clone(),
        });
    }
    let skipped: Vec<Skip> = broken.into_iter().chain(faults).collect();
    if let (OnFault::Strict, Some(first)) = (options.on_fault, skipped.first()) {
        return Err(DataError::Faulty {
            path: dir.to_path_buf(),
            count: skipped.len(),
            first: first.clone(),
        });
    }
    let mut left_out = decoded.broken.iter().map(|(i, _)| *i).peekable();
    let mut index = 0;
    entries.retain(|_| {
        index += 1;
        left_out.next_if_eq(&(index - 1)).is_none()
    });
    let summary = Summary {
        pictures: entries.len(),
        captioned: entries.iter().filter(|e| !e.captions.is_empty()).count(),
        labelled: entries.iter().filter(|e| e.label.is_some()).count(),
        skipped,
        cache,
    };
    let repeated = |(i, entry): (usize, &Entry)| {
        let sample = u32::try_from(i).unwrap_or(u32::MAX);
        std::iter::repeat_n(sample, entry.repeat as usize)
    };
    Ok(Dataset {
        size: options.size,
        pixels: decoded.pixels,
        draws: entries.iter().enumerate().flat_map(repeated).collect(),
        entries,
        classes,
        summary,
    })
}
