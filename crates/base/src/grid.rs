//! Many pictures on one sheet.
//! Leaves out captions and cells of unequal size.

use crate::image::{Image, ImageError};

/// A grid beyond this (3 GB of bytes) is a mistake.
const MAX_GRID_PIXELS: u64 = 1 << 30;

/// Pictures in rows of `columns`, row by row, on white with `gap` pixels between and around them.
///
/// Every cell is as large as the largest picture.
pub fn grid(images: &[Image], columns: usize, gap: u32) -> Result<Image, ImageError> {
    let cell_width = images.iter().map(|i| i.width()).max().unwrap_or(0);
    let cell_height = images.iter().map(|i| i.height()).max().unwrap_or(0);
    let side = |cells: usize, cell: u32| {
        let length = cells as u64 * (u64::from(cell) + u64::from(gap)) + u64::from(gap);
        u32::try_from(length).unwrap_or(u32::MAX)
    };
    let columns = columns.min(images.len());
    let rows = images
        .len()
        .checked_div(columns)
        .map_or(0, |_| images.len().div_ceil(columns));
    let (width, height) = (side(columns, cell_width), side(rows, cell_height));
    if images.is_empty() || columns == 0 || u64::from(width) * u64::from(height) > MAX_GRID_PIXELS {
        return Err(ImageError::Extent {
            what: "a grid",
            width,
            height,
            reason: format!("{} pictures in {columns} columns", images.len()),
        });
    }
    let mut sheet = Image::filled(width, height, [255; 3])?;
    for (i, image) in images.iter().enumerate() {
        let place = |n: usize, cell| n as u32 * (cell + gap) + gap;
        sheet.paste(
            image,
            (
                place(i % columns, cell_width),
                place(i / columns, cell_height),
            ),
        );
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_places_its_pictures() -> Result<(), ImageError> {
        let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];
        let images = colours
            .map(|c| Image::filled(2, 2, c))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let sheet = grid(&images, 2, 1)?;
        assert_eq!((sheet.width(), sheet.height()), (7, 7));
        let pixel = |x: usize, y: usize| &sheet.rgb()[(y * 7 + x) * 3..][..3];
        assert_eq!(pixel(0, 0), [255; 3]);
        assert_eq!(pixel(1, 1), colours[0]);
        assert_eq!(pixel(4, 2), colours[1]);
        assert_eq!(pixel(2, 5), colours[2]);
        assert_eq!(pixel(5, 5), [255; 3]);
        assert!(grid(&[], 2, 1).is_err());
        assert!(grid(&images, 0, 1).is_err());
        assert!(grid(&images, 2, u32::MAX).is_err());
        Ok(())
    }
}
