//! What can be wrong with a data set, in words that say what to do.

use std::fmt;
use std::path::PathBuf;

use dreamsmith_base::{FileError, ImageError};

/// One thing that was left out of a data set, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The file, relative to the data set, with a line number where there is one.
    pub what: String,
    /// Why it was left out.
    pub reason: String,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

/// Why a data set cannot be opened or prepared.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No folder at that path.
    #[error("`{path}` is not a folder of pictures: {found}; give the path of a folder")]
    NoFolder {
        /// The path that was given.
        path: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// The folder holds no picture files at all.
    #[error(
        "`{path}` holds no pictures: expected PNG, JPEG, WebP, GIF or SVG files, found {files} other files"
    )]
    NoPictures {
        /// The folder.
        path: PathBuf,
        /// How many files of other kinds it holds.
        files: usize,
    },
    /// There are pictures, but each of them is broken.
    #[error("none of the {count} pictures in `{path}` can be used; the first: {first}")]
    NoneUsable {
        /// The folder.
        path: PathBuf,
        /// How many pictures were tried.
        count: usize,
        /// The first that failed.
        first: Skip,
    },
    /// Strict reading met something broken.
    #[error(
        "`{path}` has faults ({count} in all), and strict reading accepts none; the first: {first}; mend or remove it"
    )]
    Faulty {
        /// The folder.
        path: PathBuf,
        /// How many faults there are.
        count: usize,
        /// The first fault.
        first: Skip,
    },
    /// Some labels are words, some are numbers.
    #[error(
        "`{path}` has labels of two kinds, the text {text:?} and the number {number}: use one kind"
    )]
    MixedLabels {
        /// The folder.
        path: PathBuf,
        /// A label that is text.
        text: String,
        /// A label that is a number.
        number: u32,
    },
    /// The training size is zero or absurd.
    #[error("a training size of {size} pixels is not possible: choose 1 to {most}")]
    Size {
        /// The size asked for.
        size: u32,
        /// The largest accepted.
        most: u32,
    },
    /// The decoded pictures would not fit the allowance.
    #[error(
        "`{path}`: {pictures} pictures of {size}x{size} need {needed} bytes decoded, more than the limit of {limit}: use a smaller size or fewer pictures"
    )]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// How many pictures.
        pictures: usize,
        /// Side in pixels.
        size: u32,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// An unpacked package was not found.
    #[error(
        "no unpacked package `{package}` in `{from}`: fetch it with `npm pack {package}`, unpack the .tgz with `tar -xzf`, and give the folder that holds it"
    )]
    NoPackage {
        /// Where it was looked for.
        from: PathBuf,
        /// The package's name in the registry.
        package: &'static str,
    },
    /// A package is there but not as expected.
    #[error("`{path}` is not as expected: {reason}; fetch the package `{package}` again")]
    BadPackage {
        /// The file or folder in question.
        path: PathBuf,
        /// The package's name in the registry.
        package: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The output folder holds something already.
    #[error("`{path}` is there already and not empty: choose another name or remove it")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// No group of emoji has that name.
    #[error("there is no group `{group}` of emoji, expected one of {known}")]
    NoGroup {
        /// What was asked for.
        group: String,
        /// The groups.
        known: String,
    },
    /// No emoji has that name.
    #[error("there is no emoji `{name}`, expected names as in emojibase-data, such as `red apple`")]
    NoEmoji {
        /// What was asked for.
        name: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A picture cannot be made or resized.
    #[error(transparent)]
    Image(#[from] ImageError),
}
