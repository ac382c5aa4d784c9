//! A folder of pictures from disk to batch, with everything that can be wrong with it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;

use dreamsmith_base::{ImageLimits, Rgba};
use dreamsmith_data::{
    Augment, Background, CachePlace, CacheUse, DataError, DataEvent, Dataset, Flip, FolderOptions,
    OnFault, Shuffler,
};
use image::{DynamicImage, ImageFormat, RgbaImage};

type Outcome = Result<(), Box<dyn Error>>;

/// A picture whose colours run from corner to corner, clear in its upper right.
fn gradient(width: u32, height: u32) -> DynamicImage {
    RgbaImage::from_fn(width, height, |x, y| {
        let alpha = if x > width / 2 && y < height / 2 {
            0
        } else {
            255
        };
        image::Rgba([(255 * x / width) as u8, (255 * y / height) as u8, 60, alpha])
    })
    .into()
}

fn write(path: &Path, picture: &DynamicImage, format: ImageFormat) -> Outcome {
    let mut bytes = std::io::Cursor::new(Vec::new());
    match format {
        ImageFormat::Jpeg => picture.to_rgb8().write_to(&mut bytes, format)?,
        _ => picture.write_to(&mut bytes, format)?,
    }
    fs::write(path, bytes.into_inner())?;
    Ok(())
}

fn pictures(dir: &Path, count: u32) -> Outcome {
    for i in 0..count {
        let picture = gradient(12 + i, 10);
        write(&dir.join(format!("p{i}.png")), &picture, ImageFormat::Png)?;
    }
    Ok(())
}

fn in_memory(size: u32) -> FolderOptions {
    FolderOptions {
        cache: CachePlace::Memory,
        ..FolderOptions::new(size)
    }
}

fn words(result: Result<Dataset, DataError>) -> String {
    result.err().map_or("no error".into(), |e| e.to_string())
}

#[test]
fn every_format_is_read_by_its_content() -> Outcome {
    let dir = tempfile::tempdir()?;
    let formats = [
        ("a.png", ImageFormat::Png),
        ("b.jpg", ImageFormat::Jpeg),
        ("c.webp", ImageFormat::WebP),
        ("d.gif", ImageFormat::Gif),
        // A WebP that claims to be a PNG.
        ("e.png", ImageFormat::WebP),
    ];
    for (name, format) in formats {
        write(&dir.path().join(name), &gradient(40, 30), format)?;
    }
    fs::create_dir(dir.path().join("z"))?;
    fs::write(
        dir.path().join("z/f.svg"),
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><circle cx="2" cy="2" r="2" fill="#0a0"/></svg>"##,
    )?;
    fs::write(dir.path().join("a.txt"), "a gradient")?;
    let data = Dataset::open(dir.path(), &in_memory(8))?;
    let summary = data.summary();
    assert_eq!((data.len(), summary.pictures, summary.captioned), (6, 6, 1));
    assert!(summary.skipped.is_empty(), "{:?}", summary.skipped);
    assert_eq!(&*data.item(0).captions[0], "a gradient");
    assert_eq!(data.path(5), Path::new("z/f.svg"));
    let middle_green = &data.item(5).rgba[(4 * 8 + 4) * 4..][..4];
    assert_eq!(middle_green, [0, 170, 0, 255]);
    // Lossless formats agree to the byte, transparency included; JPEG has none.
    assert_eq!(data.item(0).rgba, data.item(2).rgba);
    assert_eq!(data.item(0).rgba, data.item(4).rgba);
    assert_eq!(data.item(0).rgba[7 * 4 + 3], 0);
    assert_eq!(data.item(1).rgba[7 * 4 + 3], 255);
    Ok(())
}

/// Two good pictures and one of each fault.
fn faulty_folder(dir: &Path) -> Outcome {
    pictures(dir, 2)?;
    fs::write(dir.join("text.png"), "not a picture")?;
    let whole = fs::read(dir.join("p0.png"))?;
    fs::write(dir.join("cut.png"), &whole[..whole.len() / 2])?;
    let mut claim = Vec::new();
    png::Encoder::new(&mut claim, 100_000, 100_000)
        .write_header()?
        .write_chunk(png::chunk::IDAT, &[])?;
    fs::write(dir.join("huge.png"), claim)?;
    fs::write(dir.join("bad.svg"), "<svg")?;
    fs::write(
        dir.join("metadata.jsonl"),
        "{\"file_name\": \"p0.png\", \"text\": \"one\"}\n{\"file_name\": \"gone.png\"}\n{oops\n",
    )?;
    Ok(())
}

#[test]
fn faults_are_skipped_counted_and_named() -> Outcome {
    let dir = tempfile::tempdir()?;
    faulty_folder(dir.path())?;
    let data = Dataset::open(dir.path(), &in_memory(4))?;
    assert_eq!(data.len(), 2);
    assert_eq!(data.path(1), Path::new("p1.png"));
    let named: Vec<&str> = data.summary().skipped.iter().map(|s| &*s.what).collect();
    let expected = [
        "bad.svg",
        "cut.png",
        "huge.png",
        "text.png",
        "metadata.jsonl:3",
        "metadata.jsonl:2",
    ];
    assert_eq!(named, expected);
    let reasons = [
        "broken SVG",
        "broken PNG",
        "claims 100000x100000",
        "found text",
    ];
    for (skip, reason) in data.summary().skipped.iter().zip(reasons) {
        assert!(skip.reason.contains(reason), "{skip}");
    }
    Ok(())
}

#[test]
fn strict_reading_accepts_no_fault() -> Outcome {
    let dir = tempfile::tempdir()?;
    faulty_folder(dir.path())?;
    let strict = FolderOptions {
        on_fault: OnFault::Strict,
        ..in_memory(4)
    };
    let message = words(Dataset::open(dir.path(), &strict));
    assert!(
        message.contains("6 in all") && message.contains("bad.svg"),
        "{message}"
    );
    let clean = tempfile::tempdir()?;
    pictures(clean.path(), 2)?;
    assert_eq!(Dataset::open(clean.path(), &strict)?.len(), 2);
    fs::write(clean.path().join("metadata.jsonl"), "{oops")?;
    let message = words(Dataset::open(clean.path(), &strict));
    assert!(
        message.contains("1 in all") && message.contains("metadata.jsonl:1"),
        "{message}"
    );
    Ok(())
}

#[test]
fn folders_without_usable_pictures_are_errors() -> Outcome {
    let dir = tempfile::tempdir()?;
    let open = |path: &Path| Dataset::open(path, &in_memory(4));
    assert!(matches!(
        open(&dir.path().join("no")),
        Err(DataError::NoFolder { .. })
    ));
    assert!(matches!(
        open(dir.path()),
        Err(DataError::NoPictures { .. })
    ));
    fs::write(dir.path().join("a.png"), "text")?;
    fs::write(dir.path().join("b.png"), "")?;
    let message = words(open(dir.path()));
    assert!(
        message.contains("none of the 2 pictures") && message.contains("a.png"),
        "{message}"
    );
    Ok(())
}

#[test]
fn impossible_sizes_and_limits_are_errors() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures(dir.path(), 3)?;
    for size in [0, 100_000] {
        assert!(matches!(
            Dataset::open(dir.path(), &in_memory(size)),
            Err(DataError::Size { .. })
        ));
    }
    let narrow = FolderOptions {
        max_decoded_bytes: 3 * 16 * 4 - 1,
        ..in_memory(4)
    };
    let result = Dataset::open(dir.path(), &narrow);
    assert!(matches!(
        result,
        Err(DataError::TooLarge {
            needed: 192,
            limit: 191,
            ..
        })
    ));
    let small = FolderOptions {
        limits: ImageLimits {
            max_pixels: 125,
            ..ImageLimits::default()
        },
        ..in_memory(4)
    };
    // 12x10 fits, 13x10 and 14x10 do not.
    let data = Dataset::open(dir.path(), &small)?;
    assert_eq!((data.len(), data.summary().skipped.len()), (1, 2));
    Ok(())
}

/// Opens a folder, and tells how many pictures were decoded and why a cache was refused.
fn open_counting(
    dir: &Path,
    options: &FolderOptions,
) -> Result<(Dataset, usize, Vec<String>), Box<dyn Error>> {
    let (sender, events) = channel();
    let data = Dataset::open_watched(dir, options, &|event| {
        // The receiver lives until the folder is open.
        let _ = sender.send(event);
    })?;
    let events: Vec<DataEvent> = events.try_iter().collect();
    let decoded = |e: &&DataEvent| matches!(e, DataEvent::Decoded { .. });
    let count = events.iter().filter(decoded).count();
    let refusals = events.into_iter().filter_map(|e| match e {
        DataEvent::CacheRefused { reason } => Some(reason),
        _ => None,
    });
    Ok((data, count, refusals.collect()))
}

#[test]
fn a_second_start_decodes_nothing_and_sees_the_same() -> Outcome {
    let dir = tempfile::tempdir()?;
    faulty_folder(dir.path())?;
    let options = FolderOptions::new(6);
    let (first, decoded, _) = open_counting(dir.path(), &options)?;
    assert_eq!((decoded, &first.summary().cache), (6, &CacheUse::Stored));
    let (second, decoded, refused) = open_counting(dir.path(), &options)?;
    assert_eq!((decoded, &second.summary().cache), (0, &CacheUse::Hit));
    assert!(refused.is_empty());
    assert_eq!(first.summary().skipped, second.summary().skipped);
    let batch = |data: &Dataset| data.batch(&[0, 1], &Augment::default(), 1, 0);
    assert_eq!(batch(&first), batch(&second));
    // Another size has a cache of its own and leaves this one alone.
    open_counting(dir.path(), &FolderOptions::new(5))?;
    assert_eq!(open_counting(dir.path(), &options)?.1, 0);
    Ok(())
}

#[test]
fn a_changed_folder_is_decoded_again() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures(dir.path(), 2)?;
    let options = FolderOptions::new(6);
    open_counting(dir.path(), &options)?;
    write(
        &dir.path().join("p1.png"),
        &gradient(90, 30),
        ImageFormat::Png,
    )?;
    let (data, decoded, refused) = open_counting(dir.path(), &options)?;
    assert_eq!((data.len(), decoded, refused.len()), (2, 2, 0));
    // A new caption needs no decoding.
    fs::write(dir.path().join("p1.txt"), "wide")?;
    let (data, decoded, _) = open_counting(dir.path(), &options)?;
    assert_eq!((decoded, &*data.item(1).captions[0]), (0, "wide"));
    Ok(())
}

#[test]
fn a_damaged_cache_is_noticed_and_rebuilt() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures(dir.path(), 2)?;
    let options = FolderOptions::new(6);
    let (good, ..) = open_counting(dir.path(), &options)?;
    let cache = fs::read_dir(dir.path().join(".dreamsmith-cache"))?
        .next()
        .ok_or("no cache")??
        .path();
    let mut bytes = fs::read(&cache)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&cache, bytes)?;
    let (mended, decoded, refused) = open_counting(dir.path(), &options)?;
    assert_eq!((decoded, &mended.summary().cache), (2, &CacheUse::Stored));
    assert!(
        refused.len() == 1 && refused[0].contains("checksum"),
        "{refused:?}"
    );
    assert_eq!(mended.item(1).rgba, good.item(1).rgba);
    assert_eq!(open_counting(dir.path(), &options)?.1, 0);
    Ok(())
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures(dir.path(), 2)?;
    // A file lies where the cache folder would be.
    fs::write(dir.path().join(".dreamsmith-cache"), "")?;
    let data = Dataset::open(dir.path(), &FolderOptions::new(6))?;
    assert_eq!(data.len(), 2);
    assert!(
        matches!(&data.summary().cache, CacheUse::MemoryOnly { reason } if reason.contains("in the way")),
        "{:?}",
        data.summary().cache
    );
    let elsewhere = tempfile::tempdir()?;
    let options = FolderOptions {
        cache: CachePlace::Folder(elsewhere.path().join("new")),
        ..FolderOptions::new(6)
    };
    assert_eq!(open_counting(dir.path(), &options)?.1, 2);
    assert_eq!(open_counting(dir.path(), &options)?.1, 0);
    Ok(())
}

#[test]
fn a_sample_does_not_depend_on_its_batch() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures(dir.path(), 5)?;
    let data = Dataset::open(dir.path(), &in_memory(6))?;
    let augment = Augment {
        flip: Flip::Horizontal,
        background: Background::Random,
    };
    let sample = 3 * 6 * 6;
    let indices = Shuffler::new(3, data.len(), 8).indices(2);
    let together = data.batch(&indices, &augment, 9, 2);
    assert_eq!(together.pixels.len(), 8 * sample);
    for (i, &index) in indices.iter().enumerate() {
        let alone = data.batch(&[index], &augment, 9, 2);
        assert_eq!(alone.pixels, together.pixels[i * sample..][..sample]);
    }
    let elsewhere = [
        data.batch(&indices, &augment, 9, 3),
        data.batch(&indices, &augment, 8, 2),
    ];
    assert!(elsewhere.iter().all(|b| b.pixels != together.pixels));
    assert!(together.pixels.iter().all(|v| (-1.0..=1.0).contains(v)));
    Ok(())
}

#[test]
fn a_batch_without_augmentation_is_the_pictures_on_their_background() -> Outcome {
    let dir = tempfile::tempdir()?;
    pictures(dir.path(), 1)?;
    let data = Dataset::open(dir.path(), &in_memory(6))?;
    let black = Augment {
        background: Background::Colour([0; 3]),
        ..Augment::default()
    };
    let batch = data.batch(&[0], &black, 0, 0);
    let expected = Rgba::new(6, 6, data.item(0).rgba.to_vec())?.over([0; 3]);
    assert_eq!(data.image(0, [0; 3])?, expected);
    for (found, expected) in batch.pixels.iter().zip(expected.to_signed()) {
        // The picture rounds to a byte: half a step is 1/255.
        assert!((found - expected).abs() <= 1.0 / 255.0 + 1e-6);
    }
    Ok(())
}
