//! Data sets: folders of captioned pictures, decoded caches, augmentation.

pub mod batch;
mod cache;
pub mod caption;
pub mod dataset;
pub mod emoji;
pub mod error;
pub mod folder;
pub mod furniture_catalog;
pub mod furniture_color;
pub mod furniture_record;
pub mod furniture_rules;
pub mod furniture_words;
pub mod order;
pub mod picture;
pub mod posed;
mod svg;

pub use batch::{Augment, Background, Batch, Flip};
pub use dataset::{
    CachePlace, CacheUse, DataEvent, Dataset, FolderOptions, Item, OnFault, Summary,
};
pub use emoji::{EmojiChoice, EmojiSource, EmojiSummary, prepare_emoji};
pub use error::{DataError, Skip};
pub use furniture_catalog::{FurnitureError, Library, Piece, open_libraries};
pub use furniture_color::{NamedColor, color_distance};
pub use furniture_record::{CameraRecord, FurnitureRecord, LightRecord, ViewWord, piece_folder};
pub use furniture_rules::{Known, Rules, Shape};
pub use furniture_words::{Shown, Words};
pub use order::{Shuffler, epoch_order};
pub use picture::Fit;
pub use posed::{PosedError, PosedLimits, PosedViews, View, read_posed};
