//! Data sets: folders of captioned pictures, decoded caches, augmentation.

pub mod batch;
mod cache;
pub mod caption;
pub mod dataset;
pub mod emoji;
pub mod error;
pub mod folder;
pub mod order;
pub mod picture;
pub mod posed;
mod svg;

pub use batch::{Augment, Background, Batch, Flip};
pub use dataset::{
    CachePlace, CacheUse, DataEvent, Dataset, FolderOptions, Item, OnFault, Summary,
};
pub use emoji::{EmojiSource, EmojiSummary, prepare_emoji};
pub use error::{DataError, Skip};
pub use order::{Shuffler, epoch_order};
pub use picture::Fit;
pub use posed::{PosedError, PosedLimits, PosedViews, View, read_posed};
